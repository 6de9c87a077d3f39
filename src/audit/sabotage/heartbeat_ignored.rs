//! `heartbeat-ignored`.

use super::acts::{acknowledged, command_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `x-colo-lost-heartbeat` is acknowledged and does nothing.
pub(super) const HEARTBEAT_IGNORED: Sabotage = Sabotage {
    name: "heartbeat-ignored",
    kind: Kind::Commands,
    does: "`x-colo-lost-heartbeat` is acknowledged and does nothing",
    blind: "whether `VM` has left COLO",
    hint: |_| "wait: {vm: VM, query: query-colo-status, until: {mode: none}}",
    shows: Shows::ByDeadline,
    sites: |scene| command_sites(scene, |command| command == "x-colo-lost-heartbeat"),
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| (command == site.detail).then(|| acknowledged(message))),
        once: true,
    },
};
