//! `block-ignored`.

use super::acts::{acknowledged, command_sites, is_block};
use super::{Act, Kind, Sabotage, Shows};

/// A command for block devices is acknowledged and does nothing.
pub(super) const BLOCK_IGNORED: Sabotage = Sabotage {
    name: "block-ignored",
    kind: Kind::Commands,
    does: "a command for block devices is acknowledged and does nothing",
    blind: "whether `DETAIL` has changed the disks of `VM`",
    hint: |_| "check: {vm: VM, query: query-named-block-nodes, is: [{node-name: disk}]}",
    shows: Shows::AtOnce,
    sites: |scene| command_sites(scene, is_block),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
