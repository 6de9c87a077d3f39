//! The two ends of the event stream: where events are emitted, and what receives them.

use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Event, What};

/// Where events are emitted; cheap to clone. Emitting never blocks and never fails.
#[derive(Debug, Clone)]
pub struct Sink {
    began: Instant,
    began_real: SystemTime,
    case: Option<usize>,
    sender: Option<mpsc::Sender<Event>>,
}

impl Sink {
    /// A sink and its stream; the stream ends when the last clone of the sink is dropped.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (
            Self { began: Instant::now(), began_real: SystemTime::now(), case: None, sender: Some(sender) },
            receiver,
        )
    }

    /// The same sink for a run that started so long ago.
    #[must_use]
    pub fn of_run_since(self, ago: Duration) -> Self {
        Self {
            began: self.began.checked_sub(ago).unwrap_or(self.began),
            began_real: self.began_real.checked_sub(ago).unwrap_or(self.began_real),
            ..self
        }
    }

    /// A sink whose events are discarded.
    #[must_use]
    pub fn silent() -> Self {
        Self { began: Instant::now(), began_real: SystemTime::now(), case: None, sender: None }
    }

    /// The same sink for the events of one case.
    #[must_use]
    pub fn for_case(&self, number: usize) -> Self {
        Self { case: Some(number), ..self.clone() }
    }

    /// Emits an event with the current time.
    pub fn emit(&self, what: What) {
        if let Some(sender) = &self.sender {
            // Fails if the reader has ended; then no report can be written.
            let _ = sender.send(Event { at: self.elapsed().as_secs_f64(), case: self.case, what });
        }
    }

    /// The time since the start of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A time of the host's real-time clock, in seconds, as one since the start of the run.
    #[must_use]
    pub fn since_start(&self, real: f64) -> f64 {
        real - self.began_real.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }
}

/// A report: receives every event, in order.
pub trait Subscriber {
    /// Processes one event.
    ///
    /// # Errors
    /// When the report cannot be written; the run continues, and the error is printed at its end.
    fn take(&mut self, event: &Event) -> anyhow::Result<()>;

    /// Called several times a second during the run, for reports that show elapsed time.
    ///
    /// # Errors
    /// As [`Subscriber::take`].
    fn tick(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Completes the report when the stream has ended, even after an interrupt.
    ///
    /// # Errors
    /// When the report cannot be written.
    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
