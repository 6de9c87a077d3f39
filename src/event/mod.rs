//! The event stream of a run.
//!
//! The runner, the sessions and the steps emit [`Event`]s; every report subscribes to the same stream and shows
//! nothing else. `reports/events.jsonl` is this stream, one event per line.

mod sink;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::sink::{Sink, Subscriber};
use crate::{cause::Cause, units::Share};

/// The version of the stream's format; readers reject a newer one.
pub const STREAM_VERSION: u32 = 1;

/// An event, with the time it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the start of the run, from a monotonic clock.
    pub at: f64,
    /// The number of the case it belongs to, counted from 0 in the order of selection; absent for the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<usize>,
    /// What happened.
    pub what: What,
}

/// The content of an [`Event`].
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
        /// How many cases were selected, times the number of rounds if that is known.
        cases: usize,
        /// The command line.
        command: Vec<String>,
        /// The command-line options needed to reproduce the run, without files and `--case`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// The seed for random axes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// The host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Host>,
        /// The QEMUs that the cases name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        qemus: Vec<Qemu>,
        /// Whether a case that passes only on a retry counts as a success.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        flaky_passes: bool,
        /// Which part of a selection this is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shard: Option<Shard>,
        /// The shards that were merged into this run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shards: Vec<MergedShard>,
        /// The same for the same cases with the same parameters; only then `--resume` continues the run.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        selection: String,
    },
    /// A further round of all cases, if the number of rounds was not known beforehand.
    RoundBegan {
        /// The number of the round, counted from 1.
        round: usize,
        /// The number of its cases.
        cases: usize,
    },
    /// A case starts.
    CaseStarted {
        /// The case's name.
        name: String,
        /// The scenario file, as the user named it.
        file: String,
        /// The line of the file with the case's name, counted from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        /// The file's description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The tags.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// The values of the matrix cell and the parameters.
        params: Value,
        /// Which of them are matrix axes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        axes: Vec<String>,
        /// The name of the QEMU, if each case runs on several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        qemu: Option<String>,
        /// The number of the round, counted from 1, if cases are repeated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<usize>,
        /// The host that ran it, if several did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The number of steps, `finally` included.
        steps: usize,
        /// The intermittent known issues (`known_issue` with `at_most`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        races: Vec<Race>,
    },
    /// A QEMU was started.
    VmSpawned {
        /// The VM's name.
        vm: String,
        /// The process id.
        pid: u32,
        /// The version of the binary, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The command line as it was run.
        argv: Vec<String>,
    },
    /// A QEMU exited.
    VmExited {
        /// The VM's name.
        vm: String,
        /// How: `exit status 0`, `signal KILL`.
        how: String,
        /// Whether the scenario expected it.
        expected: bool,
    },
    /// A QMP command was sent.
    QmpCommand {
        /// The VM's name.
        vm: String,
        /// The message as sent.
        message: Value,
    },
    /// A QMP reply or error was received.
    QmpReply {
        /// The VM's name.
        vm: String,
        /// The message as received.
        message: Value,
    },
    /// A QMP event was received.
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
        /// The line without its line end; invalid UTF-8 is replaced.
        line: String,
    },
    /// QEMU wrote a line to its log: a trace event of the VM's `trace`, or what its `args` make it write there.
    Trace {
        /// The VM's name.
        vm: String,
        /// The event's name; absent if the line is not a trace event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The event's arguments, or the whole line; invalid UTF-8 is replaced.
        text: String,
        /// When QEMU wrote it, in seconds since the start of the run; absent if the line is not a trace event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        emitted: Option<f64>,
    },
    /// A step started.
    StepBegan {
        /// Its number in the case, counted from 1 over all steps that run.
        step: usize,
        /// Its title: its `name`, or a short form of its action.
        title: String,
        /// Its place: `file:line:column`.
        place: String,
        /// Whether it is one of the `finally` steps.
        #[serde(default)]
        finally: bool,
    },
    /// A step ended.
    StepEnded {
        /// Its number.
        step: usize,
        /// How it ended.
        outcome: StepOutcome,
        /// The failure's or the skip's message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Its duration in seconds.
        seconds: f64,
    },
    /// A measured value.
    Metric {
        /// Its name, as in `check: {metric: …}`.
        name: String,
        /// Its value; `null` for a value that is not a number, which JSON cannot represent.
        #[serde(deserialize_with = "number_or_null")]
        value: f64,
        /// Its unit, such as `s`.
        unit: String,
        /// The VM or client it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vm: Option<String>,
        /// The spread, if it was measured repeatedly; the value is then the median.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spread: Option<Spread>,
    },
    /// A change of a link: its state changed, a connection was opened or closed.
    Link {
        /// The link's name.
        link: String,
        /// What happened, in words.
        happened: String,
        /// How many connections it has accepted.
        connections: u64,
        /// How many bytes it has delivered, in both directions.
        bytes: u64,
    },
    /// A change of a client: its first reply, a lost connection, a long gap, a wrong reply, its end.
    Client {
        /// The client's name.
        client: String,
        /// What happened, in words.
        happened: String,
        /// How many of its lines were acknowledged.
        lines: u64,
        /// How often it reconnected.
        reconnects: u64,
    },
    /// A note for the user that does not affect a verdict.
    Note {
        /// The text.
        text: String,
    },
    /// An attempt failed, had an error or was excused by a known issue, and the case runs again.
    AttemptEnded {
        /// The number of the attempt, counted from 1.
        attempt: usize,
        /// Why the case runs again.
        #[serde(default)]
        again: Again,
        /// Its result.
        #[serde(flatten)]
        end: Box<CaseEnd>,
    },
    /// A case ended.
    CaseEnded(Box<CaseEnd>),
    /// The last event of a run.
    RunEnded {
        /// Whether it was interrupted.
        interrupted: bool,
        /// Its duration in seconds.
        seconds: f64,
    },
}

/// Why a case runs again after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// It failed or had an error, and `--retries` allows another attempt.
    #[default]
    Retry,
    /// A known issue requires it.
    KnownIssue,
    /// Another program took one of its ports.
    PortTaken,
}

/// The part of a selection that a run has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, counted from 1.
    pub index: usize,
    /// How many there are.
    pub total: usize,
    /// The number of cases of the whole selection. A case has its number in it.
    pub cases: usize,
    /// A digest of the cases of the whole selection and how they are divided: the same for all shards.
    pub partition: String,
    /// The engine and its variables that said which shard this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.index, self.total)?;
        match &self.engine {
            Some(engine) => write!(f, " ({engine})"),
            None => Ok(()),
        }
    }
}

/// A shard of a merged run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergedShard {
    /// Its number, counted from 1.
    pub index: usize,
    /// The name of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When it started by the clock of its host, in RFC 3339, UTC.
    pub time: String,
    /// How many cases it started.
    pub cases: usize,
    /// Its duration in seconds.
    pub seconds: f64,
    /// Whether it ended without its last event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
}

/// The host of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The host name.
    pub name: String,
    /// The kernel, its release, the architecture.
    pub system: String,
    /// The number of CPUs available to the run.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
}

/// A QEMU used by cases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Qemu {
    /// Its name in the scenarios or on the command line.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its version.
    pub version: String,
    /// The packager's version string; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub package: String,
}

/// A known issue that occurs in some of the runs of a case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Race {
    /// The issue's reason.
    pub reason: String,
    /// The maximum share of runs in which it is expected.
    pub at_most: Share,
}

/// The result of a case or of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseEnd {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason: the failure's first line, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cause of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The evidence: what was expected, what was seen, the VMs' last output and state. Many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The place of the failed step: `file:line:column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The lines around it with their numbers, the failed one marked with `>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The directory of the artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<PathBuf>,
    /// The reason of the [`Race`] that occurred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struck: Option<String>,
    /// Its duration in seconds, including set-up and tear-down.
    pub seconds: f64,
}

impl CaseEnd {
    /// A result with only the verdict, its reason and the duration.
    #[must_use]
    pub const fn new(verdict: Verdict, reason: Option<String>, seconds: f64) -> Self {
        Self {
            verdict,
            reason,
            cause: None,
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

/// The spread of a value that was measured repeatedly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How often it was measured.
    pub n: usize,
    /// The smallest value.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of some values, which it sorts; `None` if there are none. Ignores values that are not numbers.
    #[must_use]
    pub fn of(values: &mut Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        // Nearest rank, so that each is a measured value even if there are few.
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

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// Its `when` was false.
    Skipped,
    /// It was cut off by the failure of another branch of `parallel`.
    Cancelled,
}

/// The verdict on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as the scenario says.
    Pass,
    /// The system under test did not behave as the scenario says.
    Fail,
    /// The test could not be run.
    Error,
    /// A requirement is not met, or the run was interrupted first.
    Skip,
    /// It failed with its `known_issue`; an intermittent one also passed when run again.
    Xfail,
    /// It failed or had an error first, and passed on a retry.
    Flaky,
}

impl Verdict {
    /// Whether this verdict makes the run fail. (For [`Verdict::Flaky`], the user decides.)
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

#[cfg(test)]
mod tests;
