//! What happened in one round of a case, as a sequence of marks on one clock.

use std::collections::HashMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;
use serde_json::Value;

use super::Align;
use crate::event::{Event, StepOutcome, What};
use crate::guest::ticker::Line;
use crate::report::record::Kept;
use crate::report::{signature, text};
use crate::session::checkpoints::Tracker;
use crate::session::log::QmpEvent;

/// How many marks of a round are kept from its start, and from its end.
const KEPT: usize = 1_000;
/// How many different marks are known; others are ignored.
const NAMES: usize = 20_000;
/// How many commands of a VM may wait for their reply.
const SENT: usize = 1_000;
/// The width of a text in a mark's name, in columns.
const WIDTH: usize = 80;

/// What differs between rounds in a step's title: process ids, ports and paths that are only known in the run.
static VARIES: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\d{4,}|/(tmp|var|run|dev/shm)/[^\s'`\x22:;,)]+";
    Regex::new(pattern).expect("the expression is right")
});

/// The number of a mark's name.
pub(super) type Id = u32;

/// Something that happened, in seconds since the start of the round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub at: f64,
    pub name: Id,
}

/// The name of a mark: what happened, without what differs in each round.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// The VM, link or client; empty for a step.
    pub lane: String,
    /// What rounds can be aligned at.
    pub align: Option<Align>,
}

/// A name that is not known.
static NONE: Name = Name { lane: String::new(), align: None };

/// The names of all marks, by their text.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(IndexMap<String, Name>);

impl Names {
    fn id(&mut self, text: String, lane: &str, align: Option<Align>) -> Option<Id> {
        if let Some(known) = self.0.get_index_of(&text) {
            return Some(known as Id);
        }
        let name = Name { lane: lane.to_owned(), align };
        (self.0.len() < NAMES).then(|| self.0.insert_full(text, name).0 as Id)
    }

    /// The text and the name with this number.
    pub(super) fn get(&self, id: Id) -> (&str, &Name) {
        self.0.get_index(id as usize).map_or(("", &NONE), |(text, name)| (text.as_str(), name))
    }
}

/// How a round failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure {
    /// When, in seconds since its start: the step failed, or a VM ended unexpectedly.
    pub at: f64,
    /// The step that failed, if one did.
    pub step: Option<Step>,
}

/// A step of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The marks of its start and its end.
    pub marks: [Id; 2],
    /// How many steps with this name have started, with this one.
    pub count: usize,
    /// When it started, in seconds since the start of the round.
    pub began: f64,
}

/// Turns the events of a round into marks.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    began: f64,
    /// With whether the time is QEMU's.
    marks: Kept<(Mark, bool)>,
    /// The smallest delay between QEMU's time stamp of an event and the runner's: the offset of the two clocks.
    offset: Option<f64>,
    /// The commands without a reply, by VM and id.
    sent: HashMap<(String, String), String>,
    trackers: HashMap<String, Tracker>,
    /// The VMs whose next tick is a mark, and its name.
    ticks: HashMap<String, String>,
    steps: HashMap<usize, Step>,
    counts: HashMap<Id, usize>,
    failure: Option<Failure>,
    has_failed_step: bool,
}

impl Recorder {
    pub(super) fn new(began: f64) -> Self {
        Self {
            began,
            marks: Kept::of(KEPT),
            offset: None,
            sent: HashMap::new(),
            trackers: HashMap::new(),
            ticks: HashMap::new(),
            steps: HashMap::new(),
            counts: HashMap::new(),
            failure: None,
            has_failed_step: false,
        }
    }

    /// Whether a step of the round failed.
    pub(super) const fn has_failed_step(&self) -> bool {
        self.has_failed_step
    }

    pub(super) fn take(&mut self, names: &mut Names, event: &Event) {
        let at = event.at;
        match &event.what {
            What::VmSpawned { vm, .. } => {
                self.trackers.remove(vm);
                self.ticks.insert(vm.clone(), format!("the first tick of `{vm}`"));
                self.put(names, at, format!("the start of `{vm}`"), vm, None);
            }
            What::VmExited { vm, how, expected } => {
                if !expected {
                    self.failed(at);
                }
                self.put(names, at, format!("the exit of `{vm}` ({how})"), vm, None);
            }
            What::QmpCommand { vm, message } => self.command(names, at, vm, message),
            What::QmpReply { vm, message } => {
                let command = self.sent.remove(&(vm.clone(), message["id"].to_string()));
                if let Some(why) = message["error"]["desc"].as_str() {
                    let command = command.unwrap_or_default();
                    let text = format!("the error of `{command}` on `{vm}` ({})", brief(why));
                    self.put(names, at, text, vm, None);
                }
            }
            What::QmpEvent { vm, message } => self.event(names, at, vm, message),
            What::SerialLine { vm, line } => {
                // Looks at the line only if a tick is awaited.
                if self.ticks.contains_key(vm)
                    && matches!(Line::parse(line.as_bytes()), Some(Line::Tick { .. }))
                    && let Some(text) = self.ticks.remove(vm)
                {
                    self.put(names, at, text, vm, None);
                }
            }
            What::StepBegan { step, title, .. } => self.step_began(names, at, *step, title),
            What::StepEnded { step, outcome, .. } => self.step_ended(names, at, *step, *outcome),
            What::Link { link, happened, .. } => {
                self.put(names, at, format!("link `{link}`: {}", brief(happened)), link, None);
            }
            What::Client { client, happened, .. } => {
                self.put(names, at, format!("client `{client}`: {}", brief(happened)), client, None);
            }
            _ => {}
        }
    }

    fn command(&mut self, names: &mut Names, at: f64, vm: &str, message: &Value) {
        let command = message["execute"].as_str().or_else(|| message["exec-oob"].as_str());
        let command = command.unwrap_or_default();
        if self.sent.len() < SENT {
            self.sent.insert((vm.to_owned(), message["id"].to_string()), command.to_owned());
        }
        // How often a query is repeated says nothing, nor does the greeting.
        if command.starts_with("query-") || command == "qmp_capabilities" {
            return;
        }
        let align = match command {
            "x-colo-lost-heartbeat" => Some(Align::Failover),
            "yank" => Some(Align::Yank),
            "migrate" => Some(Align::Migration),
            _ => None,
        };
        if align == Some(Align::Failover) {
            self.ticks.insert(vm.to_owned(), format!("the first tick of `{vm}` after the failover"));
        }
        self.put(names, at, format!("`{command}` to `{vm}`"), vm, align);
    }

    fn event(&mut self, names: &mut Names, at: f64, vm: &str, message: &Value) {
        let event = QmpEvent::new(message);
        // A message without a time stamp has only the runner's.
        let is_stamped = event.emitted > 0.0;
        if is_stamped {
            let late = at - event.emitted;
            self.offset = Some(self.offset.map_or(late, |offset| offset.min(late)));
        }
        let tracker = self.trackers.entry(vm.to_owned()).or_default();
        let checkpoint = if tracker.take(&event).is_some() { " (a checkpoint is complete)" } else { "" };
        let status = event.migration_status();
        let align = (status == Some("colo")).then_some(Align::Colo);
        let more = status.map_or_else(|| words(&event.data), |status| format!(" {status}"));
        let text = format!("{}{more} of `{vm}`{checkpoint}", event.name);
        let at = if is_stamped { event.emitted } else { at };
        self.put_at(names, (at, is_stamped), text, vm, align);
    }

    fn step_began(&mut self, names: &mut Names, at: f64, number: usize, title: &str) {
        let title = text::one_line(title);
        let title = text::fit(&VARIES.replace_all(&title, "N"), WIDTH).into_owned();
        let start = names.id(format!("the start of step `{title}`"), "", None);
        let (Some(start), Some(end)) = (start, names.id(format!("the end of step `{title}`"), "", None))
        else {
            return;
        };
        let count = self.counts.entry(start).or_default();
        *count += 1;
        let step = Step { marks: [start, end], count: *count, began: at - self.began };
        self.steps.insert(number, step);
        self.marks.push((Mark { at, name: start }, false));
    }

    fn step_ended(&mut self, names: &mut Names, at: f64, number: usize, outcome: StepOutcome) {
        let Some(step) = self.steps.remove(&number) else { return };
        match outcome {
            StepOutcome::Done => self.marks.push((Mark { at, name: step.marks[1] }, false)),
            StepOutcome::Skipped => {
                let (text, _) = names.get(step.marks[0]);
                let text = text.replacen("the start of", "the skip of", 1);
                self.put(names, at, text, "", None);
            }
            StepOutcome::Failed if !self.has_failed_step => {
                self.has_failed_step = true;
                self.failed(at);
                if let Some(failure) = &mut self.failure {
                    failure.step = Some(step);
                }
            }
            StepOutcome::Failed | StepOutcome::Cancelled => {}
        }
    }

    fn failed(&mut self, at: f64) {
        let at = at - self.began;
        self.failure.get_or_insert(Failure { at, step: None });
    }

    fn put(&mut self, names: &mut Names, at: f64, text: String, lane: &str, align: Option<Align>) {
        self.put_at(names, (at, false), text, lane, align);
    }

    fn put_at(
        &mut self,
        names: &mut Names,
        (at, by_qemu): (f64, bool),
        text: String,
        lane: &str,
        align: Option<Align>,
    ) {
        if let Some(name) = names.id(text, lane, align) {
            self.marks.push((Mark { at, name }, by_qemu));
        }
    }

    /// The marks in order, on the runner's clock, and the failure of a round that ended then.
    pub(super) fn end(self, at: f64) -> (Vec<Mark>, Failure) {
        let (began, offset) = (self.began, self.offset.unwrap_or_default());
        let on_one_clock = |(mark, by_qemu): &(Mark, bool)| {
            let at = mark.at + if *by_qemu { offset } else { 0.0 } - began;
            Mark { at, ..*mark }
        };
        let mut marks: Vec<Mark> = self.marks.iter().map(on_one_clock).collect();
        marks.retain(|mark| mark.at.is_finite());
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));
        marks.shrink_to_fit();
        (marks, self.failure.unwrap_or(Failure { at: at - began, step: None }))
    }
}

/// The words in an event's data. Numbers are left out: they differ in each round.
fn words(data: &Value) -> String {
    let word = |(key, value): (&String, &Value)| match value {
        Value::String(word) => Some(format!("{key}={}", brief(word))),
        Value::Bool(_) => Some(format!("{key}={value}")),
        _ => None,
    };
    let words: Vec<String> = data.as_object().into_iter().flatten().filter_map(word).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(" ")) }
}

/// A short text without numbers, times and addresses.
fn brief(what: &str) -> String {
    text::fit(&signature(None, what), WIDTH).into_owned()
}
