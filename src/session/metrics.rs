//! What a case measures by itself, from its logs.

use super::checkpoints::checkpoints;
use super::state::Session;
use crate::event::What;

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, as `check: {metric: …}` knows it.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit: `s` for seconds, empty for a number.
    pub unit: &'static str,
    /// The VM or client it is about.
    pub vm: String,
}

/// The metrics there are, and what each means.
pub const METRICS: &[(&str, &str)] = &[
    ("boot", "seconds from the start of a VM's process to the built-in guest's first line"),
    ("time_to_colo", "seconds from `migrate` to the secondary's first `RESUME`"),
    ("checkpoints", "the number of COLO checkpoints a VM completed"),
    ("checkpoint_pause", "seconds a VM stood still for a checkpoint, the median"),
    ("checkpoint_pause_max", "seconds a VM stood still for a checkpoint, the longest"),
    ("checkpoint_period", "seconds from the end of one checkpoint to the end of the next, the median"),
    ("client_gap", "the longest time in seconds that a client waited from one acknowledgement to the next"),
    ("failover", "seconds from the `failover` step to the survivor's first new tick"),
];

/// Everything that is known by now.
#[must_use]
pub fn measure(session: &Session) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (name, machine) in &session.machines {
        let log = machine.log.lock();
        let mut add = |metric: &'static str, value: f64, unit: &'static str| {
            metrics.push(Metric { name: metric, value, unit, vm: name.clone() });
        };
        if let Some(first) = log.ticks.first()
            && machine.plan.spec.incoming.is_none()
        {
            add("boot", first.seen.duration_since(machine.spawned).as_secs_f64(), "s");
        }
        let is_destination =
            session.pair.as_ref().is_some_and(|pair| pair.destination.as_ref() == Some(name));
        if let (true, Some(pair)) = (is_destination, &session.pair) {
            let colo = log.events.iter().position(|event| event.migration_status() == Some("colo"));
            let resumed = colo.and_then(|at| log.events[at..].iter().find(|event| event.name == "RESUME"));
            if let Some(resumed) = resumed {
                add("time_to_colo", resumed.seen.saturating_duration_since(pair.started).as_secs_f64(), "s");
            }
        }
        let done = checkpoints(&log.events);
        if log.events.iter().any(|event| event.migration_status() == Some("colo")) {
            add("checkpoints", done.len() as f64, "");
        }
        let mut pauses: Vec<f64> =
            done.iter().map(|checkpoint| checkpoint.resumed - checkpoint.stopped).collect();
        let mut periods: Vec<f64> = done.windows(2).map(|pair| pair[1].resumed - pair[0].resumed).collect();
        if let Some(median) = median(&mut pauses) {
            add("checkpoint_pause", median, "s");
            add("checkpoint_pause_max", pauses.last().copied().unwrap_or(median), "s");
        }
        if let Some(median) = median(&mut periods) {
            add("checkpoint_period", median, "s");
        }
        if let Some(mark) = session.failover.as_ref().filter(|mark| mark.survivor == *name)
            && let Some(tick) = log.ticks_from(mark.serial).next()
        {
            add("failover", tick.seen.saturating_duration_since(mark.at).as_secs_f64(), "s");
        }
    }
    for (name, client) in &session.clients {
        if let Some(gap) = client.record().longest_gap() {
            let value = gap.as_secs_f64();
            metrics.push(Metric { name: "client_gap", value, unit: "s", vm: name.clone() });
        }
    }
    metrics
}

/// Puts everything that was measured into the stream of events.
pub fn emit(session: &Session) {
    for Metric { name, value, unit, vm } in measure(session) {
        session.sink.emit(What::Metric { name: name.to_owned(), value, unit: unit.to_owned(), vm: Some(vm) });
    }
}

/// Sorts the values and gives the middle one.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }
}
