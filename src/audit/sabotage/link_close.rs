//! `link-close`.

use super::acts::link_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;

/// One direction of a connection through a link ends.
pub(super) const LINK_CLOSE: Sabotage = Sabotage {
    name: "link-close",
    kind: Kind::Links,
    does: "one direction of a connection through a link ends",
    blind: "the connections through link `VM`",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::AtOnce,
    sites: link_sites,
    act: Act::Bytes { change: |_, _, _| Some(Flow::Close), once: true },
};
