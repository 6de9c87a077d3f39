//! From what happened to a verdict: negative controls and known issues.

use regex::Regex;

use crate::event::Verdict;
use crate::scenario::model::{KnownIssue, MustFail};
use crate::session::Failure;
use crate::session::failure::Kind;

/// The verdict and, but for a plain pass, its reason.
#[must_use]
pub fn verdict(
    outcome: &Result<(), Failure>,
    must_fail: Option<&MustFail>,
    known_issues: &[KnownIssue],
) -> (Verdict, Option<String>) {
    let matches = |pattern: &str, failure: &Failure| {
        Regex::new(pattern).is_ok_and(|expression| expression.is_match(&failure.message))
    };
    if let Some(MustFail { pattern }) = must_fail {
        return match outcome {
            Err(failure) if matches(pattern, failure) => {
                (Verdict::Pass, Some(format!("failed as it must: {failure}")))
            }
            Err(failure) => {
                let reason = format!("it must fail with /{pattern}/, and failed otherwise: {failure}");
                (Verdict::Fail, Some(reason))
            }
            Ok(()) => (Verdict::Fail, Some(format!("it must fail with /{pattern}/, and nothing failed"))),
        };
    }
    match outcome {
        Ok(()) => match known_issues.iter().find(|issue| !issue.sometimes) {
            None => (Verdict::Pass, None),
            Some(issue) => {
                let reason =
                    format!("the known issue did not show ({}); if it is mended, take it out", issue.reason);
                (Verdict::Fail, Some(reason))
            }
        },
        Err(failure) => match known_issues.iter().find(|issue| matches(&issue.pattern, failure)) {
            Some(issue) => (Verdict::Xfail, Some(issue.reason.clone())),
            None if failure.kind == Kind::Error => (Verdict::Error, Some(failure.message.clone())),
            None => (Verdict::Fail, Some(failure.message.clone())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str) -> Result<(), Failure> {
        Err(Failure::failed(message))
    }

    fn issue(pattern: &str) -> [KnownIssue; 1] {
        [KnownIssue { when: None, reason: "gitlab 1".into(), pattern: pattern.into(), sometimes: false }]
    }

    #[test]
    fn a_negative_control_passes_only_by_failing_for_its_own_reason() {
        let control = MustFail { pattern: "page \\d+".into() };
        let verdict = |outcome| verdict(&outcome, Some(&control), &[]).0;
        assert_eq!(verdict(failed("page 7 is wrong")), Verdict::Pass);
        assert_eq!(verdict(failed("the deadline")), Verdict::Fail);
        assert_eq!(verdict(Ok(())), Verdict::Fail);
    }

    #[test]
    fn a_known_issue_excuses_its_own_failure_and_nothing_else() {
        let verdict = |outcome| verdict(&outcome, None, &issue("deadlock")).0;
        assert_eq!(verdict(failed("a deadlock")), Verdict::Xfail);
        assert_eq!(verdict(failed("something else")), Verdict::Fail);
        assert_eq!(verdict(Ok(())), Verdict::Fail);
    }

    #[test]
    fn a_known_issue_that_shows_only_sometimes_lets_the_case_pass_and_excuses_nothing_else() {
        let [race] = issue("torn").map(|issue| KnownIssue { sometimes: true, ..issue });
        let verdict = |outcome| verdict(&outcome, None, std::slice::from_ref(&race));
        assert_eq!(verdict(Ok(())), (Verdict::Pass, None));
        assert_eq!(verdict(failed("torn memory")), (Verdict::Xfail, Some("gitlab 1".into())));
        assert_eq!(verdict(failed("stale memory")).0, Verdict::Fail);
        assert_eq!(verdict(Err(Failure::error("no such program"))).0, Verdict::Error);
    }

    #[test]
    fn a_pass_is_held_against_every_known_issue_that_shows_always() {
        let [always] = issue("deadlock");
        let race = KnownIssue { sometimes: true, ..always.clone() };
        assert_eq!(verdict(&Ok(()), None, &[race, always]).0, Verdict::Fail);
    }

    #[test]
    fn trouble_with_the_test_itself_is_an_error() {
        assert_eq!(verdict(&Err(Failure::error("no such program")), None, &[]).0, Verdict::Error);
        assert_eq!(verdict(&failed("no"), None, &[]).0, Verdict::Fail);
        assert_eq!(verdict(&Ok(()), None, &[]), (Verdict::Pass, None));
    }
}
