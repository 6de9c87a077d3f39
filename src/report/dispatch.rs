//! Dispatches the event stream to the reports on a separate thread, so that no report delays a case.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::event::{Event, Subscriber, What};
use crate::report::races::Races;
use crate::report::record::Counts;
use crate::report::{Fold, text};

/// How often [`Subscriber::tick`] is called.
const TICK: Duration = Duration::from_millis(200);

/// The result of a run and of its reports.
#[derive(Debug, Default)]
pub struct Summary {
    /// The number of cases per verdict; a case left open by the stream is an error.
    pub counts: Counts,
    /// Whether a case that passes only on a retry counts as a success.
    pub flaky_passes: bool,
    /// Whether an interrupt ended the run.
    pub interrupted: bool,
    /// Whether the stream is complete; if not, the emitter crashed.
    pub complete: bool,
    /// The known issues that occurred too often, one line each.
    pub exceeded: Vec<String>,
    /// The errors of reports, at most one each.
    pub errors: Vec<anyhow::Error>,
}

impl Summary {
    /// The exit code of the process: 130 after an interrupt; 1 if a case failed, had an error or was flaky (unless
    /// that passes), a known issue occurred too often, a report could not be written or the run did not finish; else
    /// 0.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.interrupted {
            130
        } else if self.counts.bad() > 0
            || (self.counts.flaky > 0 && !self.flaky_passes)
            || !self.exceeded.is_empty()
            || !self.errors.is_empty()
            || !self.complete
        {
            1
        } else {
            0
        }
    }
}

/// The running reports; see [`run`]. If it is dropped without joining, reports may be incomplete.
#[derive(Debug)]
pub struct Reports(JoinHandle<Summary>);

impl Reports {
    /// Waits until the stream has ended and every report is complete.
    ///
    /// The stream ends when the last [`Sink`](crate::event::Sink) is dropped; the caller must not hold one.
    #[must_use]
    pub fn join(self) -> Summary {
        match self.0.join() {
            Ok(summary) => summary,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Starts a thread that passes each event to every subscriber, in order, and completes the reports when the stream
/// ends.
///
/// A subscriber that fails or panics is removed, and a note informs the others. Put the console last, so that the
/// files are written before it prints the summary.
#[must_use]
pub fn run(stream: Receiver<Event>, subscribers: Vec<Box<dyn Subscriber + Send>>) -> Reports {
    resume(std::iter::empty(), stream, subscribers)
}

/// Like [`run`], with the events of the part of the run that was before.
#[must_use]
pub fn resume(
    earlier: impl Iterator<Item = Event> + Send + 'static,
    stream: Receiver<Event>,
    subscribers: Vec<Box<dyn Subscriber + Send>>,
) -> Reports {
    Reports(std::thread::spawn(move || {
        let mut desk = Desk::new(subscribers);
        for event in earlier {
            desk.take(&event);
        }
        let mut next_tick = Instant::now() + TICK;
        loop {
            let now = Instant::now();
            if now >= next_tick {
                desk.tick();
                next_tick = now + TICK;
            }
            match stream.recv_timeout(next_tick.saturating_duration_since(now)) {
                Ok(event) => desk.take(&event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return desk.finish(),
            }
        }
    }))
}

/// Passes recorded events to the subscribers on this thread, to rebuild the reports of a run.
#[must_use]
pub fn feed(
    events: impl IntoIterator<Item = Event>,
    subscribers: Vec<Box<dyn Subscriber + Send>>,
) -> Summary {
    let mut desk = Desk::new(subscribers);
    for event in events {
        desk.take(&event);
    }
    desk.finish()
}

struct Desk {
    subscribers: Vec<Box<dyn Subscriber + Send>>,
    fold: Fold,
    races: Races,
    errors: Vec<anyhow::Error>,
}

impl Desk {
    fn new(subscribers: Vec<Box<dyn Subscriber + Send>>) -> Self {
        Self { subscribers, fold: Fold::default(), races: Races::default(), errors: Vec::new() }
    }

    fn take(&mut self, event: &Event) {
        if let Some(case) = self.fold.take(event) {
            self.races.add(&case);
        }
        self.each(&|subscriber| subscriber.take(event));
    }

    fn tick(&mut self) {
        self.each(&|subscriber| subscriber.tick());
    }

    /// Calls `act` for every subscriber; removes those that fail and notifies the others.
    fn each(&mut self, act: &dyn Fn(&mut (dyn Subscriber + Send)) -> anyhow::Result<()>) {
        let known = self.errors.len();
        let errors = &mut self.errors;
        self.subscribers.retain_mut(|subscriber| {
            guarded(|| act(subscriber.as_mut())).map_err(|error| errors.push(error)).is_ok()
        });
        let notes: Vec<Event> = self.errors[known..]
            .iter()
            .map(|error| Event {
                at: self.fold.last(),
                case: None,
                what: What::Note { text: text::one_line(&format!("a report is incomplete: {error:#}")) },
            })
            .collect();
        // This terminates: every round of notes has one subscriber less.
        for note in notes {
            self.each(&|subscriber| subscriber.take(&note));
        }
    }

    fn finish(mut self) -> Summary {
        for subscriber in &mut self.subscribers {
            if let Err(error) = guarded(|| subscriber.finish()) {
                self.errors.push(error);
            }
        }
        self.fold.cut_off().iter().for_each(|case| self.races.add(case));
        Summary {
            counts: self.fold.counts(),
            flaky_passes: self.fold.flaky_passes(),
            interrupted: self.fold.interrupted() == Some(true),
            complete: self.fold.interrupted().is_some(),
            exceeded: self.races.exceeded(),
            errors: self.errors,
        }
    }
}

/// Turns a panic into an error: a bug in one report must not break the others.
fn guarded(act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(anyhow!("a report panicked: {said}"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::{Sink, Verdict};
    use crate::report::sample;

    /// Records the events, and fails at the event with this number.
    struct Probe {
        received: Arc<Mutex<Vec<String>>>,
        fails_at: Option<usize>,
        panics: bool,
    }

    impl Probe {
        fn boxed(
            fails_at: Option<usize>,
            panics: bool,
        ) -> (Box<dyn Subscriber + Send>, Arc<Mutex<Vec<String>>>) {
            let received = Arc::new(Mutex::new(Vec::new()));
            let probe = Self { received: Arc::clone(&received), fails_at, panics };
            (Box::new(probe), received)
        }
    }

    impl Subscriber for Probe {
        fn take(&mut self, event: &Event) -> anyhow::Result<()> {
            let mut received = self.received.lock().unwrap();
            if self.fails_at == Some(received.len()) {
                drop(received);
                assert!(!self.panics, "out of luck");
                anyhow::bail!("disk full");
            }
            received.push(match &event.what {
                What::Note { text } => text.clone(),
                _ => String::new(),
            });
            Ok(())
        }

        fn finish(&mut self) -> anyhow::Result<()> {
            self.received.lock().unwrap().push("finished".into());
            Ok(())
        }
    }

    #[test]
    fn every_subscriber_gets_every_event_and_the_end() {
        let (first, received) = Probe::boxed(None, false);
        let (second, received_too) = Probe::boxed(None, false);
        let (sink, stream) = Sink::new();
        let reports = run(stream, vec![first, second]);
        for event in sample::run() {
            event.case.map_or_else(|| sink.clone(), |case| sink.for_case(case)).emit(event.what);
        }
        drop(sink);
        let summary = reports.join();
        assert_eq!(summary.counts.total(), 6);
        assert_eq!(summary.exit_code(), 1);
        assert_eq!(received.lock().unwrap().len(), sample::run().len() + 1);
        assert_eq!(*received.lock().unwrap(), *received_too.lock().unwrap());
    }

    #[test]
    fn a_subscriber_that_fails_is_removed_and_the_others_get_one_note() {
        for (panics, message) in [(false, "disk full"), (true, "a report panicked: out of luck")] {
            let (bad, received_by_bad) = Probe::boxed(Some(1), panics);
            let (good, received) = Probe::boxed(None, false);
            let summary = feed(passing(), vec![bad, good]);
            assert_eq!(summary.errors.len(), 1);
            assert_eq!(summary.errors[0].to_string(), message);
            assert_eq!(summary.exit_code(), 1);
            assert_eq!(received_by_bad.lock().unwrap().len(), 1);
            let received = received.lock().unwrap();
            let notes: Vec<&String> = received.iter().filter(|text| text.contains("incomplete")).collect();
            assert_eq!(notes, [&format!("a report is incomplete: {message}")]);
            assert_eq!(received.last().map(String::as_str), Some("finished"));
        }
    }

    #[test]
    fn all_subscribers_may_fail_at_once() {
        let (one, _) = Probe::boxed(Some(0), false);
        let (two, _) = Probe::boxed(Some(0), false);
        assert_eq!(feed(passing(), vec![one, two]).errors.len(), 2);
    }

    #[test]
    fn the_exit_code_follows_the_verdicts_and_an_interrupt() {
        let code = |events: Vec<Event>| feed(events, Vec::new()).exit_code();
        assert_eq!(code(passing()), 0);
        assert_eq!(code(vec![sample::run_started(0), sample::run_ended(0.0, true)]), 130);
        for (verdict, expected) in [
            (Verdict::Fail, 1),
            (Verdict::Error, 1),
            (Verdict::Skip, 0),
            (Verdict::Xfail, 0),
            (Verdict::Flaky, 1),
        ] {
            let mut events = passing();
            events.insert(1, sample::ended(9, verdict, None, 0.0));
            assert_eq!(code(events), expected, "{verdict}");
        }
    }

    #[test]
    fn a_stream_without_an_end_is_not_a_success() {
        let mut events = passing();
        events.pop();
        let summary = feed(events.clone(), Vec::new());
        assert_eq!((summary.counts.error, summary.exit_code()), (0, 1));
        events.pop();
        assert_eq!(feed(events, Vec::new()).counts.error, 1);
    }

    fn passing() -> Vec<Event> {
        vec![
            sample::run_started(1),
            sample::started(0, "a", "a.yaml"),
            sample::ended(0, Verdict::Pass, None, 1.0),
            sample::run_ended(1.0, false),
        ]
    }
}
