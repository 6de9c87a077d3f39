//! The record of a case, as reports use it.

use std::collections::VecDeque;

use serde_json::Value;

use super::text;
use crate::event::{CaseEnd, Race, Spread, StepOutcome, Verdict};

/// How many steps, metrics or notes of a case are kept from its start, and from its end.
const KEPT: usize = 500;

/// The first and the last items of a list, and how many were omitted between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept<T> {
    limit: usize,
    head: Vec<T>,
    tail: VecDeque<T>,
    left_out: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self::of(KEPT)
    }
}

impl<T> Kept<T> {
    /// A list that keeps `limit` items from its start, and from its end.
    pub(super) const fn of(limit: usize) -> Self {
        Self { limit, head: Vec::new(), tail: VecDeque::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.head.len() < self.limit {
            self.head.push(item);
            return;
        }
        if self.tail.len() == self.limit {
            self.tail.pop_front();
            self.left_out += 1;
        }
        self.tail.push_back(item);
    }

    /// The items from the start.
    pub fn first(&self) -> impl Iterator<Item = &T> {
        self.head.iter()
    }

    /// How many items were omitted.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// The items from the end, in order, without those of [`Kept::first`].
    pub fn last(&self) -> impl Iterator<Item = &T> {
        self.tail.iter()
    }

    /// Every item that is kept.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.head.iter().chain(&self.tail)
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.head.iter_mut().chain(&mut self.tail)
    }
}

impl<T> IntoIterator for Kept<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<T>, std::collections::vec_deque::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.head.into_iter().chain(self.tail)
    }
}

/// The data of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its number in the order of selection.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// The scenario file as the user named it; empty if the case never started.
    pub file: String,
    /// The line of the file with its name.
    pub line: Option<usize>,
    /// The scenario's description.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The values of the matrix cell and the parameters.
    pub params: Value,
    /// Which of them are matrix axes.
    pub axes: Vec<String>,
    /// The name of the QEMU, if each case runs on several.
    pub qemu: Option<String>,
    /// The number of the round, if cases are repeated.
    pub round: Option<usize>,
    /// The host that ran it, if several did.
    pub host: Option<String>,
    /// The number of steps it has.
    pub planned: usize,
    /// Its intermittent known issues.
    pub races: Vec<Race>,
    /// When it started, in seconds since the start of the run.
    pub began: f64,
    /// The VMs it started, with the version of their QEMU.
    pub vms: Kept<(String, Option<String>)>,
    /// The steps that started.
    pub steps: Kept<Step>,
    /// What was measured.
    pub metrics: Kept<Metric>,
    /// Notes for the user.
    pub notes: Kept<String>,
    /// The results of earlier attempts.
    pub attempts: Kept<CaseEnd>,
    /// Its result, once it has ended; `seconds` is a valid duration.
    pub end: Option<CaseEnd>,
}

/// A step of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number in the case, counted from 1.
    pub number: usize,
    /// Its one-line title.
    pub title: String,
    /// Its place: `file:line:column`.
    pub place: String,
    /// Whether it is one of the `finally` steps.
    pub finally: bool,
    /// When it started, in seconds since the start of the run.
    pub began: f64,
    /// Its outcome; absent while it runs.
    pub outcome: Option<StepOutcome>,
    /// The failure's or the skip's message.
    pub message: Option<String>,
    /// Its duration in seconds.
    pub seconds: f64,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// The VM it belongs to.
    pub vm: Option<String>,
    /// The spread, if it was measured repeatedly.
    pub spread: Option<Spread>,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, value, unit, .. } = self;
        let whose = self.vm.as_ref().map(|vm| format!(" ({vm})")).unwrap_or_default();
        write!(f, "{name}{whose} = {}", text::value(*value, unit))?;
        if let Some(Spread { n, min, median, p95, max }) = self.spread {
            let [min, median, p95, max] = [min, median, p95, max].map(|value| text::value(value, unit));
            write!(f, " (n {n}, min {min}, median {median}, p95 {p95}, max {max})")?;
        }
        Ok(())
    }
}

impl Case {
    /// A case about which nothing is known but its number.
    pub(super) fn unknown(number: usize, began: f64) -> Self {
        Self {
            number,
            name: format!("case #{number}"),
            file: String::new(),
            line: None,
            description: None,
            tags: Vec::new(),
            params: Value::Null,
            axes: Vec::new(),
            qemu: None,
            round: None,
            host: None,
            planned: 0,
            races: Vec::new(),
            began,
            vms: Kept::default(),
            steps: Kept::default(),
            metrics: Kept::default(),
            notes: Kept::default(),
            attempts: Kept::default(),
            end: None,
        }
    }

    /// Its name, with the QEMU and the round if there are several.
    #[must_use]
    pub fn title(&self) -> String {
        let qemu = self.qemu.as_ref().map(|qemu| format!(" on {qemu}")).unwrap_or_default();
        let round = self.round.map(|round| format!(" #{round}")).unwrap_or_default();
        format!("{}{qemu}{round}", self.name)
    }

    /// The running step: the latest that started and has not ended.
    #[must_use]
    pub fn current(&self) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.outcome.is_none())
    }

    /// The verdict; an error if the case has not ended.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.end.as_ref().map_or(Verdict::Error, |end| end.verdict)
    }

    /// Why the case ended as it did.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.end.as_ref().and_then(|end| end.reason.as_deref())
    }

    /// Whether an intermittent known issue occurred in any attempt.
    #[must_use]
    pub fn was_struck_by(&self, race: &Race) -> bool {
        self.attempts.iter().chain(&self.end).any(|end| end.struck.as_ref() == Some(&race.reason))
    }

    /// Ends a case whose end is missing in the stream.
    pub(super) fn cut_off(mut self, at: f64) -> Self {
        let during = self
            .current()
            .map(|step| (format!("It was running step {}: {}", step.number, step.title), step.place.clone()));
        let (evidence, place) = during.unzip();
        let reason = "the run ended before the case finished".to_owned();
        let seconds = (at - self.began).max(0.0);
        self.end = Some(CaseEnd { evidence, place, ..CaseEnd::new(Verdict::Error, Some(reason), seconds) });
        self
    }
}

/// The number of cases per verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Cases that passed.
    pub pass: usize,
    /// Cases that failed.
    pub fail: usize,
    /// Cases with an error.
    pub error: usize,
    /// Cases that were skipped.
    pub skip: usize,
    /// Cases that failed with a known issue.
    pub xfail: usize,
    /// Cases that passed on a retry.
    pub flaky: usize,
}

impl Counts {
    /// Counts one more.
    pub const fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::Error => self.error += 1,
            Verdict::Skip => self.skip += 1,
            Verdict::Xfail => self.xfail += 1,
            Verdict::Flaky => self.flaky += 1,
        }
    }

    /// The total.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.pass + self.fail + self.error + self.skip + self.xfail + self.flaky
    }

    /// How many make the run fail.
    #[must_use]
    pub const fn bad(&self) -> usize {
        self.fail + self.error
    }
}
