//! `link-slow`.

use super::acts::{link_sites, open};
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Flow;
use crate::session::link::Setting;
use crate::units::Size;

/// A link carries a kilobyte a second from here on.
pub(super) const LINK_SLOW: Sabotage = Sabotage {
    name: "link-slow",
    kind: Kind::Links,
    does: "a link carries a kilobyte a second from here on",
    blind: "how fast link `VM` is",
    hint: |_| "check: {metric: migration_total_time, below: 10s}",
    shows: Shows::ByDeadline,
    sites: link_sites,
    act: Act::Bytes { change: |_, _, _| Some(Flow::Set(Setting { rate: Size(1024), ..open() })), once: true },
};
