//! Metrics of a case, computed from its logs.

use super::checkpoints::checkpoints;
use super::state::Session;
use crate::event::{Spread, What};

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its value; the median if there is a spread.
    pub value: f64,
    /// Its unit: `s` for seconds, empty for a number.
    pub unit: &'static str,
    /// The VM or client it belongs to.
    pub vm: String,
    /// The spread, if it was measured repeatedly.
    pub spread: Option<Spread>,
}

impl Metric {
    /// The value for a name of [`METRICS`], if it belongs to this metric.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<f64> {
        let part = name.strip_prefix(self.name)?;
        match (part, self.spread) {
            ("", _) => Some(self.value),
            ("_n", Some(spread)) => Some(spread.n as f64),
            ("_min", Some(spread)) => Some(spread.min),
            ("_median", Some(spread)) => Some(spread.median),
            ("_p95", Some(spread)) => Some(spread.p95),
            ("_max", Some(spread)) => Some(spread.max),
            _ => None,
        }
    }
}

/// The names for `check: {metric: …}`, and their meanings.
pub const METRICS: &[(&str, &str)] = &[
    ("boot", "seconds from the start of a VM's process to the built-in guest's first line"),
    ("time_to_colo", "seconds from `migrate` to the secondary's first `RESUME`"),
    ("checkpoints", "the number of COLO checkpoints a VM completed"),
    ("checkpoint_pause", "seconds a VM was paused for a checkpoint, the median"),
    ("checkpoint_pause_n", "how many pauses that is the median of"),
    ("checkpoint_pause_min", "the shortest of them, in seconds"),
    ("checkpoint_pause_median", "the same as `checkpoint_pause`"),
    ("checkpoint_pause_p95", "the pause in seconds that 95 % of them do not exceed"),
    ("checkpoint_pause_max", "the longest of them, in seconds"),
    ("checkpoint_period", "seconds from the end of one checkpoint to the end of the next, the median"),
    ("checkpoint_period_n", "how many periods that is the median of"),
    ("checkpoint_period_min", "the shortest of them, in seconds"),
    ("checkpoint_period_median", "the same as `checkpoint_period`"),
    ("checkpoint_period_p95", "the period in seconds that 95 % of them do not exceed"),
    ("checkpoint_period_max", "the longest of them, in seconds"),
    ("client_gap", "the longest time in seconds that a client waited from one acknowledgement to the next"),
    (
        "migration_gap",
        "seconds from the last tick of a migration's source to the first one of its destination; not in COLO",
    ),
    ("failover", "seconds from the start of the `failover` step (its yank) to the survivor's first new tick"),
];

/// All metrics known so far.
#[must_use]
pub fn measure(session: &Session) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (name, machine) in &session.machines {
        let log = machine.log.lock();
        let mut add = |metric: &'static str, value: f64, unit: &'static str| {
            metrics.push(Metric { name: metric, value, unit, vm: name.clone(), spread: None });
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
        if let Some(mark) = session.failover.as_ref().filter(|mark| mark.survivor == *name)
            && let Some(tick) = log.ticks_from(mark.serial).next()
        {
            add("failover", tick.seen.saturating_duration_since(mark.at).as_secs_f64(), "s");
        }
        let pauses = done.iter().map(|checkpoint| checkpoint.resumed - checkpoint.stopped).collect();
        let periods = done.windows(2).map(|pair| pair[1].resumed - pair[0].resumed).collect();
        for (metric, values) in [("checkpoint_pause", pauses), ("checkpoint_period", periods)] {
            let mut values: Vec<f64> = values;
            metrics.extend(Spread::of(&mut values).map(|spread| Metric {
                name: metric,
                value: spread.median,
                unit: "s",
                vm: name.clone(),
                spread: Some(spread),
            }));
        }
    }
    metrics.extend(migration_gap(session));
    for (name, client) in &session.clients {
        if let Some(gap) = client.record().longest_gap() {
            let value = gap.as_secs_f64();
            let vm = name.clone();
            metrics.push(Metric { name: "client_gap", value, unit: "s", vm, spread: None });
        }
    }
    metrics
}

/// The downtime of the guest in the last migration.
fn migration_gap(session: &Session) -> Option<Metric> {
    let pair = session.pair.as_ref()?;
    let name = pair.destination.as_ref()?;
    let (first, is_colo) = {
        let log = session.machines.get(name)?.log.lock();
        (log.ticks.first()?.seen, log.events.iter().any(|event| event.migration_status() == Some("colo")))
    };
    if is_colo {
        return None;
    }
    let log = session.machines.get(&pair.source)?.log.lock();
    let last = log.ticks.iter().rfind(|tick| tick.seen <= first)?.seen;
    let value = (first - last).as_secs_f64();
    Some(Metric { name: "migration_gap", value, unit: "s", vm: name.clone(), spread: None })
}

/// Emits all metrics.
pub fn emit(session: &Session) {
    for Metric { name, value, unit, vm, spread } in measure(session) {
        let (name, unit, vm) = (name.to_owned(), unit.to_owned(), Some(vm));
        session.sink.emit(What::Metric { name, value, unit, vm, spread });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_spread_has_a_known_name() {
        let spread = Spread { n: 4, min: 0.1, median: 0.2, p95: 0.3, max: 0.5 };
        let pause = Metric {
            name: "checkpoint_pause",
            value: 0.2,
            unit: "s",
            vm: "primary".into(),
            spread: Some(spread),
        };
        let names = METRICS.iter().map(|(name, _)| *name).filter(|name| name.starts_with(pause.name));
        let values: Vec<f64> = names.map(|name| pause.named(name).unwrap()).collect();
        assert_eq!(values, [0.2, 4.0, 0.1, 0.2, 0.3, 0.5]);
        assert_eq!(pause.named("checkpoint_period"), None);
        assert_eq!(pause.named("checkpoint"), None);
    }
}
