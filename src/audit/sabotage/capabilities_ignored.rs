//! `capabilities-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `migrate-set-capabilities` is acknowledged and does nothing.
pub(super) const CAPABILITIES_IGNORED: Sabotage = Sabotage {
    name: "capabilities-ignored",
    kind: Kind::Commands,
    does: "`migrate-set-capabilities` is acknowledged and does nothing",
    blind: "whether `VM` has the migration capabilities",
    hint: |_| "check: {vm: VM, query: query-migrate-capabilities, is: [{capability: events, state: true}]}",
    shows: Shows::ByDeadline,
    sites: |scene| command_sites(scene, |command| command == "migrate-set-capabilities"),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
