//! Changes of what passes through a monitor, in both directions.

use std::time::Duration;

use serde_json::Value;

/// A message, and how long it is held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Late {
    /// For this long; zero: not at all.
    pub after: Duration,
    /// The message.
    pub message: Value,
}

impl Late {
    /// A message that is not held back.
    #[must_use]
    pub const fn not(message: Value) -> Self {
        Self { after: Duration::ZERO, message }
    }
}

/// What happens in the place of a command.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// What is sent to QEMU.
    pub sent: Vec<Late>,
    /// What arrives as if QEMU had sent it.
    pub heard: Vec<Late>,
}

/// Changes what passes through a monitor. Each function returns `None` to leave it as it is.
pub trait Filter: Send + Sync {
    /// Bytes as they were read.
    fn bytes(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// A message from QEMU: what arrives in its place.
    fn heard(&self, _: &Value) -> Option<Vec<Late>> {
        None
    }

    /// A command, as it would be sent.
    fn said(&self, _: &Value) -> Option<Said> {
        None
    }
}
