//! Streams of events for the tests of the reports.

use serde_json::json;

use crate::cause::{Cause, CauseKind};
use crate::event::{CaseEnd, Event, STREAM_VERSION, Spread, StepOutcome, Verdict, What};

/// An event at a moment.
pub(super) fn at(at: f64, case: Option<usize>, what: What) -> Event {
    Event { at, case, what }
}

/// The first event of a run.
pub(super) fn run_started(cases: usize) -> Event {
    at(
        0.0,
        None,
        What::RunStarted {
            version: STREAM_VERSION,
            lockstep: "0.1.0".into(),
            time: "2026-03-01T12:00:00Z".into(),
            cases,
            command: vec!["lockstep".into(), "run".into()],
            options: Vec::new(),
            seed: None,
            host: None,
            qemus: Vec::new(),
            flaky_passes: false,
            shard: None,
            shards: Vec::new(),
            selection: String::new(),
        },
    )
}

/// The last event of a run.
pub(super) fn run_ended(seconds: f64, interrupted: bool) -> Event {
    at(seconds, None, What::RunEnded { interrupted, seconds })
}

/// A case begins.
pub(super) fn started(case: usize, name: &str, file: &str) -> Event {
    at(
        0.0,
        Some(case),
        What::CaseStarted {
            name: name.into(),
            file: file.into(),
            line: Some(2),
            description: None,
            tags: vec!["colo".into()],
            params: json!({"transport": "plain", "count": 3}),
            axes: vec!["transport".into()],
            qemu: None,
            round: None,
            host: None,
            steps: 2,
            races: Vec::new(),
        },
    )
}

/// A step begins.
pub(super) fn step(case: usize, step: usize, title: &str) -> Event {
    at(
        0.0,
        Some(case),
        What::StepBegan {
            step,
            title: title.into(),
            place: format!("scenarios/colo/failover.yaml:{}:5", 12 + step),
            finally: false,
        },
    )
}

/// A step ends, with the message of its failure if it has one.
pub(super) fn step_ended(case: usize, step: usize, seconds: f64, failure: Option<&str>) -> Event {
    at(
        0.0,
        Some(case),
        What::StepEnded {
            step,
            outcome: failure.map_or(StepOutcome::Done, |_| StepOutcome::Failed),
            message: failure.map(str::to_owned),
            seconds,
        },
    )
}

/// A case ends.
pub(super) fn ended(case: usize, verdict: Verdict, reason: Option<&str>, seconds: f64) -> Event {
    at(0.0, Some(case), What::CaseEnded(Box::new(CaseEnd::new(verdict, reason.map(str::to_owned), seconds))))
}

/// A value is measured, in seconds.
pub(super) fn metric(case: usize, name: &str, value: f64) -> Event {
    let (name, unit) = (name.to_owned(), "s".to_owned());
    at(0.0, Some(case), What::Metric { name, value, unit, vm: Some("primary".into()), spread: None })
}

/// A case is skipped.
pub(super) fn skipped(case: usize, reason: &str) -> Event {
    ended(case, Verdict::Skip, Some(reason), 0.0)
}

const COLO: &str = "scenarios/colo/failover.yaml";
const MIGRATION: &str = "./scenarios/migration/post.copy.yml";

/// A run with one case of each verdict, from two files.
pub(super) fn run() -> Vec<Event> {
    let mut events = vec![run_started(6)];
    events.extend(passed());
    events.extend(failed());
    for case in [2, 3] {
        events.push(started(case, &format!("migration/postcopy/{case}"), MIGRATION));
        events.push(skipped(case, "needs QEMU >=11.0, this is 7.2.22"));
    }
    events.extend([
        started(4, "migration/hang", MIGRATION),
        ended(4, Verdict::Xfail, Some("upstream issue 42"), 2.0),
        started(5, "migration/broken", MIGRATION),
        ended(5, Verdict::Error, Some("qemu-system-x86_64: no such program\ncaused by: os error 2"), 0.0),
        run_ended(36.0, false),
    ]);
    events
}

/// Case 0: two steps and a metric.
fn passed() -> [Event; 7] {
    let failover = What::Metric {
        name: "failover".into(),
        value: 0.125,
        unit: "s".into(),
        vm: Some("primary".into()),
        spread: None,
    };
    [
        started(0, "colo/plain/primary_failover", COLO),
        step(0, 1, "wait: primary ticks 1"),
        step_ended(0, 1, 0.42, None),
        step(0, 2, "failover: primary"),
        step_ended(0, 2, 0.5, None),
        at(1.0, Some(0), failover),
        ended(0, Verdict::Pass, None, 1.42),
    ]
}

/// Case 1: its second step fails, with evidence and artifacts.
fn failed() -> [Event; 9] {
    let failure = "secondary: no event STOP within 30s";
    let spawned = What::VmSpawned {
        vm: "secondary".into(),
        pid: 4711,
        version: Some("11.0.0".into()),
        argv: vec!["qemu-system-x86_64".into()],
    };
    let pause = What::Metric {
        name: "checkpoint_pause".into(),
        value: 0.3,
        unit: "s".into(),
        vm: Some("secondary".into()),
        spread: Some(Spread { n: 3, min: 0.2, median: 0.3, p95: 0.4, max: 0.4 }),
    };
    let end = CaseEnd {
        cause: Some(Cause {
            kind: CauseKind::Timeout,
            vm: Some("secondary".into()),
            what: failure.into(),
            seen: None,
        }),
        evidence: Some(
            "last events:\n  RESUME\nserial tail:\n  \u{1b}[0mtick 41\r\n  ]]> & <tick> 42".into(),
        ),
        place: Some("scenarios/colo/failover.yaml:14:5".into()),
        artifacts: Some("reports/artifacts/1".into()),
        ..CaseEnd::new(Verdict::Fail, Some(failure.into()), 31.2)
    };
    [
        started(1, "colo/plain/secondary_failover", COLO),
        at(1.5, Some(1), spawned),
        step(1, 1, "wait: secondary checkpoints 3"),
        step_ended(1, 1, 0.9, None),
        at(2.0, Some(1), pause),
        step(1, 2, "wait: secondary event STOP"),
        step_ended(1, 2, 30.0, Some(failure)),
        at(32.0, Some(1), What::Note { text: "secondary's tick was slow".into() }),
        at(32.7, Some(1), What::CaseEnded(Box::new(end))),
    ]
}
