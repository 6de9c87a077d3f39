//! `line-lost`.

use super::super::site::Trigger;
use super::{Act, Kind, Sabotage, Shows};

/// A line of the serial port is lost.
pub(super) const LINE_LOST: Sabotage = Sabotage {
    name: "line-lost",
    kind: Kind::Serial,
    does: "no further line of the guest arrives",
    blind: "what the guest of `VM` says",
    hint: "wait: {vm: VM, ticks: 1}",
    shows: Shows::ByDeadline,
    sites: |scene| {
        let line = |site: Result<super::super::site::Site, _>| {
            site.map(|site| super::super::site::Site { trigger: Trigger::Line, ..site })
        };
        scene.vms().into_iter().flat_map(|vm| scene.guest_moments(vm)).map(line).collect()
    },
    act: Act::Lines { change: |_, _, _| Some(Vec::new()), once: false },
};
