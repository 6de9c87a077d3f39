//! `kill`.

use rustix::process::Signal;

use super::{Act, Kind, Sabotage, Shows};

/// The process is killed (SIGKILL).
pub(super) const KILL: Sabotage = Sabotage {
    name: "kill",
    kind: Kind::Machine,
    does: "the process is killed (SIGKILL)",
    blind: "how `VM` ends",
    hint: |_| "wait: {vm: VM, exit: 0}",
    shows: Shows::AtOnce,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.moments(vm)).collect(),
    act: Act::Strike(|blow| Box::pin(async move { blow.signal(Signal::KILL) })),
};
