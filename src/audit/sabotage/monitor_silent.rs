//! `monitor-silent`.

use super::{Act, Kind, Sabotage, Shows};

/// Nothing arrives from the monitor any more.
pub(super) const MONITOR_SILENT: Sabotage = Sabotage {
    name: "monitor-silent",
    kind: Kind::Replies,
    does: "nothing arrives from the monitor any more",
    blind: "whether the monitor of `VM` replies",
    hint: |_| "check: {vm: VM, query: query-status, is: {status: running}}",
    shows: Shows::ByDeadline,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.moments(vm)).collect(),
    act: Act::Filter { heard: Some(|_, _| Some(Vec::new())), said: None, once: false },
};
