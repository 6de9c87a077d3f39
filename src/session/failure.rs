//! Why a step did not do what it says.

use std::fmt;

use crate::qemu::qmp::QmpError;
use crate::qemu::qtest::QtestError;

/// A step's failure: one message for a person. The VMs' last moments are gathered apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: Kind,
    /// What was wrong: what was expected, what was there instead.
    pub message: String,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The system under test did not do what the scenario says.
    Failed,
    /// The guest found its own memory wrong. No `expect_error` makes that good.
    Corrupt,
    /// The test could not be carried out.
    Error,
}

impl Failure {
    /// The system under test did not do what the scenario says.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The test could not be carried out.
    pub fn error(message: impl Into<String>) -> Self {
        Self { kind: Kind::Error, message: message.into() }
    }

    /// The same, about a VM.
    #[must_use]
    pub fn of(mut self, vm: &str) -> Self {
        self.message = format!("{vm}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<QmpError> for Failure {
    fn from(error: QmpError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<QtestError> for Failure {
    fn from(error: QtestError) -> Self {
        Self::failed(error.to_string())
    }
}
