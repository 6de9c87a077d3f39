//! An operation of a client, and how it can fail.

use std::io;

use super::history::Kind;

/// What a client does with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Sends numbered lines.
    Lines,
    /// Appends numbers to a list.
    Append,
    /// Counts up.
    Count,
    /// Writes and reads a register.
    Register,
    /// Reads a page.
    Get,
}

impl Does {
    /// The kind of the operation with this number.
    pub(super) const fn kind(self, number: u64) -> Kind {
        match self {
            Self::Lines => Kind::Line,
            Self::Append => Kind::Append,
            Self::Count => Kind::Count,
            Self::Register if number % 2 == 1 => Kind::Write,
            Self::Register => Kind::Read,
            Self::Get => Kind::Get,
        }
    }

    /// Whether the service holds something that the history can be compared with.
    #[must_use]
    pub const fn has_contents(self) -> bool {
        matches!(self, Self::Append | Self::Count | Self::Register)
    }
}

/// Why an operation was not acknowledged.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The service refused it; it had no effect.
    Refused(String),
    /// The service did not say whether it had its effect.
    Unclear(String),
    /// The connection was lost.
    Lost(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl Trouble {
    pub(super) fn into_error(self) -> io::Error {
        match self {
            Self::Refused(why) | Self::Unclear(why) => io::Error::other(why),
            Self::Lost(error) => error,
        }
    }
}

/// An operation that is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub kind: Kind,
    pub number: u64,
    /// The value that it appends or writes.
    pub value: u64,
}

/// Takes each answer that is not the right one.
pub(super) type Wrong<'w> = &'w (dyn Fn(&str) + Sync);
