//! The record of a client.

use std::time::Duration;

use tokio::time::Instant;

use super::history::{Contents, KEPT, Kind, Operation, Outcome};
use crate::session::log::real_time;
use crate::units::elapsed;

/// How many wrong answers are kept.
const WRONG_KEPT: usize = 20;

/// An acknowledged line or other operation.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// When it was sent, in seconds of the host's real-time clock.
    pub asked: f64,
    /// When it was acknowledged.
    pub answered: f64,
    /// The value that the service returned; empty if it returned none.
    pub draw: String,
}

/// The record of a client.
#[derive(Debug, Clone)]
pub struct Record {
    /// The numbers that were acknowledged, as ranges `[first, last]`.
    pub acknowledged: Vec<[u64; 2]>,
    /// How many there are.
    pub lines: u64,
    /// How many operations the service refused.
    pub refused: u64,
    /// How many operations have an unknown outcome.
    pub unknown: u64,
    /// How often it reconnected after the service had replied.
    pub reconnects: u64,
    /// How many replies did not match the line that was sent.
    pub wrong_answers: u64,
    /// The first of them: the number that was sent, and the reply.
    pub wrong: Vec<(u64, String)>,
    /// How many datagrams were sent.
    pub sent: u64,
    /// When it stopped, if it has.
    pub ended: Option<Instant>,
    /// Why its last connection, or the last attempt to connect, failed, if there was no reply since.
    pub(super) trouble: Option<String>,
    /// Its current activity, and since when.
    pub(super) doing: (String, Instant),
    /// The number to send next.
    pub(super) next: u64,
    /// What the service held before the first operation, if that was read.
    pub(super) before: Option<Contents>,
    last: Option<Instant>,
    longest: Duration,
    /// The number of operations that were sent.
    sent_operations: u64,
    history: Vec<Operation>,
}

/// Why the operations of a client are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// There are none.
    #[error("no line was acknowledged")]
    None,
    /// There are this many.
    #[error("it has {0} operations, but only {KEPT} are kept")]
    TooMany(u64),
}

impl Record {
    /// A record of operations from this number on.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            acknowledged: Vec::new(),
            lines: 0,
            refused: 0,
            unknown: 0,
            reconnects: 0,
            wrong_answers: 0,
            wrong: Vec::new(),
            sent: 0,
            ended: None,
            trouble: None,
            doing: ("starting".to_owned(), Instant::now()),
            next: first,
            before: None,
            last: None,
            longest: Duration::ZERO,
            sent_operations: 0,
            history: Vec::new(),
        }
    }

    /// Takes the next number.
    pub(super) fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Records that an operation is sent now; returns its place in the history.
    pub(crate) fn begin(&mut self, kind: Kind, number: u64, now: Duration) -> usize {
        self.sent_operations += 1;
        if self.history.len() == KEPT {
            return KEPT;
        }
        let (wrote, outcome) = (self.value_of(kind, number), Outcome::Pending);
        self.history.push(Operation { number, kind, wrote, asked: now, ended: None, real: 0.0, outcome });
        self.history.len() - 1
    }

    /// The value that an operation appends or writes.
    pub(super) fn value_of(&self, kind: Kind, number: u64) -> Option<u64> {
        match kind {
            Kind::Append => Some(number),
            Kind::Write => Some(number + self.before.as_ref().map_or(0, Contents::offset)),
            _ => None,
        }
    }

    /// Records the acknowledgement of an operation with the value that it returned; returns the time since the previous
    /// acknowledgement.
    pub(crate) fn acknowledge(
        &mut self,
        place: usize,
        number: u64,
        value: Option<String>,
        now: Duration,
    ) -> Option<Duration> {
        self.add_number(number);
        self.lines += 1;
        self.trouble = None;
        self.end_operation(place, Outcome::Acknowledged(value), now);
        let now = Instant::now();
        let gap = self.last.map(|last| now.duration_since(last));
        self.longest = self.longest.max(gap.unwrap_or_default());
        self.last = Some(now);
        gap
    }

    /// Records that the service refused an operation.
    pub(crate) fn refuse(&mut self, place: usize, why: String, now: Duration) {
        self.refused += 1;
        self.end_operation(place, Outcome::Refused(why), now);
    }

    /// Records that the outcome of an operation is unknown.
    pub(crate) fn lose(&mut self, place: usize, now: Duration) {
        self.unknown += 1;
        self.end_operation(place, Outcome::Unknown, now);
    }

    fn end_operation(&mut self, place: usize, outcome: Outcome, now: Duration) {
        if let Some(operation) = self.history.get_mut(place) {
            operation.outcome = outcome;
            operation.ended = Some(now);
            operation.real = real_time();
        }
    }

    /// Adds a number to the ranges of those that were acknowledged.
    fn add_number(&mut self, number: u64) {
        let ranges = &mut self.acknowledged;
        let at = ranges.partition_point(|[first, _]| *first <= number);
        let follows = at > 0 && ranges[at - 1][1] + 1 == number;
        let leads = ranges.get(at).is_some_and(|[first, _]| *first == number + 1);
        match (follows, leads) {
            (true, true) => ranges[at - 1][1] = ranges.remove(at)[1],
            (true, false) => ranges[at - 1][1] = number,
            (false, true) => ranges[at][0] = number,
            (false, false) => ranges.insert(at, [number, number]),
        }
    }

    pub(crate) fn wrong_answer(&mut self, number: u64, answer: String) {
        self.wrong_answers += 1;
        if self.wrong.len() < WRONG_KEPT {
            self.wrong.push((number, answer));
        }
    }

    pub(super) fn set_activity(&mut self, what: impl Into<String>) {
        self.doing = (what.into(), Instant::now());
    }

    pub(super) fn end(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
    }

    /// The longest time between two acknowledgements, including the current gap; `None` before the first.
    #[must_use]
    pub fn longest_gap(&self) -> Option<Duration> {
        let now = self.ended.unwrap_or_else(Instant::now);
        self.last.map(|last| self.longest.max(now.saturating_duration_since(last)))
    }

    /// All operations, in the order in which they were sent.
    ///
    /// # Errors
    /// When there are none, or more than are kept.
    pub fn history(&self) -> Result<&[Operation], NotKept> {
        match self.history.len() as u64 {
            count if count < self.sent_operations => Err(NotKept::TooMany(self.sent_operations)),
            _ if self.lines == 0 => Err(NotKept::None),
            _ => Ok(&self.history),
        }
    }

    /// What the service held before the first operation, if that was read.
    #[must_use]
    pub const fn before(&self) -> Option<&Contents> {
        self.before.as_ref()
    }

    /// The lines or other operations that were acknowledged, in order, by the host's real-time clock.
    ///
    /// # Errors
    /// As [`Self::history`].
    pub fn kept(&self) -> Result<Vec<Line>, NotKept> {
        let line = |operation: &Operation| {
            let answered = operation.answered()?;
            Some(Line {
                number: operation.number,
                asked: operation.real - answered.saturating_sub(operation.asked).as_secs_f64(),
                answered: operation.real,
                draw: operation.returned().unwrap_or_default().to_owned(),
            })
        };
        Ok(self.history()?.iter().filter_map(line).collect())
    }

    /// The time from an operation to its acknowledgement, in seconds, at this quantile.
    #[must_use]
    pub fn latency(&self, share: f64) -> Option<f64> {
        let times = self
            .history
            .iter()
            .filter_map(|one| Some(one.answered()?.saturating_sub(one.asked).as_secs_f64()));
        let mut sorted: Vec<f64> = times.collect();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len().saturating_sub(1) as f64 * share) as usize;
        sorted.get(at).copied()
    }

    /// Its record and its current activity, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let ranges: Vec<String> =
            self.acknowledged.iter().rev().take(4).rev().map(|[a, b]| format!("{a} to {b}")).collect();
        let ranges = if ranges.is_empty() { String::new() } else { format!(" ({})", ranges.join(", ")) };
        let gap = self.longest_gap().map_or_else(|| "none".to_owned(), elapsed);
        let wrong = match self.wrong.last() {
            Some((number, answer)) => {
                format!(", {} wrong answers, the last to line {number}: {answer:?}", self.wrong_answers)
            }
            None => String::new(),
        };
        let other = self.history.first().is_some_and(|operation| operation.kind != Kind::Line);
        let unclear = [(self.refused, "refused"), (self.unknown, "unknown")]
            .iter()
            .filter(|(count, _)| other && *count > 0)
            .map(|(count, what)| format!(", {count} {what}"))
            .collect::<String>();
        let what = if other { "operations" } else { "lines" };
        let doing = match self.ended {
            Some(_) => "stopped".to_owned(),
            None => format!("{} for {}", self.doing.0, elapsed(self.doing.1.elapsed())),
        };
        let trouble = self.trouble.as_ref().map(|why| format!("; previous connection: {why}"));
        let trouble = trouble.unwrap_or_default();
        format!(
            "{} {what} acknowledged{ranges}{unclear}, longest gap {gap}, {} reconnects{wrong}; {doing}{trouble}",
            self.lines, self.reconnects
        )
    }
}
