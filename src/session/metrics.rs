//! Metrics of a case, computed from its logs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::checkpoints::checkpoints;
use super::metric::Metric;
use super::state::Session;
use crate::event::{Spread, What};

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
    (
        "migration_downtime",
        "the downtime of a completed migration in seconds, as its source reports it (QAPI `downtime`)",
    ),
    ("migration_total_time", "seconds from the start of a migration to its end, as its source reports it"),
    (
        "migration_throughput",
        "the throughput of a migration in Mbit/s, as its source reports it (QAPI `mbps`)",
    ),
    ("migration_pages", "the number of pages that the source sent with their content (QAPI `normal`)"),
    (
        "postcopy_blocktime",
        "seconds in which all vCPUs of a postcopy's destination waited for pages, as it reports them",
    ),
    (
        "clock_behind",
        "seconds by which a guest's time since boot fell behind the host's between two `check: {clock: …}`, at least",
    ),
    (
        "runner_wait",
        "seconds in which the case waited for Lockstep: the sum of the times from the moment at which QEMU had done what \
         was awaited to the next command, see [How waits end](#how-waits-end)",
    ),
    ("failover", "seconds from the start of the `failover` step (its yank) to the survivor's first new tick"),
];

/// The metrics in a reply to `query-migrate`: the place, the unit, and the factor to that unit.
const OF_MIGRATION: &[(&str, &str, &str, f64)] = &[
    ("migration_downtime", "/downtime", "s", 0.001),
    ("migration_total_time", "/total-time", "s", 0.001),
    ("migration_throughput", "/ram/mbps", "Mbit/s", 1.0),
    ("migration_pages", "/ram/normal", "", 1.0),
    ("postcopy_blocktime", "/postcopy-blocktime", "s", 0.001),
];

/// How long a VM may take to report its last migration at the end of a case.
const LAST_QUERY: Duration = Duration::from_secs(3);

/// Queries the migrations that have completed and that no step has queried.
pub async fn query_migrations(session: &Session) {
    for machine in session.machines().values() {
        let is_missing = {
            let log = machine.log.lock();
            let completed = log.migration_statuses(0).filter(|status| *status == "completed").count();
            log.migrations.len() < completed && machine.process.ended().is_none()
        };
        if is_missing {
            // A VM that does not answer has no such metric.
            let _ = machine.qmp("query-migrate", Value::Null, false, Instant::now() + LAST_QUERY).await;
        }
    }
}

/// All metrics known so far.
#[must_use]
pub fn measure(session: &Session) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (name, machine) in &*session.machines() {
        let log = machine.log.lock();
        let mut add = |metric: &'static str, value: f64, unit: &'static str| {
            metrics.push(Metric::of(metric, value, unit, name));
        };
        if let Some(first) = log.ticks.first()
            && machine.plan.spec.incoming.is_none()
        {
            add("boot", first.seen.duration_since(machine.spawned).as_secs_f64(), "s");
        }
        if let Some(pair) = session.pair().filter(|pair| pair.destination.as_ref() == Some(name)) {
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
        if let Some(mark) = session.failover().filter(|mark| mark.survivor == *name)
            && let Some(tick) = log.ticks_from(mark.serial).next()
        {
            add("failover", tick.seen.saturating_duration_since(mark.at).as_secs_f64(), "s");
        }
        for migration in &log.migrations {
            for (metric, key, unit, factor) in OF_MIGRATION {
                if let Some(value) = migration.pointer(key).and_then(Value::as_f64) {
                    add(metric, value * factor, unit);
                }
            }
        }
        let pauses = done.iter().map(|checkpoint| checkpoint.resumed - checkpoint.stopped).collect();
        let periods = done.windows(2).map(|pair| pair[1].resumed - pair[0].resumed).collect();
        for (metric, values) in [("checkpoint_pause", pauses), ("checkpoint_period", periods)] {
            let mut values: Vec<f64> = values;
            metrics.extend(Spread::of(&mut values).map(|spread| Metric {
                spread: Some(spread),
                ..Metric::of(metric, spread.median, "s", name)
            }));
        }
    }
    metrics.extend(migration_gap(session));
    for (name, client) in &*session.clients() {
        if let Some(gap) = client.record().longest_gap() {
            metrics.push(Metric::of("client_gap", gap.as_secs_f64(), "s", name));
        }
    }
    metrics.extend(
        session
            .sink
            .runner_wait()
            // In whole microseconds, as the clock of the stream.
            .map(|value| (value * 1e6).round() / 1e6)
            .map(|value| Metric { vm: None, ..Metric::of("runner_wait", value, "s", "") }),
    );
    metrics.extend(session.live().recorded.iter().cloned());
    metrics
}

/// The downtime of the guest in the last migration.
fn migration_gap(session: &Session) -> Option<Metric> {
    let pair = session.pair()?;
    let name = pair.destination.as_ref()?;
    let machines = session.machines();
    let (first, is_colo) = {
        let log = machines.get(name)?.log.lock();
        (log.ticks.first()?.seen, log.events.iter().any(|event| event.migration_status() == Some("colo")))
    };
    if is_colo {
        return None;
    }
    let log = machines.get(&pair.source)?.log.lock();
    let last = log.ticks.iter().rfind(|tick| tick.seen <= first)?.seen;
    Some(Metric::of("migration_gap", (first - last).as_secs_f64(), "s", name))
}

/// Emits all metrics.
pub fn emit(session: &Session) {
    for Metric { name, value, unit, vm, spread } in measure(session) {
        let (name, unit) = (name.into_owned(), unit.into_owned());
        session.sink.emit(What::Metric { name, value, unit, vm, spread });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_spread_has_a_known_name() {
        let spread = Spread { n: 4, min: 0.1, median: 0.2, p95: 0.3, max: 0.5 };
        let pause = Metric { spread: Some(spread), ..Metric::of("checkpoint_pause", 0.2, "s", "primary") };
        let names = METRICS.iter().map(|(name, _)| *name).filter(|name| name.starts_with(&*pause.name));
        let values: Vec<f64> = names.map(|name| pause.named(name).unwrap()).collect();
        assert_eq!(values, [0.2, 4.0, 0.1, 0.2, 0.3, 0.5]);
        assert_eq!(pause.named("checkpoint_period"), None);
        assert_eq!(pause.named("checkpoint"), None);
    }
}
