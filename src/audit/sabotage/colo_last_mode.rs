//! `colo-last-mode`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-colo-status";

fn change(reply: &mut Value) {
    let other = if reply["last-mode"] == "none" { "primary" } else { "none" };
    reply["last-mode"] = json!(other);
}

/// The `last-mode` in the replies to `query-colo-status` is wrong.
pub(super) const COLO_LAST_MODE: Sabotage = Sabotage {
    name: "colo-last-mode",
    kind: Kind::Replies,
    does: "the `last-mode` in the replies to `query-colo-status` is wrong",
    blind: "the `last-mode` of `VM`",
    hint: |_| "check: {vm: VM, query: query-colo-status, is: {last-mode: none}}",
    shows: Shows::ByDeadline,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
