//! `object-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `object-add` is acknowledged and does nothing.
pub(super) const OBJECT_IGNORED: Sabotage = Sabotage {
    name: "object-ignored",
    kind: Kind::Commands,
    does: "`object-add` is acknowledged and does nothing",
    blind: "whether `VM` has the object",
    hint: |_| "check: {vm: VM, query: qom-list, arguments: {path: /objects}, is: [{name: {matches: tls}}]}",
    shows: Shows::AtOnce,
    sites: |scene| command_sites(scene, |command| command == "object-add"),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
