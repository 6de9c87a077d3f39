//! `reports/junit.xml`, for CI servers.
//!
//! One suite per scenario file, one test case per case. The crate `junit-report` writes the common part; `extra.rs` adds
//! to its XML what it cannot write: properties, lines, attempts, totals. The file is written completely and moved into
//! place when the stream ends, so that a CI server never reads half of it.

mod attachments;
mod case;
mod extra;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration as StdDuration, UNIX_EPOCH};

use anyhow::Context as _;
use indexmap::IndexMap;
use junit_report::{OffsetDateTime, Report, TestCase, TestResult, TestSuite};

use self::case::{Form, Try, class_name, duration};
use self::extra::{Attempt, Extra, Extras, Properties, seconds};
use crate::event::{Event, Qemu, Shard, Subscriber, Verdict, What};
use crate::report::races::Races;
use crate::report::record::{Case, Kept};
use crate::report::{Fold, file, log, text};
use crate::repository::Repository;

/// The JUnit report of a run.
#[derive(Debug)]
pub struct Junit {
    path: PathBuf,
    repository: Repository,
    fold: Fold,
    /// The logs of the earlier attempts at the running cases.
    tries: BTreeMap<usize, Kept<Try>>,
    done: Vec<Done>,
    /// The flaky cases.
    flaky: Vec<String>,
    races: Races,
    run: Properties,
    host: Option<String>,
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
    /// The scenario file, as it is shown.
    file: String,
    began: f64,
    test: TestCase,
    extra: Extra,
}

/// A suite as it will be written.
struct Suite {
    suite: TestSuite,
    extras: Vec<Extra>,
}

impl Suite {
    fn push(&mut self, test: TestCase, extra: Extra) {
        self.suite.add_testcase(test);
        self.extras.push(extra);
    }
}

impl Junit {
    /// A report to be written to `path` when the stream ends; creates its directory if missing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            repository: Repository::here(),
            fold: Fold::default(),
            tries: BTreeMap::new(),
            done: Vec::new(),
            flaky: Vec::new(),
            races: Races::default(),
            run: Properties::new(),
            host: None,
            held: 0,
        }
    }

    /// Notes what the record of a case will not have.
    fn note(&mut self, event: &Event) {
        match (&event.what, event.case) {
            (What::RunStarted { lockstep, seed, host, qemus, shard, .. }, _) => {
                self.run = run_properties(lockstep, *seed, shard.as_ref(), qemus);
                self.host = host.as_ref().map(|host| text::one_line(&host.name));
            }
            (What::AttemptEnded { again, .. }, Some(number)) => {
                if let Some(case) = self.fold.open().find(|case| case.number == number) {
                    let log = text::cut(&log::of_attempt(case), text::LIMIT).into_owned();
                    self.tries.entry(number).or_default().push((*again, log));
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, case: &Case) {
        self.races.add(case);
        if case.verdict() == Verdict::Flaky {
            self.flaky.push(case.title());
        }
        let limit = if self.held > FULL_TEXT_BUDGET { REDUCED_LIMIT } else { text::LIMIT };
        let tries = self.tries.remove(&case.number).unwrap_or_default();
        let form = Form { repository: &self.repository, limit };
        let (test, extra) = form.write(case, &tries);
        self.held += weight(&test, &extra);
        // An outside path stays as the user named it.
        let file = test.filepath.clone().unwrap_or_else(|| case.file.clone());
        self.done.push(Done { number: case.number, file, began: case.began, test, extra });
    }

    /// A suite without cases, whose first case starts so many seconds after the start of the run.
    fn suite(&self, file: &str, after: f64) -> Suite {
        let name = if file.is_empty() { "lockstep" } else { file };
        let mut suite = TestSuite::new(&text::one_line(name));
        // The crate's default is `testsuite/` plus the name, which is meaningless here.
        suite.package = class_name(file, &self.repository);
        suite.set_timestamp(timestamp(self.began(), after));
        if let Some(host) = &self.host {
            suite.hostname.clone_from(host);
        }
        if let Some(trouble) = &self.fold.trouble() {
            suite.set_system_err(&text::cdata(trouble));
        }
        Suite { suite, extras: Vec::new() }
    }

    /// When the run started, since 1970.
    fn began(&self) -> Option<StdDuration> {
        let began = humantime::parse_rfc3339(self.fold.time()?).ok()?;
        began.duration_since(UNIX_EPOCH).ok()
    }

    fn suites(&mut self) -> Vec<Suite> {
        // Parallel cases end in any order; keep the report deterministic.
        self.done.sort_by_key(|done| done.number);
        let mut suites: IndexMap<String, Suite> = IndexMap::new();
        for Done { file, began, test, extra, .. } in std::mem::take(&mut self.done) {
            let empty = || self.suite(&file, began);
            suites.entry(file.clone()).or_insert_with(empty).push(test, extra);
        }
        let mut suites: Vec<Suite> = suites.into_values().collect();
        suites.extend(self.whole_run());
        if suites.is_empty() && self.fold.trouble().is_some() {
            suites.push(self.suite("", 0.0));
        }
        suites
    }

    /// Suites for failures of the run that are not those of a case: their causes are in cases that passed, but the file
    /// must not be green.
    fn whole_run(&self) -> Vec<Suite> {
        let rate = |(at, message): (usize, String)| (format!("rate of a known issue #{}", at + 1), message);
        let rates = self.races.exceeded().into_iter().enumerate().map(rate).collect();
        let flaky = match self.flaky.as_slice() {
            [] => None,
            _ if self.fold.flaky_passes() => None,
            flaky => Some(format!("{} passed only when tried again: {}", flaky.len(), flaky.join(", "))),
        };
        let flaky = flaky.map(|message| ("no flaky cases".to_owned(), message)).into_iter().collect();
        let all: [(&str, &str, Vec<_>); 2] =
            [("known issues", "fail", rates), ("flaky cases", "flaky", flaky)];
        let failed = all.into_iter().filter(|(.., failures)| !failures.is_empty());
        failed
            .map(|(name, type_, failures)| {
                let mut suite = self.suite(name, 0.0);
                for (test, message) in failures {
                    let message = text::one_line(&message);
                    let mut test = TestCase::failure(&test, duration(0.0), type_, &message);
                    test.set_classname(name);
                    suite.push(test, Extra::default());
                }
                suite
            })
            .collect()
    }

    fn xml(&mut self) -> anyhow::Result<Vec<u8>> {
        let (suites, extras): (Vec<_>, Vec<_>) =
            self.suites().into_iter().map(|Suite { suite, extras }| (suite, extras)).unzip();
        let root = self.totals(&suites);
        let skipped = suites.iter().map(TestSuite::skipped).collect();
        let mut report = Report::new();
        report.add_testsuites(suites);
        let mut plain = Vec::new();
        report.write_xml(&mut plain)?;
        let cases = extras.into_iter().flatten().collect();
        let extras = Extras { root, run: std::mem::take(&mut self.run), skipped, cases };
        extras.add(std::str::from_utf8(&plain)?)
    }

    /// The attributes of the root: the sums over all suites, and the duration of the run.
    fn totals(&self, suites: &[TestSuite]) -> Vec<(&'static str, String)> {
        let sum = |count: fn(&TestSuite) -> usize| suites.iter().map(count).sum::<usize>().to_string();
        let mut root = vec![
            ("name", "lockstep".to_owned()),
            ("tests", sum(TestSuite::tests)),
            ("failures", sum(TestSuite::failures)),
            ("errors", sum(TestSuite::errors)),
            ("skipped", sum(TestSuite::skipped)),
            ("time", seconds(duration(self.fold.last()).as_seconds_f64())),
        ];
        let began = self.began().map(|began| humantime::format_rfc3339_seconds(UNIX_EPOCH + began));
        root.extend(began.map(|began| ("timestamp", began.to_string())));
        root
    }
}

impl Subscriber for Junit {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        self.note(event);
        if let Some(case) = self.fold.take(event) {
            self.add(&case);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for case in self.fold.cut_off() {
            self.add(&case);
        }
        let xml = self.xml()?;
        write(&self.path, &xml).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The size of a test case's texts, in bytes.
fn weight(test: &TestCase, extra: &Extra) -> usize {
    let cause = match &test.result {
        TestResult::Success | TestResult::Skipped => 0,
        TestResult::SkippedWithCause { cause, message, .. }
        | TestResult::Error { cause, message, .. }
        | TestResult::Failure { cause, message, .. } => message.len() + cause.as_ref().map_or(0, String::len),
    };
    let properties: usize = extra.properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    let attempts: usize = extra.attempts.iter().map(Attempt::weight).sum();
    cause + test.system_out.as_ref().map_or(0, String::len) + test.name.len() + properties + attempts
}

/// The version of Lockstep, the seed, the shard, and each QEMU by its name in the scenarios: its version, and its binary.
fn run_properties(lockstep: &str, seed: Option<u64>, shard: Option<&Shard>, qemus: &[Qemu]) -> Properties {
    let mut found = vec![("lockstep".to_owned(), lockstep.to_owned())];
    found.extend(seed.map(|seed| ("seed".to_owned(), seed.to_string())));
    found.extend(shard.map(|shard| ("shard".to_owned(), shard.to_string())));
    for Qemu { name, path, version, .. } in qemus {
        found.push((format!("qemu.{name}"), version.clone()));
        found.push((format!("qemu.{name}.binary"), path.clone()));
    }
    found.iter().map(|(name, value)| (text::one_line(name), text::one_line(value))).collect()
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
fn write(path: &Path, xml: &[u8]) -> anyhow::Result<()> {
    // Readable by others, subject to the umask: a CI server often runs as another user.
    let mut file = file::beside(path)?;
    file.write_all(xml)?;
    file.write_all(b"\n")?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
