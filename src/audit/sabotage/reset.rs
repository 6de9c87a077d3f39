//! `reset`.

use serde_json::json;

use super::{Act, Kind, Sabotage, Shows};

/// A second monitor resets the machine, and its guest starts again.
pub(super) const RESET: Sabotage = Sabotage {
    name: "reset",
    kind: Kind::Machine,
    does: "a second monitor resets the machine, and its guest starts again",
    blind: "whether the guest of `VM` started again",
    hint: |_| "check: {vm: VM, no_event: RESET}",
    shows: Shows::AtOnce,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.guest_moments(vm)).collect(),
    act: Act::Strike(|blow| Box::pin(async move { blow.qmp("system_reset", json!({})).await })),
};
