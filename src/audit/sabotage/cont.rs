//! `cont`.

use serde_json::json;

use super::{Act, Kind, Sabotage, Shows};

/// A second monitor resumes a guest that is stopped.
pub(super) const CONT: Sabotage = Sabotage {
    name: "cont",
    kind: Kind::Machine,
    does: "a second monitor resumes a guest that is stopped",
    blind: "whether the guest of `VM` stays stopped",
    hint: |_| "check: {vm: VM, query: query-status, is: {running: false}}",
    shows: Shows::AtOnce,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.stopped_moments(vm)).collect(),
    act: Act::Strike(|blow| Box::pin(async move { blow.qmp("cont", json!({})).await })),
};
