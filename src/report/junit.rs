//! `reports/junit.xml`, for CI servers.
//!
//! One suite per scenario file, one test case per case. The file is written completely and moved into place when the
//! stream ends, so that a CI server never reads half of it.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration as StdDuration, UNIX_EPOCH};

use anyhow::Context as _;
use junit_report::{Duration, OffsetDateTime, Report, TestCase, TestResult, TestSuite};

use crate::event::{CaseEnd, Event, Subscriber, Verdict};
use crate::report::races::Races;
use crate::report::record::Case;
use crate::report::{Fold, log, text};

/// The JUnit report of a run.
#[derive(Debug)]
pub struct Junit {
    path: PathBuf,
    fold: Fold,
    done: Vec<Done>,
    races: Races,
    /// The size of the texts so far, in bytes.
    held: usize,
}

/// Beyond this size, the texts of further cases are cut to [`REDUCED_LIMIT`]: CI servers refuse files of about 30 MB.
/// The artifacts have the full texts.
const FULL_TEXT_BUDGET: usize = 12 << 20;
const REDUCED_LIMIT: usize = 2 << 10;

/// A finished case as it will be written.
#[derive(Debug)]
struct Done {
    number: usize,
    file: String,
    began: f64,
    test: TestCase,
}

impl Junit {
    /// A report to be written to `path` when the stream ends; creates its directory if missing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fold: Fold::default(), done: Vec::new(), races: Races::default(), held: 0 }
    }

    fn add(&mut self, case: &Case) {
        self.races.add(case);
        let limit = if self.held > FULL_TEXT_BUDGET { REDUCED_LIMIT } else { text::LIMIT };
        let test = test_case(case, self.fold.flaky_passes(), limit);
        self.held += weight(&test);
        self.done.push(Done { number: case.number, file: case.file.clone(), began: case.began, test });
    }

    fn report(&mut self) -> Report {
        // Parallel cases end in any order; keep the report deterministic.
        self.done.sort_by_key(|done| done.number);
        let began = self.fold.time().and_then(|time| humantime::parse_rfc3339(time).ok());
        let began = began.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let trouble = self.fold.trouble();
        let suite = |file: &str, after: f64| {
            let name = if file.is_empty() { "lockstep" } else { file };
            let mut suite = TestSuite::new(&text::one_line(name));
            // The crate's default is `testsuite/` plus the name, which is meaningless here.
            suite.package = class_name(file);
            suite.set_timestamp(timestamp(began, after));
            if let Some(trouble) = &trouble {
                suite.set_system_err(&text::cdata(trouble));
            }
            suite
        };
        let mut suites: Vec<(String, TestSuite)> = Vec::new();
        for done in &self.done {
            let known = suites.iter_mut().find(|(file, _)| *file == done.file);
            if let Some((_, known)) = known {
                known.add_testcase(done.test.clone());
            } else {
                let mut new = suite(&done.file, done.began);
                new.add_testcase(done.test.clone());
                suites.push((done.file.clone(), new));
            }
        }
        let exceeded = self.races.exceeded();
        if !exceeded.is_empty() {
            // No single case is at fault, but the file must not be green.
            let mut rates = suite("known issues", 0.0);
            for (number, message) in exceeded.into_iter().enumerate() {
                let message = text::one_line(&message);
                let name = format!("rate of a known issue #{}", number + 1);
                let mut test = TestCase::failure(&name, duration(0.0), "fail", &message);
                test.set_classname("known issues");
                rates.add_testcase(test);
            }
            suites.push((String::new(), rates));
        }
        if suites.is_empty() && trouble.is_some() {
            suites.push((String::new(), suite("", 0.0)));
        }
        let mut report = Report::new();
        report.add_testsuites(suites.into_iter().map(|(_, suite)| suite));
        report
    }
}

impl Subscriber for Junit {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Some(case) = self.fold.take(event) {
            self.add(&case);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for case in self.fold.cut_off() {
            self.add(&case);
        }
        let report = self.report();
        write(&self.path, &report).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn test_case(case: &Case, flaky_passes: bool, limit: usize) -> TestCase {
    let name = text::one_line(&case.title());
    let verdict = case.verdict();
    // The other verdicts are only told apart by their type.
    let known = case.end.as_ref().and_then(|end| end.cause.as_ref()).filter(|_| verdict.is_bad());
    let type_ = known.map_or_else(|| verdict.to_string(), |cause| cause.kind.to_string());
    let message = case.reason().map(text::one_line).unwrap_or_default();
    let cause =
        case.end.as_ref().map(|end| text::cdata_of(&cause(end), limit)).filter(|cause| !cause.is_empty());
    let seconds = case.end.as_ref().map_or(0.0, |end| end.seconds);
    let mut test = TestCase::success(&name, duration(seconds));
    test.result = match verdict {
        Verdict::Pass => TestResult::Success,
        // JUnit has no `flaky`; the details are in the system-out.
        Verdict::Flaky if flaky_passes => TestResult::Success,
        Verdict::Fail | Verdict::Flaky => TestResult::Failure { type_, message, cause },
        Verdict::Error => TestResult::Error { type_, message, cause },
        Verdict::Skip | Verdict::Xfail => TestResult::SkippedWithCause { type_, message, cause },
    };
    test.set_classname(&class_name(&case.file));
    if !case.file.is_empty() {
        test.set_filepath(&text::one_line(&case.file));
    }
    let log = log::of(case);
    if !log.is_empty() {
        test.set_system_out(&text::cdata_of(&log, limit));
    }
    test
}

/// The size of a test case's texts, in bytes.
fn weight(test: &TestCase) -> usize {
    let cause = match &test.result {
        TestResult::Success | TestResult::Skipped => 0,
        TestResult::SkippedWithCause { cause, message, .. }
        | TestResult::Error { cause, message, .. }
        | TestResult::Failure { cause, message, .. } => message.len() + cause.as_ref().map_or(0, String::len),
    };
    cause + test.system_out.as_ref().map_or(0, String::len) + test.name.len()
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

/// The file's path as a class name: without its extension, and without dots, which CI servers would split at.
fn class_name(file: &str) -> String {
    let path = Path::new(file).with_extension("");
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().replace('.', "_")),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        [] => "lockstep".to_owned(),
        parts => text::one_line(&parts.join("/")),
    }
}

/// Seconds rounded to milliseconds; avoids 16 digits of floating-point noise.
#[expect(clippy::cast_possible_truncation, reason = "what is too big is cut to a size that still adds up")]
fn duration(seconds: f64) -> Duration {
    Duration::milliseconds(((seconds * 1000.0).round() as i64).clamp(0, 1 << 50))
}

/// The given number of seconds after the start of the run; the crate cannot write years of more than four digits.
fn timestamp(began: Option<StdDuration>, after: f64) -> OffsetDateTime {
    let after = StdDuration::try_from_secs_f64(after).unwrap_or_default();
    let seconds = began.unwrap_or_default().saturating_add(after).as_secs().min(253_402_300_799);
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Writes to a temporary file and moves it into place; an existing file stays if that fails.
fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".junit.")
        .suffix(".xml")
        // Readable by others, subject to the umask: a CI server often runs as another user.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    let mut text = Vec::new();
    report.write_xml(&mut text)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

#[cfg(test)]
#[path = "junit_tests.rs"]
mod tests;
