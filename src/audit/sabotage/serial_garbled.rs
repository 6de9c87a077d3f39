//! `serial-garbled`.

use super::acts::line_sites;
use super::{Act, Kind, Sabotage, Shows};

/// Each further line of the guest arrives with a wrong character.
pub(super) const SERIAL_GARBLED: Sabotage = Sabotage {
    name: "serial-garbled",
    kind: Kind::Serial,
    does: "each further line of the guest arrives with a wrong character",
    blind: "what the guest of `VM` says",
    hint: |_| "wait: {vm: VM, ticks: 1}",
    shows: Shows::ByDeadline,
    sites: line_sites,
    act: Act::Lines {
        change: |_, line, _| {
            let mut line = line.to_vec();
            let middle = line.len() / 2;
            line[middle] ^= 1;
            Some(vec![line])
        },
        once: false,
    },
};
