//! `migrate-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `migrate` is acknowledged and does nothing.
pub(super) const MIGRATE_IGNORED: Sabotage = Sabotage {
    name: "migrate-ignored",
    kind: Kind::Commands,
    does: "`migrate` is acknowledged and does nothing",
    blind: "whether `VM` migrates",
    hint: |_| "wait: {vm: VM, migration: completed}",
    shows: Shows::ByDeadline,
    sites: |scene| command_sites(scene, |command| matches!(command, "migrate" | "migrate-incoming")),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
