//! Determines the verdict, including negative controls and known issues.

use regex::Regex;

use crate::event::Verdict;
use crate::scenario::model::{Case, KnownIssue, MustFail};
use crate::session::Failure;
use crate::session::failure::Kind;

/// The result of judging one attempt.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    /// The verdict's reason; none for a plain pass.
    pub reason: Option<String>,
    /// The reason of the intermittent known issue (`at_most`) that occurred.
    pub struck: Option<String>,
    /// Whether to run the case again before this counts.
    pub again: bool,
}

impl Judgement {
    fn of(verdict: Verdict, reason: impl Into<Option<String>>) -> Self {
        Self { verdict, reason: reason.into(), struck: None, again: false }
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
    let plain = if failure.kind == Kind::Error { Verdict::Error } else { Verdict::Fail };
    let Some(issue) = case.known_issues.iter().find(|issue| issue.covers(&failure.message, names)) else {
        return Judgement::of(plain, failure.message.clone());
    };
    if issue.at_most.is_none() {
        return Judgement::of(Verdict::Xfail, issue.reason.clone());
    }
    let struck = Some(issue.reason.clone());
    if before.excused {
        let reason = format!(
            "{failure} (a known issue is excused once per case, and an earlier attempt was excused: {})",
            issue.reason
        );
        return Judgement { verdict: plain, reason: Some(reason), struck, again: false };
    }
    Judgement { verdict: Verdict::Xfail, reason: struck.clone(), struck, again: true }
}

fn control_verdict(outcome: &Result<(), Failure>, MustFail { pattern, .. }: &MustFail) -> Judgement {
    let matches =
        |failure: &Failure| Regex::new(pattern).is_ok_and(|expression| expression.is_match(&failure.message));
    match outcome {
        Err(failure) if matches(failure) => {
            Judgement::of(Verdict::Pass, format!("failed as expected: {failure}"))
        }
        Err(failure) => {
            Judgement::of(Verdict::Fail, format!("expected a failure matching /{pattern}/, got: {failure}"))
        }
        Ok(()) => Judgement::of(
            Verdict::Fail,
            format!("expected a failure matching /{pattern}/, but the case passed"),
        ),
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
