//! How a run goes, and how it is interrupted.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::qemu::spec::Accel;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The accelerator for all VMs, over what they say.
    pub accel: Option<Accel>,
    /// The folder of the Linux guest.
    pub guests: PathBuf,
    /// Every deadline is multiplied by this.
    pub slow: f64,
    /// How many cases run side by side.
    pub jobs: usize,
    /// Whether the first case that fails or errs ends the run.
    pub fail_fast: bool,
    /// When a case's artifacts are kept.
    pub keep: Keep,
    /// Where they are kept.
    pub reports: PathBuf,
    /// Whether to stand still before a failed case is taken down, so that a person can look into its VMs.
    pub pause_on_failure: bool,
    /// Whether to stand still before each step.
    pub step_by_step: bool,
    /// How often all cases are run.
    pub rounds: Rounds,
    /// How often a case that failed or erred is tried again.
    pub retries: usize,
    /// Whether a case that passes only when it is tried again counts as a success.
    pub flaky_passes: bool,
    /// What random axes were drawn by, for the reports.
    pub seed: u64,
    /// The command line, for the reports.
    pub command: Vec<String>,
    /// What of it another run needs to be like this one, for the reports.
    pub options: Vec<String>,
}

/// How often all cases are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounds {
    /// So many times.
    Times(usize),
    /// Again and again until this time has passed, at least once; what has begun then is brought to its end.
    For(Duration),
    /// Until something else ends the run.
    Endless,
}

impl Rounds {
    /// Whether the reports tell the rounds apart.
    #[must_use]
    pub const fn are_several(self) -> bool {
        !matches!(self, Self::Times(0 | 1))
    }
}

impl Settings {
    /// Whether a person may want to look into the VMs.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        self.pause_on_failure || self.step_by_step
    }
}

/// When a case's artifacts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Of every case.
    Always,
    /// Of cases that failed or erred.
    OnFailure,
    /// Of none.
    Never,
}

/// Whether the user wants the run to end, and by what.
#[derive(Debug, Clone)]
pub struct Interrupt(pub watch::Receiver<Option<&'static str>>);

impl Interrupt {
    /// One that never comes.
    #[must_use]
    pub fn never() -> Self {
        Self(watch::channel(None).1)
    }

    /// What interrupted the run, where something has.
    #[must_use]
    pub fn now(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    /// Waits for an interrupt; for ever, where none can come any more.
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
