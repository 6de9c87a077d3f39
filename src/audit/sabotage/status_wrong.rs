//! `status-wrong`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `query-status` says the opposite from here on.
pub(super) const STATUS_WRONG: Sabotage = Sabotage {
    name: "status-wrong",
    kind: Kind::Replies,
    does: "`query-status` says the opposite from here on",
    blind: "the run state of `VM`",
    hint: |_| "wait: {vm: VM, status: running}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-status"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-status", |reply| {
                let running = reply["running"] == true;
                *reply = json!({"running": !running, "status": if running { "paused" } else { "running" }});
            })
        }),
        said: None,
        once: false,
    },
};
