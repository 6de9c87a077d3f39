//! `colo-last-mode`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// The `last-mode` in the replies to `query-colo-status` is wrong.
pub(super) const COLO_LAST_MODE: Sabotage = Sabotage {
    name: "colo-last-mode",
    kind: Kind::Replies,
    does: "the `last-mode` in the replies to `query-colo-status` is wrong",
    blind: "the `last-mode` of `VM`",
    hint: |_| "check: {vm: VM, query: query-colo-status, is: {last-mode: none}}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-colo-status"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-colo-status", |reply| {
                let other = if reply["last-mode"] == "none" { "primary" } else { "none" };
                reply["last-mode"] = json!(other);
            })
        }),
        said: None,
        once: false,
    },
};
