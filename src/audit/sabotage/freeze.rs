//! `freeze`.

use rustix::process::Signal;

use super::{Act, Kind, Sabotage, Shows};

/// The process is frozen (SIGSTOP), so that its monitor does not reply.
pub(super) const FREEZE: Sabotage = Sabotage {
    name: "freeze",
    kind: Kind::Machine,
    does: "the process is frozen (SIGSTOP), so that its monitor does not reply",
    blind: "whether `VM` still replies",
    hint: |_| "check: {vm: VM, query: query-status, is: {status: running}}",
    shows: Shows::ByDeadline,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.moments(vm)).collect(),
    act: Act::Strike(|blow| Box::pin(async move { blow.signal(Signal::STOP) })),
};
