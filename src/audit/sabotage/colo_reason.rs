//! `colo-reason`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-colo-status";

fn change(reply: &mut Value) {
    let other = if reply["reason"] == "none" { "error" } else { "none" };
    reply["reason"] = json!(other);
}

/// The `reason` in the replies to `query-colo-status` is wrong.
pub(super) const COLO_REASON: Sabotage = Sabotage {
    name: "colo-reason",
    kind: Kind::Replies,
    does: "the `reason` in the replies to `query-colo-status` is wrong",
    blind: "the `reason` of `VM`",
    hint: |_| "check: {vm: VM, query: query-colo-status, is: {reason: none}}",
    shows: Shows::ByDeadline,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
