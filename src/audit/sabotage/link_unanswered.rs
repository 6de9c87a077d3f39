//! `link-unanswered`.

use super::acts::link_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;

/// What comes back through a link is dropped.
pub(super) const LINK_UNANSWERED: Sabotage = Sabotage {
    name: "link-unanswered",
    kind: Kind::Links,
    does: "what comes back through a link is dropped",
    blind: "whether anything comes back through link `VM`",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::ByDeadline,
    sites: link_sites,
    act: Act::Bytes { change: |_, direction, _| (direction == 1).then_some(Flow::Drop), once: false },
};
