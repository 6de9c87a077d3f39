//! `link-cut`.

use super::acts::{link_sites, open};
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;
use crate::session::link::{Setting, State};

/// A link is cut.
pub(super) const LINK_CUT: Sabotage = Sabotage {
    name: "link-cut",
    kind: Kind::Links,
    does: "a link is cut",
    blind: "the connections through link `VM`",
    hint: |_| "check: {value: \"{{run.link.VM.intact}}\", above: 0}",
    shows: Shows::AtOnce,
    sites: link_sites,
    act: Act::Bytes {
        change: |_, _, _| Some(Flow::Set(Setting { state: State::Cut, ..open() })),
        once: true,
    },
};
