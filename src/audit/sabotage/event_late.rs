//! `event-late`.

use std::time::Duration;

use super::acts::{event_hint, event_sites, is_meant};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// An event arrives a minute late.
pub(super) const EVENT_LATE: Sabotage = Sabotage {
    name: "event-late",
    kind: Kind::Replies,
    does: "an event arrives a minute late",
    blind: "the event DETAIL of `VM`",
    hint: |site| event_hint(site),
    shows: Shows::ByDeadline,
    sites: event_sites,
    act: Act::Filter {
        heard: Some(|site, message| {
            let late = || vec![Late { after: Duration::from_secs(60), message: message.value.clone() }];
            is_meant(site, &message).then(late)
        }),
        said: None,
        once: true,
    },
};
