//! Tests of what is made of an attempt at a case.

use super::*;
use crate::scenario::{Options, load};
use crate::template::NoVersions;

/// A case with a section of its own.
fn case(section: &str) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, format!("{section}\nvms: {{a: }}\nsteps:\n- name: looked at\n  quit: a\n"))
        .unwrap();
    let mut loaded = load(&[path], &Options::default(), &NoVersions);
    assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
    loaded.cases.remove(0)
}

fn failed(message: &str) -> Result<(), Failure> {
    Err(Failure::failed(message))
}

const FIRST: Before = Before { excused: false, passed: 0 };

#[test]
fn a_negative_control_passes_only_by_failing_for_its_own_reason() {
    let control =
        case("must_fail: {match: 'page \\d+'}\nknown_issue: {reason: r, match: deadline, at_most: 5%}");
    let verdict = |outcome| judge(&outcome, &[], &control, FIRST).verdict;
    assert_eq!(verdict(failed("page 7 is wrong")), Verdict::Pass);
    assert_eq!(verdict(failed("the deadline")), Verdict::Fail);
    assert_eq!(verdict(Ok(())), Verdict::Fail);
}

#[test]
fn a_known_issue_excuses_its_own_failure_and_nothing_else() {
    let case = case("known_issue: {reason: gitlab 1, match: deadlock}");
    let judged = |outcome| judge(&outcome, &[], &case, FIRST);
    let excused = judged(failed("a deadlock"));
    assert_eq!((excused.verdict, excused.again), (Verdict::Xfail, false));
    assert_eq!(excused.reason.as_deref(), Some("gitlab 1"));
    assert_eq!(judged(failed("something else")).verdict, Verdict::Fail);
    assert_eq!(judged(Ok(())).verdict, Verdict::Fail);
}

#[test]
fn a_race_is_excused_once_and_the_case_is_run_again() {
    let case = case("known_issue: {reason: gitlab 1, match: torn, at_most: 5%}");
    let judged = |outcome, before| judge(&outcome, &[], &case, before);
    assert_eq!(judged(Ok(()), FIRST), Judgement::of(Verdict::Pass, None));
    let excused = judged(failed("torn memory"), FIRST);
    assert_eq!((excused.verdict, excused.again), (Verdict::Xfail, true));
    assert_eq!((excused.reason.as_deref(), excused.struck.as_deref()), (Some("gitlab 1"), Some("gitlab 1")));
    assert_eq!(judged(failed("stale memory"), FIRST).verdict, Verdict::Fail);
    assert_eq!(judged(Err(Failure::error("no such program")), FIRST).verdict, Verdict::Error);

    let again = Before { excused: true, ..FIRST };
    assert_eq!(judged(Ok(()), again), Judgement::of(Verdict::Pass, None));
    let second = judged(failed("torn memory"), again);
    assert_eq!((second.verdict, second.again), (Verdict::Fail, false));
    assert_eq!(second.struck.as_deref(), Some("gitlab 1"));
    let reason = second.reason.unwrap();
    assert!(reason.starts_with("torn memory (a known issue is excused once per case,"), "{reason}");
}

#[test]
fn three_races_over_a_case_are_one_excuse() {
    let case = case(
        "known_issue:\n- {reason: a, match: torn, at_most: 5%}\n- {reason: b, match: stale, at_most: 5%}\n\
         - {reason: c, match: lost, at_most: 5%}",
    );
    let again = Before { excused: true, passed: 0 };
    assert!(judge(&failed("torn"), &[], &case, FIRST).again);
    assert_eq!(judge(&failed("stale"), &[], &case, again).verdict, Verdict::Fail);
}

#[test]
fn an_issue_of_a_step_excuses_no_other_step() {
    let case = case("known_issue: {reason: r, match: torn, step: looked at, at_most: 5%}");
    let verdict = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        judge(&failed("torn"), &names, &case, FIRST).verdict
    };
    assert_eq!(verdict(&["looked at"]), Verdict::Xfail);
    assert_eq!(verdict(&["its own", "looked at"]), Verdict::Xfail);
    assert_eq!(verdict(&["another"]), Verdict::Fail);
    // Found after the last step, say.
    assert_eq!(verdict(&[]), Verdict::Fail);
}

#[test]
fn an_issue_that_strikes_often_is_waited_for_in_so_many_attempts() {
    let case = case("known_issue: {reason: gitlab 1, match: torn, attempts: 3}");
    let judged = |outcome, passed| judge(&outcome, &[], &case, Before { excused: false, passed });
    for passed in [0, 1] {
        let pass = judged(Ok(()), passed);
        assert_eq!((pass.verdict, pass.again), (Verdict::Pass, true));
    }
    let last = judged(Ok(()), 2);
    assert_eq!((last.verdict, last.again), (Verdict::Fail, false));
    assert!(last.reason.unwrap().starts_with("the known issue did not occur in 3 attempts (gitlab 1)"));
    let struck = judged(failed("torn"), 1);
    assert_eq!((struck.verdict, struck.again, struck.struck), (Verdict::Xfail, false, None));
    assert_eq!(judged(failed("another"), 0).verdict, Verdict::Fail);
}

#[test]
fn a_pass_is_held_against_every_known_issue_that_strikes_each_time() {
    let case = case("known_issue: [{reason: r, match: torn, at_most: 5%}, {reason: s, match: deadlock}]");
    assert_eq!(judge(&Ok(()), &[], &case, FIRST).verdict, Verdict::Fail);
}

#[test]
fn trouble_with_the_test_itself_is_an_error() {
    let case = case("");
    assert_eq!(judge(&Err(Failure::error("no such program")), &[], &case, FIRST).verdict, Verdict::Error);
    assert_eq!(judge(&failed("no"), &[], &case, FIRST).verdict, Verdict::Fail);
    assert_eq!(judge(&Ok(()), &[], &case, FIRST), Judgement::of(Verdict::Pass, None));
}

#[test]
fn a_negative_control_can_require_the_cause() {
    let control = case("must_fail: {match: 'page', cause: [corrupt, qmp]}");
    let outcome = |kind| Err(Failure::of_kind(kind, "page 7"));
    let judged = |kind| judge(&outcome(kind), &[], &control, FIRST);
    assert_eq!(judged(CauseKind::Corrupt).verdict, Verdict::Pass);
    assert_eq!(judged(CauseKind::Qmp).verdict, Verdict::Pass);
    let other = judged(CauseKind::Timeout);
    assert_eq!(other.verdict, Verdict::Fail);
    let reason = "expected a failure with the cause corrupt or qmp, got timeout: page 7";
    assert_eq!(other.reason.as_deref(), Some(reason));
    assert_eq!(
        other.cause.map(|cause| (cause.kind, cause.what)),
        Some((CauseKind::Timeout, reason.to_owned()))
    );
    // The pattern must match as well, and a consequence is not the cause.
    let unmatched = Err(Failure::of_kind(CauseKind::Corrupt, "line 7"));
    assert_eq!(judge(&unmatched, &[], &control, FIRST).verdict, Verdict::Fail);
    let consequence = Failure::failed("page 7").then(Failure::of_kind(CauseKind::Corrupt, "page 7"));
    assert_eq!(judge(&Err(consequence), &[], &control, FIRST).verdict, Verdict::Fail);
}

#[test]
fn a_known_issue_excuses_only_its_own_cause() {
    let case = case("known_issue: {reason: r, match: page, cause: corrupt}");
    let judged = |kind| judge(&Err(Failure::of_kind(kind, "page 7")), &[], &case, FIRST);
    let excused = judged(CauseKind::Corrupt);
    assert_eq!(
        (excused.verdict, excused.cause.map(|cause| cause.kind)),
        (Verdict::Xfail, Some(CauseKind::Corrupt))
    );
    assert_eq!(judged(CauseKind::Check).verdict, Verdict::Fail);
    assert_eq!(judged(CauseKind::Runner).verdict, Verdict::Error);
}
