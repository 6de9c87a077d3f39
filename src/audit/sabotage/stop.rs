//! `stop`.

use serde_json::json;

use super::{Act, Kind, Sabotage, Shows};

/// The guest is stopped by a second monitor.
pub(super) const STOP: Sabotage = Sabotage {
    name: "stop",
    kind: Kind::Machine,
    does: "the guest is stopped by a second monitor",
    blind: "whether the guest of `VM` runs",
    hint: |_| "wait: {vm: VM, status: running}",
    shows: Shows::AtOnce,
    sites: super::acts::stop_sites,
    act: Act::Strike(|blow| Box::pin(async move { blow.qmp("stop", json!({})).await })),
};
