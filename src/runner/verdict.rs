//! Determines the verdict, including negative controls and known issues.

use regex::Regex;

use crate::cause::{Cause, CauseKind};
use crate::event::Verdict;
use crate::scenario::model::{Case, KnownIssue, MustFail};
use crate::session::Failure;
use crate::units::OneOrMany;

/// The result of judging one attempt.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    /// The verdict's reason; none for a plain pass.
    pub reason: Option<String>,
    /// The cause of the failure, if there was one.
    pub cause: Option<Cause>,
    /// The reason of the intermittent known issue (`at_most`) that occurred.
    pub struck: Option<String>,
    /// Whether to run the case again before this counts.
    pub again: bool,
}

impl Judgement {
    fn of(verdict: Verdict, reason: impl Into<Option<String>>) -> Self {
        Self { verdict, reason: reason.into(), cause: None, struck: None, again: false }
    }

    /// The verdict on a failure, with the failure as its reason.
    fn on(verdict: Verdict, failure: &Failure) -> Self {
        Self { cause: Some(failure.record()), ..Self::of(verdict, failure.to_string()) }
    }
}

/// The earlier attempts at the case.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    /// Whether one was excused by a known issue.
    pub excused: bool,
    /// How many passed although a known issue was expected to occur.
    pub passed: usize,
}

/// Judges an attempt at a case; `names` are those of the step that failed.
#[must_use]
pub(super) fn judge(
    outcome: &Result<(), Failure>,
    names: &[String],
    case: &Case,
    before: Before,
) -> Judgement {
    if let Some(control) = &case.must_fail {
        return control_verdict(outcome, control);
    }
    let Err(failure) = outcome else {
        return passed(&case.known_issues, before);
    };
    let plain = if failure.is_error() { Verdict::Error } else { Verdict::Fail };
    let covers = |issue: &&KnownIssue| {
        issue.covers(&failure.to_string(), names) && is_one_of(failure.kind(), issue.cause.as_ref())
    };
    let Some(issue) = case.known_issues.iter().find(covers) else {
        return Judgement::on(plain, failure);
    };
    let cause = Some(failure.record());
    if issue.at_most.is_none() {
        return Judgement { cause, ..Judgement::of(Verdict::Xfail, issue.reason.clone()) };
    }
    let struck = Some(issue.reason.clone());
    if before.excused {
        let note = format!(
            "a known issue is excused once per case, and an earlier attempt was excused: {}",
            issue.reason
        );
        return Judgement { struck, ..Judgement::on(plain, &failure.clone().noted(&note)) };
    }
    Judgement { verdict: Verdict::Xfail, reason: struck.clone(), cause, struck, again: true }
}

/// Whether a cause is of one of these kinds; without a list, of any.
fn is_one_of(kind: CauseKind, kinds: Option<&OneOrMany<CauseKind>>) -> bool {
    kinds.is_none_or(|kinds| kinds.iter().any(|one| *one == kind))
}

fn control_verdict(outcome: &Result<(), Failure>, control: &MustFail) -> Judgement {
    let pattern = &control.pattern;
    let Err(failure) = outcome else {
        let reason = format!("expected a failure matching /{pattern}/, but the case passed");
        return Judgement::of(Verdict::Fail, reason);
    };
    let kind = failure.kind();
    let is_match = Regex::new(pattern).is_ok_and(|expression| expression.is_match(&failure.to_string()));
    let failure = failure.clone();
    match &control.cause {
        _ if !is_match => {
            let lead = format!("expected a failure matching /{pattern}/, got: ");
            Judgement::on(Verdict::Fail, &failure.led_by(&lead))
        }
        Some(kinds) if !is_one_of(kind, Some(kinds)) => {
            let kinds = kinds.iter().map(CauseKind::to_string).collect::<Vec<_>>().join(" or ");
            let lead = format!("expected a failure with the cause {kinds}, got {kind}: ");
            Judgement::on(Verdict::Fail, &failure.led_by(&lead))
        }
        _ => Judgement::on(Verdict::Pass, &failure.led_by("failed as expected: ")),
    }
}

/// A pass counts against an issue that should have occurred by now.
fn passed(issues: &[KnownIssue], before: Before) -> Judgement {
    let sure = issues.iter().filter_map(|issue| Some((issue, issue.shows_within()?)));
    let Some((issue, within)) = sure.min_by_key(|(_, within)| *within) else {
        return Judgement::of(Verdict::Pass, None);
    };
    if before.passed + 1 < within {
        let reason = format!("the known issue did not occur: {}", issue.reason);
        return Judgement { again: true, ..Judgement::of(Verdict::Pass, reason) };
    }
    let times = if within > 1 { format!(" in {within} attempts") } else { String::new() };
    let reason = format!(
        "the known issue did not occur{times} ({}); if it is fixed, remove the `known_issue`",
        issue.reason
    );
    Judgement::of(Verdict::Fail, reason)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
