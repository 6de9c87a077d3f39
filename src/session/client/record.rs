//! The record of a client.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::log::real_time;
use crate::units::elapsed;

/// How many lines and wrong answers are kept.
const KEPT: usize = 200_000;
const WRONG_KEPT: usize = 20;

/// An acknowledged line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// When it was sent, in seconds of the host's real-time clock.
    pub asked: f64,
    /// When it was acknowledged.
    pub answered: f64,
    /// The value that the service drew for it; empty if it draws none.
    pub draw: String,
}

/// The record of a client.
#[derive(Debug, Clone)]
pub struct Record {
    /// The numbers that were acknowledged, as ranges `[first, last]`.
    pub acknowledged: Vec<[u64; 2]>,
    /// How many there are.
    pub lines: u64,
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
    last: Option<Instant>,
    longest: Duration,
    kept: Vec<Line>,
}

/// Why the lines of a client are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// There are none.
    #[error("no line was acknowledged")]
    None,
    /// There are this many.
    #[error("it has {0} lines, but only {KEPT} are kept")]
    TooMany(u64),
}

impl Record {
    pub(crate) fn new(first: u64) -> Self {
        Self {
            acknowledged: Vec::new(),
            lines: 0,
            reconnects: 0,
            wrong_answers: 0,
            wrong: Vec::new(),
            sent: 0,
            ended: None,
            trouble: None,
            doing: ("starting".to_owned(), Instant::now()),
            next: first,
            last: None,
            longest: Duration::ZERO,
            kept: Vec::new(),
        }
    }

    /// Records the acknowledgement of the current line with the value drawn for it; returns the time since the
    /// previous acknowledgement.
    pub(crate) fn acknowledge(&mut self, asked: Instant, draw: &str) -> Option<Duration> {
        let now = Instant::now();
        let number = self.next;
        match self.acknowledged.last_mut() {
            Some([_, last]) if *last + 1 == number => *last = number,
            _ => self.acknowledged.push([number, number]),
        }
        self.next += 1;
        self.lines += 1;
        self.trouble = None;
        if self.kept.len() < KEPT {
            let answered = real_time();
            let asked = answered - now.duration_since(asked).as_secs_f64();
            self.kept.push(Line { number, asked, answered, draw: draw.to_owned() });
        }
        let gap = self.last.map(|last| now.duration_since(last));
        self.longest = self.longest.max(gap.unwrap_or_default());
        self.last = Some(now);
        gap
    }

    pub(crate) fn wrong_answer(&mut self, answer: String) {
        self.wrong_answers += 1;
        if self.wrong.len() < WRONG_KEPT {
            self.wrong.push((self.next, answer));
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

    /// The lines that were acknowledged, in order.
    ///
    /// # Errors
    /// When there are none, or more than are kept.
    pub fn kept(&self) -> Result<&[Line], NotKept> {
        match self.kept.len() as u64 {
            0 => Err(NotKept::None),
            count if count < self.lines => Err(NotKept::TooMany(self.lines)),
            _ => Ok(&self.kept),
        }
    }

    /// The time from a line to its acknowledgement, in seconds, at this quantile.
    #[must_use]
    pub fn latency(&self, share: f64) -> Option<f64> {
        let mut sorted: Vec<f64> = self.kept.iter().map(|line| line.answered - line.asked).collect();
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
        let doing = match self.ended {
            Some(_) => "stopped".to_owned(),
            None => format!("{} for {}", self.doing.0, elapsed(self.doing.1.elapsed())),
        };
        let trouble = self.trouble.as_ref().map(|why| format!("; previous connection: {why}"));
        let trouble = trouble.unwrap_or_default();
        format!(
            "{} lines acknowledged{ranges}, longest gap {gap}, {} reconnects{wrong}; {doing}{trouble}",
            self.lines, self.reconnects
        )
    }
}
