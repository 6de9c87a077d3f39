//! Events.

use serde_json::Value;

use super::super::Message;
use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::{Site, Trigger, of_event};

/// Events on which steps depend.
const TELLING: &[&str] = &[
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

/// Those that tell of a state, which commands tell too.
const STATES: &[&str] = &["JOB_STATUS_CHANGE", "MIGRATION", "RESUME", "STOP", "SUSPEND", "WAKEUP"];

/// Whether a message is an event on which steps depend.
pub(in super::super) fn is_telling(message: &Value) -> bool {
    message["event"].as_str().is_some_and(|name| TELLING.contains(&name))
}

/// Whether a message is the event of a site.
pub(in super::super) fn is_meant(site: &Site, message: &Message<'_>) -> bool {
    message.value.get("event").is_some() && of_event(message.value) == site.detail
}

/// The events that matter, each after the step before it.
pub(in super::super) fn event_sites(scene: &Scene<'_>) -> Sites {
    event_sites_with(scene, false)
}

/// The same; for an event that comes twice, those that tell of a state do not matter.
pub(in super::super) fn event_sites_with(scene: &Scene<'_>, twice: bool) -> Sites {
    scene.message_sites(&scene.tape.events, Trigger::Event, |at, event| {
        let name = event.name.as_str();
        Some(match () {
            () if !TELLING.contains(&name) => Err(Rule::Informative),
            // Its process ends anyway.
            () if event.message["data"]["reason"] == "host-qmp-quit" => Err(Rule::Ends),
            () if twice && STATES.contains(&name) => Err(Rule::Repeats),
            () if STATES.contains(&name) && !scene.awaited_events().contains(&at) => Err(Rule::Queried),
            () if matches!(name, "STOP" | "RESUME") && scene.is_periodic() => Err(Rule::Periodic),
            () if scene.is_left_to(event) => Err(Rule::LostSide),
            () => Ok(of_event(&event.message)),
        })
    })
}

/// The events that are followed by another one, where both are awaited, or both tell of more than a state.
pub(in super::super) fn order_sites(scene: &Scene<'_>) -> Sites {
    let end = scene.tape.steps.last().map_or(0.0, |step| step.ended);
    scene.message_sites(&scene.tape.events, Trigger::Event, |at, event| {
        let awaited = scene.awaited_events();
        let mut next = scene.tape.events.iter().enumerate().skip(at + 1);
        let next = next.find(|(_, next)| next.vm == event.vm && is_telling(&next.message));
        let next = next.filter(|(_, next)| next.at < end);
        Some(match next {
            None => Err(Rule::Idle),
            Some(_) if scene.is_periodic() => Err(Rule::Periodic),
            Some(_) if scene.is_left_to(event) => Err(Rule::LostSide),
            Some((_, second)) if of_event(&second.message) == of_event(&event.message) => {
                Err(Rule::Unordered)
            }
            Some((next, second)) => {
                let names = [event.name.as_str(), second.name.as_str()];
                // Of a migration, only what is awaited counts.
                let told = names.iter().all(|name| TELLING.contains(name) && *name != "MIGRATION");
                let states = names.iter().any(|name| STATES.contains(name));
                let both = awaited.contains(&at) && awaited.contains(&next);
                if both || (told && !states) { Ok(of_event(&event.message)) } else { Err(Rule::Unordered) }
            }
        })
    })
}

/// A step that waits for the event.
pub(in super::super) fn event_hint(site: &Site) -> &'static str {
    match site.detail.contains(' ') {
        true => "wait: {vm: VM, event: FIRST, data: {status: SECOND}}",
        false => "wait: {vm: VM, event: DETAIL}",
    }
}
