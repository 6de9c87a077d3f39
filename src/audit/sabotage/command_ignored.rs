//! `command-ignored`.

use super::acts::{acknowledged, command_hint, command_sites, is_other};
use super::{Act, Kind, Sabotage, Shows};

/// Another command is acknowledged and does nothing.
pub(super) const COMMAND_IGNORED: Sabotage = Sabotage {
    name: "command-ignored",
    kind: Kind::Commands,
    does: "another command is acknowledged and does nothing",
    blind: "whether `DETAIL` has done anything on `VM`",
    hint: |site| command_hint(site),
    shows: Shows::ByDeadline,
    sites: |scene| command_sites(scene, is_other),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
