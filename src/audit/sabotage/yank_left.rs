//! `yank-left`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-yank";

fn change(reply: &mut Value) {
    if let Some(list) = reply.as_array_mut() {
        list.push(json!({"type": "migration"}));
    }
}

/// `query-yank` lists a migration that is over.
pub(super) const YANK_LEFT: Sabotage = Sabotage {
    name: "yank-left",
    kind: Kind::Replies,
    does: "`query-yank` lists a migration that is over",
    blind: "the connections that `VM` still has",
    hint: |_| "check: {vm: VM, query: query-yank, is_not: [{type: migration}]}",
    shows: Shows::ByDeadline,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
