//! Settings of a run, and its interruption.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::Shard;
use crate::qemu::spec::Accel;

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The accelerator for all VMs; overrides the scenarios.
    pub accel: Option<Accel>,
    /// The directory of the Linux guest.
    pub guests: PathBuf,
    /// The factor for every deadline.
    pub slow: f64,
    /// How many cases run in parallel.
    pub jobs: usize,
    /// Whether the first failure or error ends the run.
    pub fail_fast: bool,
    /// When to keep a case's artifacts.
    pub keep: Keep,
    /// Where to keep them.
    pub reports: PathBuf,
    /// Whether to wait for Enter before a failed case is torn down, so that its VMs can be inspected.
    pub pause_on_failure: bool,
    /// Whether to wait for Enter before each step.
    pub step_by_step: bool,
    /// No case is begun after this time.
    pub begin_until: Option<Duration>,
    /// How often to run all cases.
    pub rounds: Rounds,
    /// How often to retry a case that failed or had an error.
    pub retries: usize,
    /// Whether a case that passes only on a retry counts as a success.
    pub flaky_passes: bool,
    /// The seed for random axes, for the reports.
    pub seed: u64,
    /// The numbers of the cases that have a verdict from an earlier part of the run; `None` for a new run.
    pub done: Option<BTreeSet<usize>>,
    /// The command line, for the reports.
    pub command: Vec<String>,
    /// The options needed to reproduce the run, for the reports.
    pub options: Vec<String>,
    /// Which part of a selection this is.
    pub shard: Option<Shard>,
}

/// How often to run all cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounds {
    /// This many times.
    Times(usize),
    /// Until this time has passed, at least once; a round that has started is completed.
    For(Duration),
    /// Until something else ends the run.
    Endless,
}

impl Rounds {
    /// Whether the reports show rounds separately.
    #[must_use]
    pub const fn are_several(self) -> bool {
        !matches!(self, Self::Times(0 | 1))
    }
}

impl Settings {
    /// Whether the VMs may be inspected interactively.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        self.pause_on_failure || self.step_by_step
    }
}

/// When to keep a case's artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For every case.
    Always,
    /// For cases that failed or had an error.
    OnFailure,
    /// Never.
    Never,
}

/// An interrupt by the user, with the signal's name.
#[derive(Debug, Clone)]
pub struct Interrupt(pub watch::Receiver<Option<&'static str>>);

impl Interrupt {
    /// One that never occurs.
    #[must_use]
    pub fn never() -> Self {
        Self(watch::channel(None).1)
    }

    /// The signal that interrupted the run, if any.
    #[must_use]
    pub fn now(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    /// Waits for an interrupt; forever if none can occur any more.
    pub async fn wait(&self) -> &'static str {
        let mut receiver = self.0.clone();
        loop {
            if let Some(signal) = *receiver.borrow_and_update() {
                return signal;
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
