//! Tests of the trace.

use serde_json::{Value, json};

use super::collector::{LINES, RAW};
use super::{Attempt, Checkpoint, Collector, Kind, LeftOut, MarkKind, Source, Span};
use crate::event::{Again, CaseEnd, Event, StepOutcome, Verdict, What};
use crate::guest::ticker;
use crate::report::sample::at;

/// An event of `primary`, seen at this time of the run; QEMU's clock is 990 s ahead of the run's.
fn event(seen: f64, emitted: f64, name: &str, status: Option<&str>) -> Event {
    let data = status.map(|status| json!({"status": status}));
    let stamp = 990.0 + emitted;
    let stamp = json!({"seconds": stamp as u64, "microseconds": (stamp.fract() * 1e6).round()});
    let message = json!({"event": name, "data": data, "timestamp": stamp});
    at(seen, Some(0), What::QmpEvent { vm: "primary".into(), message })
}

fn command(seen: f64, name: &str, id: usize) -> Event {
    at(seen, Some(0), What::QmpCommand { vm: "primary".into(), message: json!({"execute": name, "id": id}) })
}

fn reply(seen: f64, id: usize) -> Event {
    at(seen, Some(0), What::QmpReply { vm: "primary".into(), message: json!({"return": {}, "id": id}) })
}

fn tick(seen: f64, count: u64) -> Event {
    let line = ticker::line::text("tick", &[count, 5, 40]);
    at(seen, Some(0), What::SerialLine { vm: "primary".into(), line })
}

fn began(seen: f64, step: usize, title: &str) -> Event {
    let place = format!("a.yaml:{step}:5");
    at(seen, Some(0), What::StepBegan { step, title: title.into(), place, finally: false })
}

fn attempt_ended(seen: f64, attempt: usize, again: Again, verdict: Verdict) -> Event {
    let end = Box::new(CaseEnd::new(verdict, Some("lost".into()), 1.0));
    at(seen, Some(0), What::AttemptEnded { attempt, again, end })
}

/// The attempts of a case that began at 10 s.
fn attempts(events: &[Event], verdict: Verdict) -> Vec<Attempt> {
    let mut collector = Collector::new(10.0);
    events.iter().for_each(|event| collector.take(event));
    collector.finish(Some(&CaseEnd::new(verdict, None, 1.0))).attempts
}

fn attempt(events: &[Event]) -> Attempt {
    attempts(events, Verdict::Pass).remove(0)
}

fn span(began: f64, ended: f64, word: &str) -> Span {
    Span { began, ended, word: word.into() }
}

#[test]
fn a_checkpoint_has_the_times_of_qemu() {
    let shown = attempt(&[
        event(11.0, 11.0, "MIGRATION", Some("colo")),
        // Seen 300 ms late: that must not move it.
        event(12.3, 12.0, "STOP", None),
        event(12.4, 12.25, "RESUME", None),
        event(13.0, 13.0, "STOP", None),
        event(13.5, 13.5, "COLO_EXIT", None),
    ]);
    let primary = &shown.vms[0];
    let checkpoint = |stopped, resumed| Checkpoint { stopped, resumed };
    assert_eq!(primary.checkpoints, [checkpoint(2.0, Some(2.25)), checkpoint(3.0, None)]);
    assert_eq!(primary.completed, 1);
    assert_eq!(primary.migration, [span(1.0, 3.5, "colo")]);
    assert_eq!(
        primary.state,
        [span(2.0, 2.25, "paused"), span(2.25, 3.0, "running"), span(3.0, 3.5, "paused")]
    );
    let kinds: Vec<MarkKind> = shown.marks.iter().map(|mark| mark.kind).collect();
    assert_eq!(kinds, [MarkKind::Colo, MarkKind::Checkpoint]);
}

#[test]
fn lines_are_in_the_order_of_the_times_of_qemu_and_a_late_one_has_its_delay() {
    let shown = attempt(&[
        event(11.0, 11.0, "RESUME", None),
        tick(11.3, 7),
        event(11.5, 11.12, "STOP", None),
        event(11.6, 11.6, "RESUME", None),
    ]);
    let lines: Vec<(f64, Option<f64>, &str)> =
        shown.lines.iter().map(|line| (line.at, line.delay, &*line.text)).collect();
    assert_eq!(
        lines,
        [(1.0, None, "RESUME"), (1.12, Some(0.38), "STOP"), (1.3, None, "7"), (1.6, None, "RESUME")]
    );
}

#[test]
fn each_attempt_has_an_axis_and_commands_of_its_own() {
    let shown = attempts(
        &[
            command(10.5, "cont", 1),
            attempt_ended(12.0, 1, Again::Retry, Verdict::Fail),
            command(12.5, "stop", 1),
            reply(12.6, 1),
        ],
        Verdict::Flaky,
    );
    assert_eq!(shown.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(shown[0].verdict, Some(Verdict::Fail));
    assert_eq!(shown[1].verdict, Some(Verdict::Pass), "a flaky case passed in its last attempt");
    assert_eq!((shown[0].seconds, shown[1].began), (2.0, 2.0));
    let times = |attempt: &Attempt| {
        attempt.lines.iter().map(|line| (line.at, line.text.clone(), line.partner)).collect::<Vec<_>>()
    };
    assert_eq!(times(&shown[0]), [(0.5, "cont".into(), None)]);
    assert_eq!(times(&shown[1]), [(0.5, "stop".into(), Some(1)), (0.6, String::new(), Some(0))]);
}

#[test]
fn an_attempt_after_an_excused_one_passed() {
    let after = |verdict, again| {
        let shown = attempts(&[attempt_ended(12.0, 1, again, verdict)], Verdict::Xfail);
        shown[1].verdict
    };
    assert_eq!(after(Verdict::Xfail, Again::KnownIssue), Some(Verdict::Pass));
    assert_eq!(after(Verdict::Xfail, Again::PortTaken), Some(Verdict::Xfail));
    // The known issue did not occur at first.
    assert_eq!(after(Verdict::Pass, Again::KnownIssue), Some(Verdict::Xfail));
}

#[test]
fn a_reply_is_that_of_the_same_process() {
    let spawned = What::VmSpawned { vm: "primary".into(), pid: 7, version: None, argv: vec!["-S".into()] };
    let shown = attempt(&[command(10.1, "quit", 1), at(10.2, Some(0), spawned), reply(10.3, 1)]);
    assert!(shown.lines.iter().all(|line| line.partner.is_none()), "{:?}", shown.lines);
    assert_eq!(shown.vms[0].state, [span(0.2, 0.3, "paused")]);
}

#[test]
fn the_first_tick_is_the_one_that_the_metric_measures() {
    let metric = What::Metric {
        name: "failover".into(),
        value: 0.4,
        unit: "s".into(),
        vm: Some("primary".into()),
        spread: None,
    };
    let events = |metric: Option<What>| {
        let mut events = vec![
            began(11.0, 1, "failover to primary"),
            command(11.1, "yank", 1),
            tick(11.4, 1),
            command(11.5, "x-colo-lost-heartbeat", 2),
            tick(11.7, 2),
        ];
        events.extend(metric.map(|metric| at(12.0, Some(0), metric)));
        let shown = attempt(&events);
        shown.marks.iter().map(|mark| (mark.at, mark.text.clone())).collect::<Vec<_>>()
    };
    let commands = [(1.1, "yank → primary".to_owned()), (1.5, "failover → primary".to_owned())];
    let tick = (1.4, "first tick, failover 400 ms".to_owned());
    assert_eq!(events(Some(metric)), [commands[0].clone(), tick, commands[1].clone()]);
    let tick = (1.7, "first tick".to_owned());
    assert_eq!(events(None), [commands[0].clone(), commands[1].clone(), tick]);
}

#[test]
fn a_clock_that_was_set_is_noted_and_does_not_move_later_events() {
    let events = |back: f64| {
        let one = |number: u32| {
            let time = 11.0 + 0.1 * f64::from(number);
            // Some are late.
            let late = if number.is_multiple_of(3) { 0.2 } else { 0.0 };
            event(time + late, time - if number < 30 { 0.0 } else { back }, "NIC_RX_FILTER_CHANGED", None)
        };
        attempt(&(0..60).map(one).collect::<Vec<_>>())
    };
    let shown = events(2.0);
    assert_eq!(shown.notes, ["the host's clock was set back by about 2000 ms at 4.200 s"]);
    let times: Vec<f64> = shown.lines.iter().map(|line| line.at).collect();
    assert!(times.is_sorted() && (times[59] - 6.9).abs() < 1e-5, "{times:?}");
    let forward = events(-2.0).notes.remove(0);
    assert!(forward.starts_with("the host's clock was set forward by about 2000 ms at 4."), "{forward}");
    assert_eq!(events(0.0).notes, Vec::<String>::new(), "late events are not a step of the clock");
}

#[test]
fn a_tick_is_shown_as_its_number_and_other_lines_unchanged() {
    let line = "\u{1b}[31mlogin: \0".to_owned();
    let shown =
        attempt(&[tick(10.5, 128), at(10.6, Some(0), What::SerialLine { vm: "primary".into(), line })]);
    let lines: Vec<(Kind, &str)> = shown.lines.iter().map(|line| (line.kind, &*line.text)).collect();
    assert_eq!(lines, [(Kind::Tick, "128"), (Kind::Serial, "␛[31mlogin: ␀")]);
}

#[test]
fn steps_that_run_at_the_same_time_have_rows_of_their_own() {
    let ended = |step| {
        let ended = What::StepEnded { step, outcome: StepOutcome::Failed, message: None, seconds: 0.0 };
        at(11.5, Some(0), ended)
    };
    let shown = attempt(&[
        began(11.0, 1, "a"),
        began(11.1, 2, "b"),
        ended(1),
        began(11.2, 3, "c"),
        ended(2),
        ended(3),
        began(11.3, 4, "wait: SIGKILL to a"),
    ]);
    assert_eq!(shown.steps.iter().map(|step| step.row).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert_eq!((shown.steps[0].ended, shown.steps[3].ended), (Some(1.5), None));
    let marks: Vec<&str> = shown.marks.iter().map(|mark| &*mark.text).collect();
    assert_eq!(marks, ["SIGKILL to a", "failed: a", "failed: b", "failed: c"]);
}

#[test]
fn an_end_by_a_signal_and_an_unexpected_end_have_marks() {
    let exited = |seen: f64, vm: &str, how: &str, expected: bool| {
        at(seen, Some(0), What::VmExited { vm: vm.into(), how: how.into(), expected })
    };
    let shown = attempt(&[
        began(11.0, 1, "SIGKILL to a"),
        // By a step, by something else, by itself, and as it was told.
        exited(11.1, "a", "signal KILL", true),
        exited(11.2, "b", "signal KILL", true),
        exited(11.3, "c", "exit status 1", false),
        exited(11.4, "d", "exit status 0", true),
    ]);
    let marks: Vec<(&str, Option<usize>)> =
        shown.marks.iter().map(|mark| (mark.text.as_str(), mark.line)).collect();
    assert_eq!(
        marks,
        [("SIGKILL to a", Some(0)), ("b: signal KILL", Some(2)), ("c: exit status 1", Some(3))]
    );
}

#[test]
fn a_link_has_its_changes_and_a_mark_for_each_new_state() {
    let change = |seen: f64, happened: &str, bytes: u64| {
        let (link, happened) = ("migration".to_owned(), happened.to_owned());
        at(seen, Some(0), What::Link { link, happened, connections: 1, bytes })
    };
    let shown = attempt(&[change(10.5, "connection 1 is up", 0), change(11.5, "cut", 4096)]);
    let changes: Vec<(f64, &str, u64)> =
        shown.links[0].changes.iter().map(|change| (change.at, &*change.text, change.total)).collect();
    assert_eq!(changes, [(0.5, "connection 1 is up", 0), (1.5, "cut", 4096)]);
    assert_eq!(shown.marks.iter().map(|mark| &*mark.text).collect::<Vec<_>>(), ["link migration: cut"]);
    assert_eq!(shown.lines[1].source, Source::Link(0));
}

#[test]
fn a_long_case_and_a_long_line_need_little_memory() {
    let many = LINES * 2 + 5_000;
    let line = |number: usize| {
        let line = if number == 0 { "x".repeat(10 << 20) } else { "y".into() };
        at(11.0, Some(0), What::SerialLine { vm: "a".into(), line })
    };
    let shown = attempt(&(0..many).map(line).collect::<Vec<_>>());
    assert_eq!(shown.lines.len(), 2 * LINES);
    assert_eq!(shown.left_out, LeftOut { count: 5_000, before: LINES });
    assert!(shown.lines.iter().all(|line| line.text.len() < 2 * RAW));
}

#[test]
fn without_the_traffic_there_are_the_steps() {
    let mut shown = attempt(&[began(11.0, 1, "a"), command(11.1, "cont", 1), reply(11.2, 1), tick(11.3, 1)]);
    shown.without_traffic();
    let lines: Value = serde_json::to_value(&shown.lines).unwrap();
    assert_eq!(
        lines,
        json!([{"at": 1.0, "source": "case", "kind": "began", "text": "a", "message": "a.yaml:1:5", "step": 1}])
    );
}
