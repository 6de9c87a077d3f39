//! The trace of a case: what happened in each attempt, on one time axis.
//!
//! A [`Collector`] takes the events of one case and gives a [`Trace`] when it has ended. A report writes the trace in a
//! format of its own.
//!
//! All times are seconds since the attempt began. The axis is the runner's clock. A QMP event has QEMU's own time stamp,
//! which is moved to the axis: the smallest delay of all events is the offset of the two clocks ([`Attempt::notes`] says
//! if that offset changed). Everything else has the time at which the runner saw it.
//!
//! The memory is bounded: of long lists, the first and the last items are kept.

mod clock;
mod collector;
mod open;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::event::{StepOutcome, Verdict};

#[cfg(test)]
pub(crate) use collector::Collector;
pub(crate) use collector::Collectors;

/// A case.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Trace {
    /// When the case began, in seconds since the start of the run.
    pub(crate) began: f64,
    /// Its attempts, in order; of many, the first and the last ones.
    pub(crate) attempts: Vec<Attempt>,
}

/// An attempt of a case.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    /// Its number, counted from 1.
    pub(crate) number: usize,
    /// When it began, in seconds since the case began.
    pub(crate) began: f64,
    /// Its duration in seconds: until its end, or until its latest event.
    pub(crate) seconds: f64,
    /// Its own verdict; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Verdict>,
    /// The VMs that were started.
    pub(crate) vms: Vec<Vm>,
    /// The links that changed.
    pub(crate) links: Vec<Counted>,
    /// The clients that reported something.
    pub(crate) clients: Vec<Counted>,
    /// The steps that began.
    pub(crate) steps: Vec<Step>,
    /// The transcript, in the order of [`Line::at`].
    pub(crate) lines: Vec<Line>,
    /// The lines that were left out of the transcript.
    pub(crate) left_out: LeftOut,
    /// Points in time by which attempts can be compared.
    pub(crate) marks: Vec<Mark>,
    /// What was measured: name with VM, and value.
    pub(crate) metrics: Vec<(String, String)>,
    /// What limits the precision of the times.
    pub(crate) notes: Vec<String>,
}

/// A VM.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Vm {
    /// Its name.
    pub(crate) name: String,
    /// The version of its QEMU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The command line of its QEMU, for a shell.
    pub(crate) command: String,
    /// The process id of its QEMU; of several, the last one.
    pub(crate) pid: u32,
    /// Its run state: `running`, `paused`, `incoming`, `shut down`, `panicked`.
    pub(crate) state: Vec<Span>,
    /// The status of its migration, as in the events `MIGRATION`.
    pub(crate) migration: Vec<Span>,
    /// Its COLO checkpoints.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// How many checkpoints were completed, including those that were left out.
    pub(crate) completed: usize,
}

/// A time in which a VM was in one state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    /// When it began.
    pub(crate) began: f64,
    /// When it ended.
    pub(crate) ended: f64,
    /// The state.
    pub(crate) word: String,
}

/// A COLO checkpoint as one VM saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Checkpoint {
    /// The `STOP`.
    pub(crate) stopped: f64,
    /// The `RESUME`; absent if it was cut off by a failover, or by the end of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<f64>,
}

/// A link or a client, with its changes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counted {
    /// Its name.
    pub(crate) name: String,
    /// Its changes.
    pub(crate) changes: Vec<Change>,
}

/// A change of a link or a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    /// When.
    pub(crate) at: f64,
    /// What happened, in words.
    pub(crate) text: String,
    /// Bytes that the link has delivered so far, or lines of the client that were acknowledged.
    pub(crate) total: u64,
    /// Connections that the link has accepted so far, or reconnects of the client.
    pub(crate) connections: u64,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Step {
    /// Its number in the attempt, counted from 1.
    pub(crate) number: usize,
    /// Its title.
    pub(crate) title: String,
    /// Its place: `file:line:column`. Steps of a template have another file; steps of a block have a larger column.
    pub(crate) place: String,
    /// Whether it is one of the `finally` steps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) finally: bool,
    /// When it began.
    pub(crate) began: f64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<f64>,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<StepOutcome>,
    /// Why it failed, or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// The row in which it is drawn: steps that run at the same time have different ones.
    pub(crate) row: usize,
}

/// A line of the transcript.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// When it happened. Lines are in this order.
    pub(crate) at: f64,
    /// How much later the runner saw it, if that is [notable](clock::NOTABLE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<f64>,
    /// What it is about.
    pub(crate) source: Source,
    /// What kind of line it is.
    pub(crate) kind: Kind,
    /// The text in short; for a command its name, for a reply its error, for a tick its number.
    pub(crate) text: String,
    /// The message as sent or received, the place of a step, or more about a change; it may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// For a command the index of its reply, for a reply the index of its command, in [`Attempt::lines`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partner: Option<usize>,
    /// The number of the step that began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<usize>,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The case: its steps and notes.
    Case,
    /// A VM, by its index in [`Attempt::vms`].
    Vm(usize),
    /// A link, by its index in [`Attempt::links`].
    Link(usize),
    /// A client, by its index in [`Attempt::clients`].
    Client(usize),
}

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A QMP command.
    Command,
    /// A reply to a QMP command.
    Reply,
    /// A QMP event.
    Event,
    /// A tick of the built-in guest.
    Tick,
    /// Another line on the serial port.
    Serial,
    /// A QEMU was started, or exited.
    Process,
    /// A trace event of QEMU.
    Trace,
    /// A step began.
    Began,
    /// A step ended.
    Ended,
    /// A change of a link or a client.
    Change,
    /// A note for the user.
    Note,
}

/// A point in time by which attempts can be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mark {
    /// When.
    pub(crate) at: f64,
    /// What kind of mark it is.
    pub(crate) kind: MarkKind,
    /// A label.
    pub(crate) text: String,
    /// The index of its line in [`Attempt::lines`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
}

/// The kind of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MarkKind {
    /// A VM's migration has entered COLO.
    Colo,
    /// A VM has completed its first COLO checkpoint.
    Checkpoint,
    /// A `yank`.
    Yank,
    /// A failover was requested.
    Failover,
    /// The survivor's first tick after the failover.
    Tick,
    /// A signal was sent to a QEMU, one was ended by a signal, or exited unexpectedly.
    Signal,
    /// The state of a link changed.
    Link,
    /// A step failed.
    Failed,
}

/// Lines that were left out of a transcript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// How many.
    pub(crate) count: usize,
    /// Before which line.
    pub(crate) before: usize,
}

impl Attempt {
    /// Keeps only the steps, the exits and the notes of the transcript.
    pub(crate) fn without_traffic(&mut self) {
        let kept = |line: &Line| matches!(line.kind, Kind::Process | Kind::Began | Kind::Ended | Kind::Note);
        // A command and its reply go together, so that other partners need no new index.
        self.lines.retain(kept);
        for mark in &mut self.marks {
            mark.line = None;
        }
        self.left_out = LeftOut::default();
    }
}
