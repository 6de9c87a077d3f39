//! `colo-reason`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// The `reason` in the replies to `query-colo-status` is wrong.
pub(super) const COLO_REASON: Sabotage = Sabotage {
    name: "colo-reason",
    kind: Kind::Replies,
    does: "the `reason` in the replies to `query-colo-status` is wrong",
    blind: "the `reason` of `VM`",
    hint: |_| "check: {vm: VM, query: query-colo-status, is: {reason: none}}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-colo-status"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-colo-status", |reply| {
                let other = if reply["reason"] == "none" { "error" } else { "none" };
                reply["reason"] = json!(other);
            })
        }),
        said: None,
        once: false,
    },
};
