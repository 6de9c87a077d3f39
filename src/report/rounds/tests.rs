//! Tests of the comparison of rounds, with made-up streams.

use serde_json::json;

use super::*;
use crate::cause::Cause;
use crate::event::StepOutcome;
use crate::random::Random;
use crate::report::sample;

/// One round as it is made up: its events, each with its time.
#[derive(Default)]
struct Story(Vec<(f64, What)>);

impl Story {
    fn event(&mut self, at: f64, vm: &str, name: &str) -> &mut Self {
        let emitted = 1000.0 + at;
        let stamp = json!({"seconds": emitted.floor(), "microseconds": (emitted.fract() * 1e6).floor()});
        let (name, data) = match name.split_once('=') {
            Some((name, status)) => (name, json!({"status": status})),
            None => (name, json!(null)),
        };
        let message = json!({"event": name, "data": data, "timestamp": stamp});
        // The runner sees it later.
        self.put(at + 0.002, What::QmpEvent { vm: vm.into(), message })
    }

    fn command(&mut self, at: f64, vm: &str, name: &str) -> &mut Self {
        self.put(
            at,
            What::QmpCommand { vm: vm.into(), message: json!({"execute": name, "id": at.to_string()}) },
        )
    }

    /// A step from its start to its end.
    fn step(&mut self, number: usize, title: &str, (began, ended): (f64, f64), fails: bool) -> &mut Self {
        let place = format!("a.yaml:{number}:3");
        self.put(began, What::StepBegan { step: number, title: title.into(), place, finally: false });
        let outcome = if fails { StepOutcome::Failed } else { StepOutcome::Done };
        let message = fails.then(|| "no".to_owned());
        self.put(ended, What::StepEnded { step: number, outcome, message, seconds: ended - began })
    }

    fn put(&mut self, at: f64, what: What) -> &mut Self {
        self.0.push((at, what));
        self
    }

    /// Adds it as a round of the case `race`.
    fn tell(&mut self, rounds: &mut Rounds, number: usize, end: What) {
        let mut began = sample::started(number, "race", "a.yaml");
        if let What::CaseStarted { round, .. } = &mut began.what {
            *round = Some(number + 1);
        }
        rounds.take(&began);
        self.0.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (at, what) in self.0.drain(..) {
            rounds.take(&sample::at(at, Some(number), what));
        }
        rounds.take(&sample::at(60.0, Some(number), end));
    }
}

fn passed() -> What {
    What::CaseEnded(Box::new(CaseEnd::new(Verdict::Pass, None, 1.0)))
}

fn end(verdict: Verdict) -> CaseEnd {
    let what = "waited 5 s for run state running of `b`".to_owned();
    let cause = Cause { kind: CauseKind::Timeout, vm: Some("b".into()), what, seen: None };
    CaseEnd { cause: Some(cause), ..CaseEnd::new(verdict, Some("no".into()), 1.0) }
}

fn failed() -> What {
    What::CaseEnded(Box::new(end(Verdict::Fail)))
}

/// A number from 0 to 1.
fn chance(random: &mut Random) -> f64 {
    random.below(1_000_000) as f64 / 1e6
}

/// Twelve events at random times within a second, a failover, and twelve more. The last step fails on request.
fn noise(random: &mut Random, fails: bool) -> Story {
    let mut story = Story::default();
    story.step(1, "wait", (0.1, 0.2), false).step(2, "failover", (1.9, 2.5), false);
    for number in 0..12 {
        for begin in [0.5, 3.0] {
            let vm = if number % 2 == 0 { "a" } else { "b" };
            story.event(begin + chance(random), vm, &format!("NOISE_{}", ["A", "B", "C", "D"][number % 4]));
        }
    }
    story.command(2.0, "b", "x-colo-lost-heartbeat");
    story.step(3, "check", (5.0, if fails { 10.0 } else { 5.5 }), fails);
    story
}

#[test]
fn the_cause_is_found_among_noise_and_before_its_consequences() {
    let mut random = Random::new("noise", 1);
    let mut rounds = Rounds::default();
    for number in 0..60 {
        let fails = [3, 10, 11, 19, 27, 33, 41, 50, 58].contains(&number);
        let mut story = noise(&mut random, fails);
        // The race: whether the one side stops before the other one goes on.
        let (stop, resume) = if fails { (1.80, 1.81) } else { (1.81, 1.80) };
        story.event(stop, "b", "STOP").event(resume, "a", "RESUME");
        // Its consequences: one event that is late, one that comes in addition, and one that does not come.
        story.event(if fails { 4.5 } else { 2.2 }, "b", "MIGRATION=completed");
        story.event(4.6, "b", if fails { "BLOCK_IO_ERROR" } else { "RESUME" });
        story.tell(&mut rounds, number, if fails { failed() } else { passed() });
    }
    let all = rounds.findings();
    assert_eq!((all.len(), all[0].case.as_str(), all[0].failing, all[0].passing), (1, "race", 9, 51));
    let first = all[0].findings[0].to_string();
    let expected = "in 9 of 9 failing and 0 of 51 passing rounds, STOP of `b` came before RESUME of `a`";
    assert!(first.starts_with(expected), "{first}");
    assert!(first.ends_with(" more that come with it"), "{first}");
    // The event is in all rounds, those that failed first.
    let at = &all[0].findings[0].at;
    let millis = |(round, attempt, at): (_, _, f64)| (round, attempt, (at * 1e3).round());
    assert_eq!((at.len(), millis(at[0]), millis(at[9])), (60, (Some(4), 1, 1802.0), (Some(1), 1, 1812.0)));
    let text = rounds.contrast("race", None).unwrap().render(false);
    let head = "race: 9 failing and 51 passing rounds, aligned at the failover\n  1. in 9 of 9 ";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("(passed) and round 4 (failed), in ms from the failover\n"), "{text}");
    let rows = ["-     -198.0             RESUME of `a`", "      -188.0     -198.0  STOP of `b`"];
    assert!(text.contains(&format!("\n{}\n{}\n", rows[0], rows[1])), "{text}");
}

#[test]
fn a_verdict_by_chance_is_told_by_nothing() {
    let (mut told, mut random) = (0, Random::new("by chance", 7));
    for _ in 0..20 {
        let mut rounds = Rounds::default();
        for number in 0..30 {
            let fails = number < 2 || (number > 3 && chance(&mut random) < 0.4);
            noise(&mut random, fails).tell(&mut rounds, number, if fails { failed() } else { passed() });
        }
        told += usize::from(!rounds.findings()[0].findings.is_empty());
        let text = rounds.contrast("race", None).unwrap().render(false);
        let none = text.contains("\nnothing tells the failing from the passing rounds: what differs most");
        assert_eq!(none, rounds.findings()[0].findings.is_empty(), "{text}");
    }
    // By the definition of chance, 1 of 20.
    assert!(told <= 2, "{told} of 20");
}

#[test]
fn the_failure_itself_and_what_comes_after_it_are_not_findings() {
    let mut rounds = Rounds::default();
    for number in 0..40 {
        let fails = number % 2 == 0;
        let mut story = Story::default();
        story.event(1.0, "a", "STOP").step(1, "wait", (2.0, if fails { 9.0 } else { 2.5 }), fails);
        // What a timer repeats goes on while the step waits in vain.
        for tick in 0..16 {
            let at = 1.1 + f64::from(tick) / 2.0;
            if fails || at < 2.5 {
                story.event(at, "a", "TIMER");
            }
        }
        if fails {
            story.event(9.5, "a", "SHUTDOWN");
        } else {
            story.event(2.4, "b", "RESUME").step(2, "more", (2.6, 3.0), false).command(2.7, "a", "quit");
        }
        story.tell(&mut rounds, number, if fails { failed() } else { passed() });
    }
    assert_eq!(rounds.findings()[0].findings, []);
    // The report of an unexpected exit or event is the failure itself, too.
    let mut rounds = Rounds::default();
    for number in 0..40 {
        let fails = number % 2 == 0;
        let mut story = Story::default();
        story.event(1.0, "b", "STOP").step(1, "wait", (2.0, 2.5), fails);
        if fails {
            story.event(2.49, "b", "MIGRATION=failed");
        }
        let mut end = end(Verdict::Fail);
        end.cause.as_mut().unwrap().kind = CauseKind::Migration;
        let end = What::CaseEnded(Box::new(end));
        story.tell(&mut rounds, number, if fails { end } else { passed() });
    }
    assert_eq!(rounds.findings()[0].findings, []);
}

#[test]
fn what_came_or_did_not_come_and_how_long_it_took_are_findings() {
    let finding = |change: &dyn Fn(&mut Story, bool, f64)| {
        let mut random = Random::new("lengths", 2);
        let mut rounds = Rounds::default();
        for number in 0..40 {
            let fails = number % 4 == 0;
            let mut story = Story::default();
            story.event(1.0, "a", "STOP").step(1, "check", (5.0, 5.5), fails);
            change(&mut story, fails, chance(&mut random));
            story.tell(&mut rounds, number, if fails { failed() } else { passed() });
        }
        rounds.findings()[0].findings.first().map(ToString::to_string).unwrap_or_default()
    };
    let lead = "in 10 of 10 failing and 0 of 30 passing rounds, ";
    let more = finding(&|story, fails, _| {
        if fails {
            story.event(2.0, "b", "BLOCK_IO_ERROR");
        }
    });
    assert_eq!(more, format!("{lead}BLOCK_IO_ERROR of `b` came"));
    let missing = finding(&|story, fails, _| {
        if !fails {
            story.event(2.0, "b", "RESUME");
        }
    });
    assert_eq!(missing, format!("{lead}RESUME of `b` did not come"));
    let longer = finding(&|story, fails, by| {
        story.event(if fails { 3.0 } else { 1.5 } + by / 2.0, "a", "RESUME");
    });
    assert!(longer.starts_with(&format!("{lead}RESUME of `a` came 2.")), "{longer}");
    assert!(longer.contains(" after STOP of `a`, in passing rounds at most "), "{longer}");
}

#[test]
fn an_attempt_is_a_round_and_an_excused_one_failed() {
    let mut rounds = Rounds::default();
    let struck = || CaseEnd { struck: Some("a race".into()), ..end(Verdict::Xfail) };
    let again = |again| What::AttemptEnded { attempt: 1, again, end: Box::new(struck()) };
    rounds.take(&sample::started(0, "race", "a.yaml"));
    // A port that was taken says nothing; the excused attempt failed; the last one passed.
    rounds.take(&sample::at(1.0, Some(0), again(Again::PortTaken)));
    rounds.take(&sample::at(2.0, Some(0), again(Again::KnownIssue)));
    rounds.take(&sample::at(3.0, Some(0), What::CaseEnded(Box::new(struck()))));
    // One that ends with a known issue failed; a skipped one is not a round.
    rounds.take(&sample::started(1, "race", "a.yaml"));
    rounds.take(&sample::at(4.0, Some(1), What::CaseEnded(Box::new(end(Verdict::Xfail)))));
    rounds.take(&sample::started(2, "race", "a.yaml"));
    rounds.take(&sample::skipped(2, "no KVM"));
    let found = &rounds.findings()[0];
    assert_eq!((found.failing, found.passing, found.findings.len()), (2, 1, 0));
    let text = rounds.contrast("race", None).unwrap().render(false);
    assert!(text.contains("\nattempt 3 (passed) and attempt 2 (failed), in ms from the start\n"), "{text}");
}

#[test]
fn rounds_with_one_verdict_are_shown_as_they_are() {
    let mut rounds = Rounds::default();
    let error = |rounds: &Rounds, align| rounds.contrast("race", align).unwrap_err().to_string();
    assert_eq!(error(&rounds, None), "no round of `race` ran to its end");
    let mut random = Random::new("same", 3);
    noise(&mut random, false).tell(&mut rounds, 0, passed());
    assert!(
        error(&rounds, None)
            .starts_with("only one round of `race` ran to its end, and a comparison needs two")
    );
    rounds.next_run();
    noise(&mut random, false).event(1.7, "a", "STOP").tell(&mut rounds, 0, passed());
    let message = error(&rounds, Some(Align::Yank));
    assert_eq!(
        message,
        "no round of `race` can be aligned at the yank; the marks are: the failover, the start"
    );
    let text = rounds.contrast("race", Some(Align::Start)).unwrap().render(true);
    let head = "## race: 0 failing and 2 passing rounds, aligned at the start\n\nno round failed: two that passed are shown\n";
    assert!(text.starts_with(head), "{text}");
    assert!(
        text.contains("\n## A, round 1 (passed) and B, round 1 (passed), in ms from the start\n```\n"),
        "{text}"
    );
    assert!(text.contains("\n+                1702.0  STOP of `a`\n") && text.ends_with("```\n"), "{text}");
    assert_eq!(rounds.findings(), []);
}

#[test]
fn long_and_many_rounds_need_little_memory() {
    let mut rounds = Rounds::default();
    for number in 0..KEPT + 20 {
        let mut story = Story::default();
        if number == 0 {
            (0..20_000).for_each(|at| _ = story.event(f64::from(at) / 1e3, "a", "TIMER"));
        }
        story.tell(&mut rounds, number, passed());
    }
    assert!(rounds.marks <= 2_000, "{}", rounds.marks);
    let contrast = rounds.contrast("race", None).unwrap();
    assert_eq!((contrast.passing, contrast.left_out), (KEPT, 20));
}

#[test]
fn events_are_on_qemus_clock_and_a_checkpoint_is_named() {
    let mut rounds = Rounds::default();
    let mut story = Story::default();
    story.event(1.0, "a", "MIGRATION=colo").event(1.5, "a", "STOP").event(1.7, "a", "RESUME");
    // Sent before the runner saw the event that QEMU had emitted.
    story.command(1.001, "a", "stop").command(1.0015, "a", "query-status");
    story.put(1.8, What::QmpEvent { vm: "a".into(), message: json!({"event": "RESET"}) });
    story.tell(&mut rounds, 0, passed());
    let round = &rounds.cases["race"].rounds[0];
    let seen: Vec<(f64, &str)> =
        round.marks.iter().map(|mark| ((mark.at * 1e3).round(), rounds.names.get(mark.name).0)).collect();
    let expected = [
        (1001.0, "`stop` to `a`"),
        (1002.0, "MIGRATION colo of `a`"),
        (1502.0, "STOP of `a`"),
        (1702.0, "RESUME of `a` (a checkpoint is complete)"),
        (1800.0, "RESET of `a`"),
    ];
    assert_eq!(seen, expected);
}
