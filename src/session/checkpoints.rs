//! What the event logs say about COLO checkpoints.

use super::log::QmpEvent;
use super::state::Session;

/// A completed checkpoint as one VM saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    /// When the VM was stopped, in seconds of the host's real-time clock.
    pub stopped: f64,
    /// When it was resumed.
    pub resumed: f64,
    /// The position of the `RESUME` in the VM's events.
    pub resume_at: usize,
}

/// The completed checkpoints in a VM's events: each a `STOP` and the `RESUME` after it, while the migration status is
/// `colo`. The stop that ends the migration proper belongs to none.
#[must_use]
pub fn checkpoints(events: &[QmpEvent]) -> Vec<Checkpoint> {
    let mut found = Vec::new();
    let mut in_colo = false;
    let mut stopped = None;
    for (resume_at, event) in events.iter().enumerate() {
        match (event.name.as_str(), event.migration_status()) {
            (_, Some(status)) => in_colo = status == "colo",
            ("COLO_EXIT", _) => in_colo = false,
            ("STOP", _) => stopped = in_colo.then_some(event.emitted),
            ("RESUME", _) => {
                if let (true, Some(stopped)) = (in_colo, stopped.take()) {
                    found.push(Checkpoint { stopped, resumed: event.emitted, resume_at });
                }
            }
            _ => {}
        }
        if !in_colo {
            stopped = None;
        }
    }
    found
}

/// How far the survivor of a failover must at least be: the passes that the guest had completed, for all to see,
/// before the last completed checkpoint. Absent where there is nothing to compare with; the reason says why.
///
/// A primary never steps back, so for it this is its own last tick before the failover. A secondary goes on from the
/// last checkpoint it has loaded, which the primary took at the stop before: what the primary had printed by then. Only
/// what the runner had *read* before QEMU's own time stamp of that stop counts, so that no order between the two
/// sockets is assumed.
///
/// # Errors
/// The reason why nothing is known.
pub fn floor(session: &Session) -> Result<u64, String> {
    let mark = session.failover.as_ref().ok_or("there was no failover")?;
    let pair = session.pair.as_ref().ok_or("there was no migration")?;
    let machine =
        |name: &str| session.machines.get(name).ok_or_else(|| format!("VM `{name}` was never started"));
    if pair.source == mark.survivor {
        let log = machine(&mark.survivor)?.log.lock();
        let before = log.ticks.iter().rfind(|tick| tick.offset < mark.serial);
        return before
            .map(|tick| tick.count)
            .ok_or_else(|| "it had not ticked before the failover".to_owned());
    }
    let resumed = {
        let log = machine(&mark.survivor)?.log.lock();
        let loaded = |event: &&QmpEvent| event.name == "RESUME" && event.emitted < mark.at_real;
        log.events.iter().rfind(loaded).map(|event| event.emitted).ok_or("it never completed a checkpoint")?
    };
    let log = machine(&pair.source)?.log.lock();
    let taken = |event: &&QmpEvent| event.name == "STOP" && event.emitted < resumed;
    let stopped = log.events.iter().rfind(taken).map(|event| event.emitted);
    let stopped = stopped.ok_or("the primary was never stopped for a checkpoint")?;
    let before = log.ticks.iter().rfind(|tick| tick.seen_real < stopped);
    before.map(|tick| tick.count).ok_or_else(|| "the primary had not ticked before the checkpoint".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(names: &[&str]) -> Vec<QmpEvent> {
        let message = |(at, name): (usize, &&str)| {
            let (name, data) = match name.strip_prefix('=') {
                Some(status) => ("MIGRATION", json!({"status": status})),
                None => (*name, json!(null)),
            };
            QmpEvent::new(
                &json!({"event": name, "data": data, "timestamp": {"seconds": at, "microseconds": 0}}),
            )
        };
        names.iter().enumerate().map(message).collect()
    }

    #[test]
    fn a_primary_completes_a_checkpoint_with_each_stop_and_resume_after_it_has_entered_colo() {
        let events =
            events(&["=setup", "=active", "STOP", "=device", "=colo", "RESUME", "STOP", "RESUME", "STOP"]);
        assert_eq!(checkpoints(&events), [Checkpoint { stopped: 6.0, resumed: 7.0, resume_at: 7 }]);
    }

    #[test]
    fn a_secondary_completes_none_by_its_first_resume() {
        let events = events(&["=setup", "=active", "=colo", "RESUME", "STOP", "RESUME"]);
        assert_eq!(checkpoints(&events).len(), 1);
    }

    #[test]
    fn the_stop_and_resume_of_a_failover_are_no_checkpoint() {
        let events = events(&["=colo", "RESUME", "STOP", "=completed", "RESUME", "COLO_EXIT"]);
        assert_eq!(checkpoints(&events), []);
    }
}
