//! `event-lost`.

use super::acts::{event_hint, event_sites, is_meant};
use super::{Act, Kind, Sabotage, Shows};

/// An event does not arrive.
pub(super) const EVENT_LOST: Sabotage = Sabotage {
    name: "event-lost",
    kind: Kind::Replies,
    does: "an event does not arrive",
    blind: "the event DETAIL of `VM`",
    hint: |site| event_hint(site),
    shows: Shows::ByDeadline,
    sites: event_sites,
    act: Act::Filter {
        heard: Some(|site, message| is_meant(site, &message).then(Vec::new)),
        said: None,
        once: true,
    },
};
