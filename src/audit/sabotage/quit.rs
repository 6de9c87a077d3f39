//! `quit`.

use serde_json::json;

use super::{Act, Kind, Sabotage, Shows};

/// A second monitor says `quit`.
pub(super) const QUIT: Sabotage = Sabotage {
    name: "quit",
    kind: Kind::Machine,
    does: "a second monitor says `quit`",
    blind: "whether `VM` still runs",
    hint: |_| "wait: {vm: VM, status: running}",
    shows: Shows::AtOnce,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.moments(vm)).collect(),
    act: Act::Strike(|blow| Box::pin(async move { blow.qmp("quit", json!({})).await })),
};
