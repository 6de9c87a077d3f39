//! `status-wrong`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-status";

fn change(reply: &mut Value) {
    if reply["running"] == true {
        *reply = json!({"running": false, "status": "paused"});
    }
}

/// `query-status` says `paused` although the guest runs.
pub(super) const STATUS_WRONG: Sabotage = Sabotage {
    name: "status-wrong",
    kind: Kind::Replies,
    does: "`query-status` says `paused` although the guest runs",
    blind: "the run state of `VM`",
    hint: |_| "wait: {vm: VM, status: running}",
    shows: Shows::ByDeadline,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
