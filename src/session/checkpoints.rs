//! COLO checkpoints, reconstructed from the event logs.

use super::failure::Failure;
use super::log::{Log, QmpEvent, real_time};
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

/// Tracks checkpoints in a VM's events: each is a `STOP` followed by a `RESUME` while the migration status is `colo`.
/// The stop that ends the initial migration is not part of a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracker {
    in_colo: bool,
    stopped: Option<f64>,
}

impl Tracker {
    /// Processes an event; returns the times of the stop and the resume if it completes a checkpoint.
    pub fn take(&mut self, event: &QmpEvent) -> Option<(f64, f64)> {
        let mut found = None;
        match (event.name.as_str(), event.migration_status()) {
            (_, Some(status)) => self.in_colo = status == "colo",
            ("COLO_EXIT", _) => self.in_colo = false,
            ("STOP", _) => self.stopped = self.in_colo.then_some(event.emitted),
            ("RESUME", _) if self.in_colo => {
                found = self.stopped.take().map(|stopped| (stopped, event.emitted));
            }
            _ => {}
        }
        if !self.in_colo {
            self.stopped = None;
        }
        found
    }

    /// Whether the VM is in COLO.
    #[must_use]
    pub const fn is_in_colo(&self) -> bool {
        self.in_colo
    }

    /// When the current checkpoint started, if one is in progress.
    #[must_use]
    pub const fn under_way(&self) -> Option<f64> {
        self.stopped
    }
}

/// The completed checkpoints in a VM's events.
#[must_use]
pub fn checkpoints(events: &[QmpEvent]) -> Vec<Checkpoint> {
    let mut tracker = Tracker::default();
    let completed = events.iter().enumerate().filter_map(|(resume_at, event)| {
        let (stopped, resumed) = tracker.take(event)?;
        Some(Checkpoint { stopped, resumed, resume_at })
    });
    completed.collect()
}

/// The start of each checkpoint, completed or not, in seconds of the host's real-time clock.
#[must_use]
pub fn began(events: &[QmpEvent]) -> Vec<f64> {
    let mut tracker = Tracker::default();
    let stops = events.iter().filter_map(|event| {
        tracker.take(event);
        tracker.under_way().filter(|_| event.name == "STOP")
    });
    stops.collect()
}

/// Whether a VM with these events is in COLO.
#[must_use]
pub fn is_in_colo(events: &[QmpEvent]) -> bool {
    let mut tracker = Tracker::default();
    for event in events {
        tracker.take(event);
    }
    tracker.is_in_colo()
}

/// Checks that no checkpoint was in progress on a VM at the failover (or is now, if there was none), and that none
/// has started since on the lost side. (The failover itself stops the survivor.)
///
/// # Errors
/// What the VM's events show instead.
pub fn none_under_way(session: &Session, vm: &str) -> Result<(), Failure> {
    let failed = |message: String| Failure::failed(message).about(vm);
    let machine =
        session.machines().get(vm).cloned().ok_or_else(|| failed(format!("VM `{vm}` was never started")))?;
    let log = machine.log.lock();
    let failover = session.failover().map(|mark| (mark.at_real, mark.survivor == vm));
    check_none_under_way(&log.events, failover).map_err(|seen| failed(format!("`{vm}` {seen}")))
}

/// The same for a VM's events: `failover` is its time, and whether the VM is the survivor.
fn check_none_under_way(events: &[QmpEvent], failover: Option<(f64, bool)>) -> Result<(), String> {
    let (moment, is_survivor) = failover.unwrap_or((f64::INFINITY, true));
    let (before, since): (Vec<&QmpEvent>, Vec<&QmpEvent>) =
        events.iter().partition(|event| event.emitted < moment);
    let milliseconds = |span: f64| format!("{:.1} ms", span * 1e3);
    let status = before.iter().rev().find_map(|event| event.migration_status());
    if status != Some("colo") {
        return Err(format!("was not in COLO: its migration status was {}", status.unwrap_or("none")));
    }
    match before.iter().rfind(|event| matches!(event.name.as_str(), "STOP" | "RESUME")) {
        Some(stop) if stop.name == "STOP" && failover.is_none() => {
            return Err("was stopped and not resumed".to_owned());
        }
        Some(stop) if stop.name == "STOP" => {
            let span = milliseconds(moment - stop.emitted);
            return Err(format!("was stopped {span} before the failover and not resumed"));
        }
        Some(_) => {}
        None => return Err("was never resumed".to_owned()),
    }
    match since.iter().find(|event| event.name == "STOP" && !is_survivor) {
        Some(stop) => Err(format!("stopped {} after the failover", milliseconds(stop.emitted - moment))),
        None => Ok(()),
    }
}

/// The minimum state of a VM that took over.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    /// The passes that the guest had visibly completed before the state transfer.
    pub passes: u64,
    /// The offset in the VM's serial output at which the output of the transferred guest starts.
    pub serial: usize,
    /// The VM that the state came from; the VM itself if it kept its own state.
    pub source: String,
    /// When that VM was stopped for the state transfer, or the other side was lost, in seconds of the host's
    /// real-time clock.
    pub stopped: f64,
    /// When the state was complete: what the source received later is not part of it.
    pub whole: f64,
}

/// The minimum progress of a VM that survived a failover, is the destination of a migration, or is in COLO.
///
/// In COLO the comparison starts now: each checkpoint may have set the guest to the other side's state, but its
/// output from now on follows the last known checkpoint.
///
/// A primary never steps back, so its minimum is its own last tick before the failover. A secondary continues from
/// the last checkpoint it has loaded, which the primary took at the preceding stop: the minimum is what the primary
/// had printed by then. The same holds for the destination of a plain migration, with the source's last stop. Only
/// output that the runner had *read* before QEMU's time stamp of that stop counts, so that no order between the two
/// sockets is assumed.
///
/// # Errors
/// Why there is nothing to compare with.
pub fn floor(session: &Session, vm: &str) -> Result<Floor, Failure> {
    let failed = |why: String| Failure::failed(format!("cannot compare the progress of `{vm}`: {why}"));
    find_floor(session, vm).map_err(|why| failed(why).about(vm))
}

fn find_floor(session: &Session, vm: &str) -> Result<Floor, String> {
    let pair = session.pair_of(vm).or_else(|| session.pair()).ok_or("there was no migration")?;
    let machine = |name: &str| {
        session.machines().get(name).cloned().ok_or_else(|| format!("VM `{name}` was never started"))
    };
    let mark = session.failover().filter(|mark| mark.survivor == vm);
    let in_colo = mark.is_none() && is_in_colo(&machine(vm)?.log.lock().events);
    let serial = match mark {
        Some(ref mark) => mark.serial,
        None if in_colo => machine(vm)?.log.lock().serial_end(),
        None => 0,
    };
    match &mark {
        _ if pair.source == vm && (mark.is_some() || in_colo) => {
            let machine = machine(vm)?;
            let log = machine.log.lock();
            let before = log.ticks.iter().rfind(|tick| tick.offset < serial);
            let before = before.ok_or("no tick was seen before that")?;
            let at = mark.as_ref().map_or_else(real_time, |mark| mark.at_real);
            return Ok(Floor { passes: before.count, serial, source: vm.to_owned(), stopped: at, whole: at });
        }
        None if pair.destination.is_none() && pair.source == vm => {
            return in_place(vm, &machine(vm)?.log.lock());
        }
        None if pair.destination.as_deref() != Some(vm) => {
            return Err(
                "it is neither the survivor of a failover nor the destination of a migration".to_owned()
            );
        }
        _ => {}
    }
    let before = mark.map_or(f64::INFINITY, |mark| mark.at_real);
    let resumed = {
        let machine = machine(vm)?;
        let log = machine.log.lock();
        let loaded = |event: &&QmpEvent| event.name == "RESUME" && event.emitted < before;
        log.events.iter().rfind(loaded).map(|event| event.emitted).ok_or("it never completed a checkpoint")?
    };
    let source = machine(&pair.source)?;
    let log = source.log.lock();
    let taken = |event: &&QmpEvent| event.name == "STOP" && event.emitted < resumed;
    let stopped = log.events.iter().rfind(taken).map(|event| event.emitted);
    let stopped = stopped.ok_or("the other side was never stopped to transfer its state")?;
    let before = log.ticks.iter().rfind(|tick| tick.seen_real < stopped);
    let before = before.ok_or("no tick of the other side was seen before its state transfer")?;
    let resumed_too = log.events.iter().find(|event| event.name == "RESUME" && event.emitted > stopped);
    // In COLO another checkpoint may start at any time.
    let whole = if in_colo { f64::INFINITY } else { resumed_too.map_or(resumed, |event| event.emitted) };
    Ok(Floor { passes: before.count, serial, source: pair.source.clone(), stopped, whole })
}

/// The same for a VM that was stopped and continued in place, as after `cpr-exec`.
fn in_place(vm: &str, log: &Log) -> Result<Floor, String> {
    let last = |name: &str| log.events.iter().rfind(|event| event.name == name).map(|event| event.emitted);
    let (stopped, resumed) = (last("STOP"), last("RESUME"));
    let whole = resumed.unwrap_or(f64::INFINITY);
    let stopped = stopped.filter(|stopped| *stopped < whole);
    let stopped = stopped.ok_or("it was not stopped and resumed by its migration")?;
    let before = log.ticks.iter().rfind(|tick| tick.seen_real < stopped);
    let before = before.ok_or("no tick was seen before it was stopped")?;
    Ok(Floor { passes: before.count, serial: before.offset + 1, source: vm.to_owned(), stopped, whole })
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
    fn a_checkpoint_began_with_its_stop_completed_or_not() {
        let events = events(&["STOP", "=device", "=colo", "RESUME", "STOP", "RESUME", "=colo", "STOP"]);
        assert_eq!(began(&events), [4.0, 7.0]);
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

    #[test]
    fn between_two_checkpoints_none_is_under_way() {
        let pair = events(&["=colo", "RESUME", "STOP", "RESUME"]);
        assert_eq!(check_none_under_way(&pair, None), Ok(()));
        assert_eq!(check_none_under_way(&pair, Some((3.5, true))), Ok(()));
        assert_eq!(check_none_under_way(&pair, Some((3.5, false))), Ok(()));
    }

    #[test]
    fn a_stop_without_its_resume_is_a_checkpoint_under_way() {
        let pair = events(&["=colo", "RESUME", "STOP", "=completed", "RESUME"]);
        let seen = check_none_under_way(&pair, Some((2.25, true))).unwrap_err();
        assert_eq!(seen, "was stopped 250.0 ms before the failover and not resumed");
        let now = events(&["=colo", "RESUME", "STOP"]);
        assert!(check_none_under_way(&now, None).is_err());
    }

    #[test]
    fn a_stop_after_the_failover_counts_on_the_lost_side_only() {
        let pair = events(&["=colo", "RESUME", "STOP", "RESUME"]);
        assert_eq!(check_none_under_way(&pair, Some((1.5, true))), Ok(()));
        let seen = check_none_under_way(&pair, Some((1.5, false))).unwrap_err();
        assert_eq!(seen, "stopped 500.0 ms after the failover");
    }

    #[test]
    fn where_there_is_no_colo_nothing_is_idle() {
        assert!(
            check_none_under_way(&events(&["=active", "STOP", "RESUME"]), None)
                .unwrap_err()
                .contains("active")
        );
        assert!(check_none_under_way(&events(&[]), None).unwrap_err().contains("none"));
        assert!(check_none_under_way(&events(&["=colo"]), None).unwrap_err().contains("never resumed"));
    }
}
