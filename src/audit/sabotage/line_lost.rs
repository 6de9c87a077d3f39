//! `line-lost`.

use super::acts::awaited_sites;
use super::{Act, Kind, Sabotage, Shows};

/// A line of the guest that a step waits for is lost.
pub(super) const LINE_LOST: Sabotage = Sabotage {
    name: "line-lost",
    kind: Kind::Serial,
    does: "a line of the guest that a step waits for is lost",
    blind: "the line DETAIL of `VM`",
    hint: |_| "wait: {vm: VM, serial: \"DETAIL\"}",
    shows: Shows::ByDeadline,
    sites: awaited_sites,
    act: Act::Lines {
        change: |site, line, _| String::from_utf8_lossy(line).contains(&site.detail).then(Vec::new),
        once: true,
    },
};
