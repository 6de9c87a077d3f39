//! Failures of steps.

use std::fmt;

use crate::qemu::qmp::QmpError;
use crate::qemu::qtest::QtestError;

/// A step's failure with a one-line message. The evidence is collected separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: Kind,
    /// What was expected, and what was found instead.
    pub message: String,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The system under test did not behave as the scenario says.
    Failed,
    /// The guest found its memory wrong. `expect_error` does not excuse it.
    Corrupt,
    /// The test could not be run.
    Error,
}

impl Failure {
    /// The system under test did not behave as the scenario says.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The test could not be run.
    pub fn error(message: impl Into<String>) -> Self {
        Self { kind: Kind::Error, message: message.into() }
    }

    /// The same failure, prefixed with a VM's name.
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
