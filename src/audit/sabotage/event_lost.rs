//! `event-lost`.

use super::super::rule::Rule;
use super::super::site::Trigger;
use super::acts::message_sites;
use super::{Act, Kind, Sabotage, Shows};

/// Events on which steps depend.
pub(super) const TELLING: &[&str] = &[
    "BLOCK_IO_ERROR",
    "BLOCK_JOB_COMPLETED",
    "BLOCK_JOB_READY",
    "COLO_EXIT",
    "DEVICE_DELETED",
    "JOB_STATUS_CHANGE",
    "MIGRATION",
    "POWERDOWN",
    "RESET",
    "RESUME",
    "SHUTDOWN",
    "STOP",
    "SUSPEND",
    "WAKEUP",
];

/// An event does not arrive.
pub(super) const EVENT_LOST: Sabotage = Sabotage {
    name: "event-lost",
    kind: Kind::Replies,
    does: "an event does not arrive",
    blind: "the event DETAIL of `VM`",
    hint: "wait: {vm: VM, event: DETAIL}",
    shows: Shows::ByDeadline,
    sites: |scene| {
        message_sites(scene, &scene.tape.events, Trigger::Event, |event| {
            Some(if TELLING.contains(&event.name.as_str()) {
                Ok(event.name.clone())
            } else {
                Err(Rule::Informative)
            })
        })
    },
    act: Act::Filter {
        heard: Some(|site, message| message.is_event(&site.detail).then(Vec::new)),
        said: None,
        once: true,
    },
};
