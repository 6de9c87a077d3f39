//! `yank-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `yank` is acknowledged and does nothing.
pub(super) const YANK_IGNORED: Sabotage = Sabotage {
    name: "yank-ignored",
    kind: Kind::Commands,
    does: "`yank` is acknowledged and does nothing",
    blind: "whether the connections that `yank` cuts are gone",
    hint: |_| "check: {vm: VM, query: query-yank, is_not: [{type: migration}]}",
    shows: Shows::ByDeadline,
    sites: |scene| command_sites(scene, |command| command == "yank"),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
