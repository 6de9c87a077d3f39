//! As JUnit XML: a suite for each case, a test case for each trial.

use std::time::Duration;

use anyhow::Context;
use junit_report::{Report, TestCase, TestSuite};

use super::super::outcome::{Audit, Noticed, Outcome};
use crate::report::text::visible;

/// The XML; an unnoticed sabotage is a failure.
///
/// # Errors
/// When it cannot be written.
pub fn junit(audit: &Audit) -> anyhow::Result<String> {
    let mut report = Report::new();
    for case in &audit.cases {
        let mut suite = TestSuite::new(&visible(&format!("audit of {}", case.name)));
        for trial in &case.trials {
            suite.add_testcase(test_case(trial));
        }
        if let Some(why) = &case.refused {
            let mut skipped = TestCase::skipped("audit");
            skipped.set_classname(&visible(&case.name));
            skipped.set_system_out(&visible(why));
            suite.add_testcase(skipped);
        }
        report.add_testsuite(suite);
    }
    let mut xml = Vec::new();
    report.write_xml(&mut xml).context("cannot write the JUnit XML")?;
    String::from_utf8(xml).context("the JUnit XML")
}

fn test_case(trial: &Outcome) -> TestCase {
    let name = visible(&format!("{} of {} {}", trial.sabotage, trial.target, trial.moment)).into_owned();
    let took = Duration::from_secs_f64(trial.after.unwrap_or(0.0));
    let took = took.try_into().unwrap_or_default();
    let mut case = match trial.noticed {
        Noticed::Caught | Noticed::Late => TestCase::success(&name, took),
        Noticed::Unnoticed => {
            let advice = trial.advice().unwrap_or_default();
            TestCase::failure(&name, took, "unnoticed", &visible(&advice))
        }
        Noticed::NotDone => TestCase::skipped(&name),
    };
    case.set_classname(&visible(&trial.case));
    if let Some(by) = &trial.by {
        let message = trial.message.as_deref().unwrap_or_default();
        case.set_system_out(&visible(&format!("{}: {by}: {message}", trial.noticed.name())));
    }
    case
}
