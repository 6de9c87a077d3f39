//! Tests of the comparison of two runs.

use super::*;
use crate::event::{CaseEnd, Race};
use crate::report::sample;
use crate::units::Share;

/// A run of cases, each with its verdict, its reason and one value of `failover`.
fn run(name: &str, cases: &[(&str, Verdict, &str, f64)]) -> Run {
    let mut events = vec![sample::run_started(cases.len())];
    for (number, (case, verdict, reason, value)) in cases.iter().enumerate() {
        events.push(sample::started(number, case, "a.yaml"));
        events.push(sample::metric(number, "failover", *value));
        events.push(sample::ended(
            number,
            *verdict,
            Some(reason).filter(|reason| !reason.is_empty()).copied(),
            1.0,
        ));
    }
    events.push(sample::run_ended(1.0, false));
    Run::new(name, events)
}

#[test]
fn changes_are_described_in_words() {
    let old = run(
        "old",
        &[
            ("a", Verdict::Skip, "needs QEMU >=11.0, this is 10.0.2", 0.02),
            ("b", Verdict::Pass, "", 0.02),
            ("c", Verdict::Pass, "", 0.02),
            ("gone", Verdict::Pass, "", 0.02),
        ],
    );
    let new = run(
        "new",
        &[
            ("a", Verdict::Pass, "", 0.02),
            ("b", Verdict::Fail, "no tick", 0.02),
            ("c", Verdict::Pass, "", 0.08),
            ("came", Verdict::Pass, "", 0.02),
        ],
    );
    let comparison = compare(&old, &new);
    let shown = comparison.render(false);
    let (_, shown) = shown.split_once("\n\n").unwrap();
    assert_eq!(
        shown,
        "1 case passed and now fails\n  b: no tick\n\n\
         1 case was skipped and now passes\n  a: before: needs QEMU >=11.0, this is 10.0.2\n\n\
         1 case only in A\n  gone\n\n1 case only in B\n  came\n\n\
         Metrics that changed by more than their spread\n  c: failover (primary) 20 ms → 80 ms (×4.00)\n\n\
         1 case is unchanged\n"
    );
    assert!(comparison.is_worse());
    assert!(comparison.render(true).contains("\n## 1 case passed and now fails\n- `b`: no tick\n"));
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(
        (json["changed"][1]["to"]["verdict"].as_str(), json["same"].as_u64()),
        (Some("fail"), Some(1))
    );
}

#[test]
fn a_reason_shared_by_several_cases_is_shown_once() {
    let all = |verdict, reason: &'static str| ["a", "b"].map(|name| (name, verdict, reason, 0.1));
    let shown = compare(&run("old", &all(Verdict::Skip, "no KVM")), &run("new", &all(Verdict::Pass, "")))
        .render(false);
    assert!(shown.contains("\n2 cases were skipped and now pass: before: no KVM\n  a\n  b\n"), "{shown}");
}

#[test]
fn equal_runs_have_no_changes() {
    let one = run("one", &[("a", Verdict::Pass, "", 0.1), ("b", Verdict::Fail, "no", 0.1)]);
    let comparison = compare(&one, &one.clone());
    assert!(!comparison.is_worse() && comparison.changed.is_empty() && comparison.moved.is_empty());
    assert!(comparison.render(false).ends_with("\n2 cases are unchanged\n"));
}

#[test]
fn a_metric_has_only_changed_if_it_is_outside_its_spread() {
    let rounds = |values: &[f64]| -> Vec<(&str, Verdict, &str, f64)> {
        values.iter().map(|value| ("a", Verdict::Pass, "", *value)).collect()
    };
    let old = run("old", &rounds(&[0.1, 0.2, 0.4]));
    let moved = |values: &[f64]| compare(&old, &run("new", &rounds(values))).moved.len();
    assert_eq!(moved(&[0.3, 0.35, 0.5]), 0, "its median was seen before");
    assert_eq!(moved(&[0.5, 0.6, 0.7]), 1);
    assert_eq!(moved(&[0.15, 0.6, 0.7]), 0, "the old median is seen still");
}

#[test]
fn a_repeated_case_has_only_changed_beyond_chance() {
    let rounds = |failed: usize| -> Vec<(&str, Verdict, &str, f64)> {
        (0..20).map(|n| ("a", if n < failed { Verdict::Fail } else { Verdict::Pass }, "no", 0.1)).collect()
    };
    let changed =
        |from: usize, to: usize| compare(&run("a", &rounds(from)), &run("b", &rounds(to))).changed.len();
    assert_eq!(changed(1, 3), 0);
    assert_eq!(changed(0, 12), 1);
}

#[test]
fn a_race_that_occurs_too_often_in_the_newer_run_makes_it_worse() {
    let rounds = |struck: usize| {
        let mut events = vec![sample::run_started(20)];
        for number in 0..20 {
            let mut began = sample::started(number, "a", "a.yaml");
            if let What::CaseStarted { races, .. } = &mut began.what {
                races.push(Race { reason: "torn".into(), at_most: Share::percent(5) });
            }
            let is_struck = number < struck;
            let mut end = CaseEnd::new(if is_struck { Verdict::Xfail } else { Verdict::Pass }, None, 1.0);
            end.struck = is_struck.then(|| "torn".to_owned());
            events.extend([began, sample::at(1.0, Some(number), What::CaseEnded(Box::new(end)))]);
        }
        events.push(sample::run_ended(1.0, false));
        Run::new("run", events)
    };
    assert!(!compare(&rounds(0), &rounds(4)).is_worse());
    let comparison = compare(&rounds(4), &rounds(5));
    assert!(comparison.is_worse() && comparison.changed.is_empty());
    let shown = "\nB: a known issue occurs too often: in 5 of 20 runs, expected at most 5% (torn)\n";
    assert!(comparison.render(false).contains(shown), "{}", comparison.render(false));
    assert!(!compare(&rounds(5), &rounds(4)).is_worse());
}

#[test]
fn a_metric_that_changes_in_most_cases_is_shown_once() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let all = |value: f64| names.map(|name| (name, Verdict::Pass, "", value));
    let comparison = compare(&run("old", &all(0.1)), &run("new", &all(0.13)));
    assert!(comparison.moved.is_empty(), "one value has no spread");
    assert!(
        comparison.render(false).contains("\nOverall\n  failover is longer in 6 of 6, ×1.30 at the median\n")
    );
}
