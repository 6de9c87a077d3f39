//! `colo-mode`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// The `mode` in the replies to `query-colo-status` is wrong.
pub(super) const COLO_MODE: Sabotage = Sabotage {
    name: "colo-mode",
    kind: Kind::Replies,
    does: "the `mode` in the replies to `query-colo-status` is wrong",
    blind: "the `mode` of `VM`",
    hint: |_| "check: {vm: VM, query: query-colo-status, is: {mode: none}}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-colo-status"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-colo-status", |reply| {
                let other = if reply["mode"] == "none" { "primary" } else { "none" };
                reply["mode"] = json!(other);
            })
        }),
        said: None,
        once: false,
    },
};
