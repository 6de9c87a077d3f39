//! `link-blackhole`.

use super::acts::{link_sites, open};
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;
use crate::session::link::{Setting, State};

/// A link delivers nothing any more.
pub(super) const LINK_BLACKHOLE: Sabotage = Sabotage {
    name: "link-blackhole",
    kind: Kind::Links,
    does: "a link delivers nothing any more",
    blind: "the connections through link `VM`",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::ByDeadline,
    sites: link_sites,
    act: Act::Bytes {
        change: |_, _, _| Some(Flow::Set(Setting { state: State::Blackhole, ..open() })),
        once: true,
    },
};
