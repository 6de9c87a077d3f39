//! `event-twice`.

use super::acts::{event_sites_with, is_meant};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// An event arrives twice.
pub(super) const EVENT_TWICE: Sabotage = Sabotage {
    name: "event-twice",
    kind: Kind::Replies,
    does: "an event arrives twice",
    blind: "a second DETAIL of `VM`",
    hint: |_| "check: {vm: VM, no_event: FIRST}",
    shows: Shows::AtOnce,
    sites: |scene| event_sites_with(scene, true),
    act: Act::Filter {
        heard: Some(|site, message| {
            is_meant(site, &message)
                .then(|| vec![Late::not(message.value.clone()), Late::not(message.value.clone())])
        }),
        said: None,
        once: true,
    },
};
