//! `link-flip`.

use super::acts::link_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;

/// A byte on a link is changed.
pub(super) const LINK_FLIP: Sabotage = Sabotage {
    name: "link-flip",
    kind: Kind::Links,
    does: "a byte on a link is changed",
    blind: "what link `VM` delivers",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::AtOnce,
    sites: link_sites,
    act: Act::Bytes {
        change: |_, _, bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            Some(Flow::Pass)
        },
        once: true,
    },
};
