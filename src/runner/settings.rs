//! How a run goes, and how it is interrupted.

use std::path::PathBuf;

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
    /// The command line, for the reports.
    pub command: Vec<String>,
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
