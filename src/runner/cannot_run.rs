//! Why a case cannot run.

use crate::event::Verdict;

/// Why a case cannot run.
#[derive(Debug)]
pub(super) struct CannotRun {
    /// The case's verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

impl CannotRun {
    /// A requirement is not met.
    pub(super) const fn skip(reason: String) -> Self {
        Self { verdict: Verdict::Skip, reason }
    }

    /// Something is wrong with the case or its QEMU.
    pub(super) const fn error(reason: String) -> Self {
        Self { verdict: Verdict::Error, reason }
    }
}
