//! `yank-ignored`.

use super::super::site::Trigger;
use super::acts::{acknowledged, message_sites};
use super::{Act, Kind, Sabotage, Shows};

/// A `yank` is acknowledged and does nothing.
pub(super) const YANK_IGNORED: Sabotage = Sabotage {
    name: "yank-ignored",
    kind: Kind::Commands,
    does: "`yank` is acknowledged and does nothing",
    blind: "whether the connections that `yank` cuts are gone",
    hint: "check: {vm: VM, query: query-yank, is_not: [{type: migration}]}",
    shows: Shows::AtOnce,
    sites: |scene| {
        message_sites(scene, &scene.tape.commands, Trigger::Command, |command| {
            (command.name == "yank").then(|| Ok(String::new()))
        })
    },
    act: Act::Filter {
        heard: None,
        said: Some(|_, command, message, _| (command == "yank").then(|| acknowledged(message))),
        once: true,
    },
};
