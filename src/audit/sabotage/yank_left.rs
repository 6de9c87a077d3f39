//! `yank-left`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `query-yank` lists a migration that is over.
pub(super) const YANK_LEFT: Sabotage = Sabotage {
    name: "yank-left",
    kind: Kind::Replies,
    does: "`query-yank` lists a migration that is over",
    blind: "the connections that `VM` still has",
    hint: |_| "check: {vm: VM, query: query-yank, is_not: [{type: migration}]}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-yank"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-yank", |reply| {
                if let Some(list) = reply.as_array_mut() {
                    list.push(json!({"type": "migration"}));
                }
            })
        }),
        said: None,
        once: false,
    },
};
