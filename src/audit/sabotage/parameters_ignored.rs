//! `parameters-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `migrate-set-parameters` is acknowledged and does nothing.
pub(super) const PARAMETERS_IGNORED: Sabotage = Sabotage {
    name: "parameters-ignored",
    kind: Kind::Commands,
    does: "`migrate-set-parameters` is acknowledged and does nothing",
    blind: "whether `VM` has the migration parameters",
    hint: |_| "parameters: {vm: VM, set: {max-bandwidth: 1000000000}}",
    shows: Shows::AtOnce,
    sites: |scene| command_sites(scene, |command| command == "migrate-set-parameters"),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
