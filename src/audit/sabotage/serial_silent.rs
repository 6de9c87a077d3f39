//! `serial-silent`.

use super::acts::line_sites;
use super::{Act, Kind, Sabotage, Shows};

/// No further line of the guest arrives.
pub(super) const SERIAL_SILENT: Sabotage = Sabotage {
    name: "serial-silent",
    kind: Kind::Serial,
    does: "no further line of the guest arrives",
    blind: "what the guest of `VM` says",
    hint: |_| "wait: {vm: VM, ticks: 1}",
    shows: Shows::ByDeadline,
    sites: line_sites,
    act: Act::Lines { change: |_, _, _| Some(Vec::new()), once: false },
};
