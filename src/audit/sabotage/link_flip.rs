//! `link-flip`.

use super::acts::link_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;

/// Bytes on a link are changed from here on. A single one can be in a page that is sent again.
pub(super) const LINK_FLIP: Sabotage = Sabotage {
    name: "link-flip",
    kind: Kind::Links,
    does: "bytes on a link are changed from here on",
    blind: "what link `VM` delivers",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::AtOnce,
    sites: link_sites,
    act: Act::Bytes {
        change: |_, _, bytes| {
            let middle = bytes.len() / 2;
            // Not a bit, which would be set back on the way back.
            bytes[middle] = bytes[middle].wrapping_add(0x10);
            Some(Flow::Pass)
        },
        once: false,
    },
};
