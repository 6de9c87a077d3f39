//! A case as a test case.

use std::path::Path;

use junit_report::{Duration, TestCase, TestResult};
use serde_json::Value;

use super::attachments;
use super::extra::{Attempt, Extra, Properties};
use crate::event::{Again, CaseEnd, Verdict};
use crate::report::github::parts;
use crate::report::record::{Case, Kept};
use crate::report::{log, text};
use crate::repository::{Repository, normal};

/// An attempt that did not count: why the case ran again, and the log.
pub(super) type Try = (Again, String);

/// How cases are written.
pub(super) struct Form<'f> {
    pub repository: &'f Repository,
    /// The maximum size of a text.
    pub limit: usize,
}

/// A failed attempt.
struct Failed<'c> {
    number: usize,
    end: &'c CaseEnd,
    seconds: f64,
    log: &'c str,
}

impl Failed<'_> {
    fn text(&self) -> String {
        format!("attempt {}: {}\n{}", self.number, text::seconds(self.seconds), self.log)
    }
}

impl Form<'_> {
    /// The test case, and what must be added to it. `tries` are the logs of the earlier attempts.
    pub(super) fn write(&self, case: &Case, tries: &Kept<Try>) -> (TestCase, Extra) {
        let verdict = case.verdict();
        let last = log::of_attempt(case);
        let mut failed = failed(case, tries, &last);
        let main = failed.iter().position(|attempt| attempt.end.verdict == verdict);
        // As in Surefire's reports, the result is the first failure, and the others are reruns.
        let main = main.filter(|_| verdict.is_bad()).map(|at| failed.remove(at));
        let seconds = case.end.as_ref().map_or(0.0, |end| end.seconds);
        let mut test = TestCase::success(&text::one_line(&case.title()), duration(seconds));
        test.result = self.result(verdict, main.as_ref().map(|attempt| attempt.end).or(case.end.as_ref()));
        test.set_classname(&class_name(&case.file, self.repository));
        let file = self.repository.inside(Path::new(&case.file)).filter(|file| *file != Path::new(""));
        if let Some(file) = &file {
            test.set_filepath(&text::one_line(&file.to_string_lossy()));
        }
        let mut output = log::of(case);
        // The log has the steps of the last attempt.
        let earlier = case.attempts.iter().count();
        if let Some(main) = main.as_ref().filter(|attempt| attempt.number <= earlier) {
            output += &main.text();
        }
        let ends = main.iter().map(|attempt| attempt.end).chain(&case.end).chain(case.attempts.iter());
        let mut folders: Vec<&Path> = Vec::new();
        for folder in ends.filter_map(|end| end.artifacts.as_deref()) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        // Before the rest: servers cut long texts.
        let attached = attachments::lines(folders, self.repository);
        let output = attached + &text::cdata_of(&attachments::disarmed(&output), self.limit);
        if !output.is_empty() {
            test.set_system_out(&output);
        }
        let attempts = failed.iter().filter_map(|attempt| self.attempt(verdict, attempt)).collect();
        let line = file.and_then(|_| line(case, self.repository));
        (test, Extra { properties: properties(case), line, attempts })
    }

    fn result(&self, verdict: Verdict, end: Option<&CaseEnd>) -> TestResult {
        let reason = end.and_then(|end| end.reason.as_deref()).map(text::one_line).unwrap_or_default();
        let cause = end.map(|end| text::cdata_of(&cause(end), self.limit)).filter(|cause| !cause.is_empty());
        let type_ = end.map_or_else(|| verdict.to_string(), |end| kind(verdict, end));
        let led = |lead: &str| match reason.as_str() {
            "" => lead.to_owned(),
            reason => format!("{lead}: {reason}"),
        };
        match verdict {
            // The failed attempts of a flaky case are elements of their own.
            Verdict::Pass | Verdict::Flaky => TestResult::Success,
            Verdict::Fail => TestResult::Failure { type_, message: reason, cause },
            Verdict::Error => TestResult::Error { type_, message: reason, cause },
            Verdict::Skip => TestResult::SkippedWithCause { type_, message: led("skipped"), cause },
            Verdict::Xfail => TestResult::SkippedWithCause { type_, message: led("known issue"), cause },
        }
    }

    /// A failed attempt, besides the one that is the result, at a case with this verdict.
    fn attempt(&self, verdict: Verdict, attempt: &Failed<'_>) -> Option<Attempt> {
        let end = attempt.end;
        let element = match (verdict, end.verdict) {
            (Verdict::Flaky, Verdict::Fail) => "flakyFailure",
            (Verdict::Flaky, _) => "flakyError",
            (Verdict::Fail | Verdict::Error, Verdict::Fail) => "rerunFailure",
            (Verdict::Fail | Verdict::Error, _) => "rerunError",
            (Verdict::Pass | Verdict::Skip | Verdict::Xfail, _) => return None,
        };
        Some(Attempt {
            element,
            type_: kind(end.verdict, end),
            message: end.reason.as_deref().map(text::one_line).unwrap_or_default(),
            trace: text::cdata_of(&cause(end), self.limit),
            output: text::cdata_of(&attachments::disarmed(&attempt.text()), self.limit),
        })
    }
}

/// The attempts that count and did not pass, in their order; `last` is the log of the last one.
fn failed<'c>(case: &'c Case, tries: &'c Kept<Try>, last: &'c str) -> Vec<Failed<'c>> {
    let earlier = case.attempts.iter().zip(tries.iter()).enumerate();
    let mut failed: Vec<Failed<'_>> = earlier
        .filter(|(_, (end, (again, _)))| end.verdict.is_bad() && *again == Again::Retry)
        .map(|(at, (end, (_, log)))| Failed { number: at + 1, end, seconds: end.seconds, log })
        .collect();
    if let Some(end) = case.end.as_ref().filter(|end| end.verdict.is_bad()) {
        // The end has the time of all attempts.
        let before: f64 = case.attempts.iter().map(|end| end.seconds).sum();
        let number = case.attempts.iter().count() + 1;
        failed.push(Failed { number, end, seconds: (end.seconds - before).max(0.0), log: last });
    }
    failed
}

/// The kind of the cause; the verdict if there is none, or if the case did not fail.
fn kind(verdict: Verdict, end: &CaseEnd) -> String {
    let cause = end.cause.as_ref().filter(|_| verdict.is_bad());
    cause.map_or_else(|| verdict.to_string(), |cause| cause.kind.to_string())
}

/// The body of a `failure`, `error` or `skipped`: the place, the whole reason, the evidence.
fn cause(end: &CaseEnd) -> String {
    [&end.place, &end.reason, &end.evidence]
        .into_iter()
        .flatten()
        .map(|part| part.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The line of the failed step if it is in the case's file, else that of the case's name.
fn line(case: &Case, repository: &Repository) -> Option<usize> {
    let place = case.end.as_ref().and_then(|end| end.place.as_deref());
    let failed = place
        .and_then(parts)
        .filter(|(file, ..)| repository.inside(Path::new(file)) == repository.inside(Path::new(&case.file)));
    failed.map(|(_, line, _)| line).or(case.line)
}

/// The QEMUs, the axes and the metrics of a case.
fn properties(case: &Case) -> Properties {
    let mut found = Vec::new();
    let mut add = |name: String, value: &str| found.push((text::one_line(&name), text::one_line(value)));
    if let Some(qemu) = &case.qemu {
        add("qemu".to_owned(), qemu);
    }
    if let Some(round) = case.round {
        add("round".to_owned(), &round.to_string());
    }
    if let Some(host) = &case.host {
        add("host".to_owned(), host);
    }
    for (vm, version) in case.vms.iter() {
        add(format!("vm.{vm}.qemu"), version.as_deref().unwrap_or("unknown"));
    }
    for axis in &case.axes {
        let value = case.params.get(axis).unwrap_or(&Value::Null);
        add(format!("axis.{axis}"), &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    for metric in case.metrics.iter().filter(|metric| metric.value.is_finite()) {
        let whose = metric.vm.as_ref().map(|vm| format!("{vm}.")).unwrap_or_default();
        let value = format!("{} {}", metric.value, metric.unit);
        add(format!("metric.{whose}{}", metric.name), &value);
    }
    found
}

/// The file's path in the repository as a class name. CI servers split it at its dots into package and class, so the
/// parts have none, and the extension is omitted.
pub(super) fn class_name(file: &str, repository: &Repository) -> String {
    let path = repository.inside(Path::new(file)).unwrap_or_else(|| normal(Path::new(file)));
    let path = path.with_extension("");
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().replace('.', "_")),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        [] => "lockstep".to_owned(),
        parts => text::one_line(&parts.join(".")),
    }
}

/// Seconds rounded to milliseconds; avoids 16 digits of floating-point noise.
#[expect(clippy::cast_possible_truncation, reason = "what is too big is cut to a size that still adds up")]
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::milliseconds(((seconds * 1000.0).round() as i64).clamp(0, 1 << 50))
}
