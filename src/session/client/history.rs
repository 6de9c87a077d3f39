//! The history of a client: its operations, each with its times and its outcome.

use std::fmt;
use std::time::Duration;

/// How many operations are kept.
pub(super) const KEPT: usize = 200_000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends a line.
    Line,
    /// Appends its number to a list.
    Append,
    /// Adds one to a counter and returns the sum.
    Count,
    /// Writes its number to a register.
    Write,
    /// Reads a register.
    Read,
    /// Reads a page.
    Get,
    /// Reads what the service holds, for a check.
    Final,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet.
    Pending,
    /// The service did it, and returned this value, if any.
    Acknowledged(Option<String>),
    /// The service refused it, for this reason; it had no effect.
    Refused(String),
    /// The connection was lost before the answer; it may have had its effect, or may have it later.
    Unknown,
}

/// An operation of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its number. Only a line that was not acknowledged is sent again, with the same number.
    pub number: u64,
    /// What it does.
    pub kind: Kind,
    /// The value that it appends or writes.
    pub wrote: Option<u64>,
    /// When it was sent, since the start of the run.
    pub asked: Duration,
    /// When its outcome was known, since the start of the run.
    pub ended: Option<Duration>,
    /// The same by the host's real-time clock, which QEMU's events use.
    pub real: f64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// When it was acknowledged; `None` if it was not.
    #[must_use]
    pub fn answered(&self) -> Option<Duration> {
        self.ended.filter(|_| self.is_acknowledged())
    }

    /// Whether the service did it.
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(_))
    }

    /// Whether the service may have done it, or may do it later.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Pending | Outcome::Unknown)
    }

    /// Whether it had no effect.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self.outcome, Outcome::Refused(_))
    }

    /// The value that it returned, if any.
    #[must_use]
    pub fn returned(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Acknowledged(value) => value.as_deref(),
            _ => None,
        }
    }

    /// Whether it was acknowledged before the other one was sent.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        self.answered().is_some_and(|answered| answered < other.asked)
    }

    /// Its kind and number.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Final => "the final read".to_owned(),
            kind => format!("{kind} {}", self.number),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Append => "append",
            Self::Count => "count",
            Self::Write => "write",
            Self::Read => "read",
            Self::Get => "get",
            Self::Final => "final read",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(value) = self.wrote.filter(|value| *value != self.number) {
            write!(f, " (value {value})")?;
        }
        let ended = self.ended.unwrap_or_default().as_secs_f64();
        match &self.outcome {
            Outcome::Pending => f.write_str(" pending")?,
            Outcome::Acknowledged(Some(value)) => write!(f, " returned {value:?}")?,
            Outcome::Acknowledged(None) if matches!(self.kind, Kind::Read | Kind::Final) => {
                f.write_str(" returned nothing")?;
            }
            Outcome::Acknowledged(None) => f.write_str(" acknowledged")?,
            Outcome::Refused(why) => write!(f, " refused ({why})")?,
            Outcome::Unknown => f.write_str(" unknown")?,
        }
        match self.ended {
            Some(_) => write!(f, " at {:.3} to {ended:.3} s", self.asked.as_secs_f64()),
            None => write!(f, " since {:.3} s", self.asked.as_secs_f64()),
        }
    }
}

/// What a service holds for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// The elements of a list.
    List(Vec<String>),
    /// The value of a counter or a register, if it has one.
    Value(Option<String>),
}

impl Contents {
    /// What is added to the number of a write, so that no write has the value that was there before.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Self::Value(Some(text)) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }
}
