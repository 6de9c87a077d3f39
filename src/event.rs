//! The one stream of events of a run.
//!
//! The runner, the sessions and the steps emit [`Event`]s; every report is a subscriber of the same stream. What a
//! report shows is in the stream, or it is not shown. `reports/events.jsonl` is this stream, one event a line.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::Share;

/// The version of the stream's format; a reader refuses a newer one.
pub const STREAM_VERSION: u32 = 1;

/// Something that happened, with the moment it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the run began, from a monotonic clock.
    pub at: f64,
    /// The number of the case it belongs to, counted from 0 in the order of selection; absent for the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<usize>,
    /// What happened.
    pub what: What,
}

/// What an [`Event`] says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// The first event of a run.
    RunStarted {
        /// See [`STREAM_VERSION`].
        version: u32,
        /// Lockstep's own version.
        lockstep: String,
        /// When, in RFC 3339, UTC.
        time: String,
        /// How many cases were selected; where each is run a known number of times, so many times as many.
        cases: usize,
        /// The command line.
        command: Vec<String>,
        /// What of the command line another run needs to be like this one, without files and `--case`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// What random axes are drawn by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// Where it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Host>,
        /// The QEMUs that the cases name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        qemus: Vec<Qemu>,
        /// Whether a case that passes only when it is tried again counts as a success.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        flaky_passes: bool,
    },
    /// All cases are run once more, where it was not known beforehand how often.
    RoundBegan {
        /// The number of the round, counted from 1.
        round: usize,
        /// How many cases it has.
        cases: usize,
    },
    /// A case is about to begin.
    CaseStarted {
        /// The case's name.
        name: String,
        /// The scenario file, as the user named it.
        file: String,
        /// The file's own prose on what it shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Words to select by.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// The values of the matrix cell and the parameters.
        params: Value,
        /// Which of them are the axes of its matrix.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        axes: Vec<String>,
        /// The name of the QEMU, where each case is run on several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        qemu: Option<String>,
        /// The number of the round, counted from 1, where cases are run again and again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<usize>,
        /// The number of steps, `finally` included.
        steps: usize,
        /// The races that may strike it (`known_issue` with `at_most`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        races: Vec<Race>,
    },
    /// A QEMU was started.
    VmSpawned {
        /// The VM's name.
        vm: String,
        /// The process.
        pid: u32,
        /// The version of the binary, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The command line as it was run.
        argv: Vec<String>,
    },
    /// A QEMU ended.
    VmExited {
        /// The VM's name.
        vm: String,
        /// How, in words: `exit status 0`, `signal KILL`.
        how: String,
        /// Whether the scenario asked for it.
        expected: bool,
    },
    /// A QMP command was sent.
    QmpCommand {
        /// The VM's name.
        vm: String,
        /// The message as sent.
        message: Value,
    },
    /// A QMP reply or error came.
    QmpReply {
        /// The VM's name.
        vm: String,
        /// The message as received.
        message: Value,
    },
    /// A QMP event came.
    QmpEvent {
        /// The VM's name.
        vm: String,
        /// The message as received.
        message: Value,
    },
    /// The guest printed a line on its serial port.
    SerialLine {
        /// The VM's name.
        vm: String,
        /// The line without its end; bytes that are no UTF-8 are replaced.
        line: String,
    },
    /// A step began.
    StepBegan {
        /// Its number in the case, counted from 1 over everything that runs.
        step: usize,
        /// One line on what it does: its `name`, or its action in brief.
        title: String,
        /// Where it stands: `file:line:column`.
        place: String,
        /// Whether it is one of the `finally` steps.
        #[serde(default)]
        finally: bool,
    },
    /// A step ended.
    StepEnded {
        /// Its number.
        step: usize,
        /// Done, failed or skipped.
        outcome: StepOutcome,
        /// The failure's or the skip's message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Seconds it took.
        seconds: f64,
    },
    /// A measured value.
    Metric {
        /// Its name, as `check: {metric: …}` knows it.
        name: String,
        /// Its value; JSON has no word for what is no number, and `null` stands for it.
        #[serde(deserialize_with = "number_or_null")]
        value: f64,
        /// Its unit, such as `s`.
        unit: String,
        /// The VM, or client, it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
        /// Where it was measured again and again: all of it; the value is then the median.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spread: Option<Spread>,
    },
    /// Something happened to a link: its state was changed, a connection came or ended.
    Link {
        /// The link's name.
        link: String,
        /// What happened, in words.
        happened: String,
        /// How many connections it has accepted so far.
        connections: u64,
        /// How many bytes it has delivered so far, in both directions.
        bytes: u64,
    },
    /// Something happened to a client: its first answer, a lost connection, a long gap, a wrong answer, its end.
    Client {
        /// The client's name.
        client: String,
        /// What happened, in words.
        happened: String,
        /// How many of its lines were acknowledged so far.
        lines: u64,
        /// How often it had to connect again so far.
        reconnects: u64,
    },
    /// Something a person should know that is no verdict.
    Note {
        /// The text.
        text: String,
    },
    /// A case failed, erred or was excused by a known issue, and is run once more.
    AttemptEnded {
        /// The number of the attempt, counted from 1.
        attempt: usize,
        /// How it ended.
        #[serde(flatten)]
        end: Box<CaseEnd>,
    },
    /// A case ended.
    CaseEnded(Box<CaseEnd>),
    /// The last event of a run.
    RunEnded {
        /// Whether an interrupt ended it.
        interrupted: bool,
        /// Seconds the run took.
        seconds: f64,
    },
}

/// Where a run runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The machine's own name.
    pub name: String,
    /// The system: its kernel, its release, its architecture.
    pub system: String,
    /// How many processors the run may use.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
}

/// A QEMU that cases name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Qemu {
    /// What it is called by the scenarios, or on the command line.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its packager's words on the version; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub package: String,
}

/// A known issue that strikes in a part of the runs of a case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Race {
    /// The issue's reason.
    pub reason: String,
    /// In which share of the runs it strikes at most.
    pub at_most: Share,
}

/// How a case, or one attempt at it, ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseEnd {
    /// The verdict.
    pub verdict: Verdict,
    /// Why: the failure's first line, the skip reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence: what was awaited, what was seen instead, the VMs' last moments. Many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Where the failing step stands: `file:line:column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The lines around it, each with its number, the failing one marked with `>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where the artifacts were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<PathBuf>,
    /// The reason of the [`Race`] that struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struck: Option<String>,
    /// Seconds from its start to its end, set-up and tear-down included.
    pub seconds: f64,
}

impl CaseEnd {
    /// An end of which nothing is known but the verdict, its reason and the time.
    #[must_use]
    pub const fn new(verdict: Verdict, reason: Option<String>, seconds: f64) -> Self {
        Self {
            verdict,
            reason,
            evidence: None,
            place: None,
            source: None,
            artifacts: None,
            struck: None,
            seconds,
        }
    }
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
}

/// What is known of a value that was measured again and again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How often it was measured.
    pub n: usize,
    /// The smallest value.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The one that 95 % of them do not exceed.
    pub p95: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of some values, which are sorted by it; `None` where there are none. What is no number is left out.
    #[must_use]
    pub fn of(values: &mut Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        // The nearest rank: a value that was really measured, even where there are few.
        let rank = |share: usize| values.get((values.len() * share).div_ceil(100).saturating_sub(1)).copied();
        Some(Self {
            n: values.len(),
            min: *values.first()?,
            median: rank(50)?,
            p95: rank(95)?,
            max: *values.last()?,
        })
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It did what it says.
    Done,
    /// It did not.
    Failed,
    /// Its `when` said no.
    Skipped,
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything the scenario says is so.
    Pass,
    /// The system under test did not do what the scenario says.
    Fail,
    /// The test could not be carried out.
    Error,
    /// A requirement is not met here, or the run was interrupted before it.
    Skip,
    /// It failed as its `known_issue` says; where that is a race, it passed when it was run again.
    Xfail,
    /// It failed or erred at first, and passed when it was tried again.
    Flaky,
}

impl Verdict {
    /// Whether this verdict makes the run fail. (Whether [`Verdict::Flaky`] does is for the user to say.)
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Skip => "skip",
            Self::Xfail => "xfail",
            Self::Flaky => "flaky",
        })
    }
}

/// Where events are emitted; cheap to clone. Emitting never blocks and never fails.
#[derive(Debug, Clone)]
pub struct Sink {
    began: Instant,
    case: Option<usize>,
    sender: Option<mpsc::Sender<Event>>,
}

impl Sink {
    /// A sink and the stream that comes out of it; the stream ends when the last clone of the sink is dropped.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self { began: Instant::now(), case: None, sender: Some(sender) }, receiver)
    }

    /// A sink that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self { began: Instant::now(), case: None, sender: None }
    }

    /// The same sink, for what belongs to one case.
    #[must_use]
    pub fn for_case(&self, number: usize) -> Self {
        Self { case: Some(number), ..self.clone() }
    }

    /// Emits what happened, now.
    pub fn emit(&self, what: What) {
        if let Some(sender) = &self.sender {
            // A stream whose reader is gone has nobody to tell.
            let _ = sender.send(Event { at: self.elapsed().as_secs_f64(), case: self.case, what });
        }
    }

    /// Time since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A report: something that is told of every event, in order.
pub trait Subscriber {
    /// Takes note of one event.
    ///
    /// # Errors
    /// When the report cannot be written; the run goes on, and the error is told at its end.
    fn take(&mut self, event: &Event) -> anyhow::Result<()>;

    /// Called some times a second as long as the run lasts, for reports that show how time goes by.
    ///
    /// # Errors
    /// As [`Subscriber::take`].
    fn tick(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Completes the report when the stream has ended, also after an interrupt.
    ///
    /// # Errors
    /// When the report cannot be written.
    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_made_of_values_that_were_measured() {
        let of = |values: &[f64]| Spread::of(&mut values.to_vec());
        let spread = |n, min, median, p95, max| Some(Spread { n, min, median, p95, max });
        assert_eq!(of(&[3.0, 1.0, 2.0]), spread(3, 1.0, 2.0, 3.0, 3.0));
        assert_eq!(of(&[2.0, 1.0]), spread(2, 1.0, 1.0, 2.0, 2.0));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(of(&hundred), spread(100, 1.0, 50.0, 95.0, 100.0));
        assert_eq!(of(&[f64::NAN]), None);
    }

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let (sink, stream) = Sink::new();
        sink.for_case(3)
            .emit(What::QmpEvent { vm: "primary".into(), message: serde_json::json!({"event": "STOP"}) });
        drop(sink);
        let event = stream.recv().unwrap();
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        assert!(line.contains(r#""case":3"#) && line.contains(r#""event":"qmp_event""#), "{line}");
    }
}
