//! The recording of a straight run: what happened in a case, and in which of its steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::event::{CaseEnd, Event, StepOutcome, What};
use crate::scenario::model::Case;
use crate::step::{Action, Step};

/// A step of the straight run.
#[derive(Debug, Clone)]
pub(crate) struct TapeStep {
    /// Its number, from 1; 0 is the start of the VMs.
    pub number: usize,
    /// Its title.
    pub title: String,
    /// Its place in the file.
    pub place: String,
    /// How often a step at this place had ended before.
    pub occurrence: usize,
    /// Whether it was done: neither failed nor skipped.
    pub done: bool,
    /// When it began, in seconds of the run.
    pub began: f64,
    /// When it ended.
    pub ended: f64,
    /// The step of the case.
    pub step: Option<Arc<Step>>,
}

impl TapeStep {
    /// The key of its action.
    pub(crate) fn action(&self) -> &'static str {
        self.step.as_ref().map_or("", |step| step.action.key())
    }

    /// Whether it must fail: then it changes nothing.
    pub(crate) fn is_refused(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.expect_error.is_some())
    }

    /// Whether it only looks, and changes nothing.
    pub(crate) fn only_looks(&self) -> bool {
        let action = self.step.as_ref().map(|step| &step.action);
        let reads = matches!(action, Some(Action::Memory(memory)) if memory.write.is_none());
        reads || matches!(self.action(), "wait" | "check" | "sleep" | "record" | "set" | "rebind")
    }
}

/// What passed through a monitor or came from a guest.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When, in seconds of the run.
    pub at: f64,
    /// The VM.
    pub vm: String,
    /// The name of an event, the name of a command, or a serial line.
    pub name: String,
    /// The message; null for a serial line.
    pub message: Value,
}

/// The life of a VM's process.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// The VM.
    pub vm: String,
    /// When it was started.
    pub from: f64,
    /// When it ended, if it did.
    pub until: f64,
}

/// The use of a link or a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    /// When it was noted first.
    pub from: f64,
    /// When it was noted last; of a link, when a connection ended first.
    pub until: f64,
    /// How many bytes it has carried.
    pub bytes: u64,
    /// Whether a connection has ended.
    ended: bool,
}

impl Used {
    fn note(&mut self, at: f64, bytes: u64) {
        if self.until == 0.0 {
            // The first note.
            self.from = at;
        }
        if !self.ended {
            self.until = at;
        }
        self.bytes = bytes;
    }
}

/// The straight run of a case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape {
    /// The steps, the start of the VMs first.
    pub steps: Vec<TapeStep>,
    /// The processes.
    pub lives: Vec<Life>,
    /// The QMP events.
    pub events: Vec<Heard>,
    /// The QMP commands.
    pub commands: Vec<Heard>,
    /// The replies, by the name of their command; errors too.
    pub replies: Vec<Heard>,
    /// The serial lines.
    pub lines: Vec<Heard>,
    /// The links.
    pub links: BTreeMap<String, Used>,
    /// The clients.
    pub clients: BTreeMap<String, Used>,
    /// The result.
    pub end: Option<CaseEnd>,
    /// How long the whole case took, in seconds.
    pub seconds: f64,
}

impl Tape {
    /// Reads the events of one case.
    pub(crate) fn of(case: &Case, events: &[Event]) -> Self {
        let mut tape = Self::default();
        let by_place: BTreeMap<String, Arc<Step>> = case
            .all_steps()
            .into_iter()
            .map(|step| (step.at.to_string(), Arc::new(step.step.clone())))
            .collect();
        let mut commands: BTreeMap<(String, u64), String> = BTreeMap::new();
        let mut ended: BTreeMap<String, usize> = BTreeMap::new();
        for event in events {
            tape.take(event, &by_place, &mut commands, &mut ended);
        }
        tape
    }

    fn take(
        &mut self,
        Event { at, what, .. }: &Event,
        steps: &BTreeMap<String, Arc<Step>>,
        commands: &mut BTreeMap<(String, u64), String>,
        ended: &mut BTreeMap<String, usize>,
    ) {
        let heard = |vm: &String, name: &str, message: &Value| Heard {
            at: *at,
            vm: vm.clone(),
            name: name.to_owned(),
            message: message.clone(),
        };
        match what {
            What::CaseStarted { .. } => {
                self.step_began(*at, 0, "the VMs are started", "", None);
                self.steps[0].done = true;
            }
            What::VmSpawned { vm, .. } => {
                self.lives.push(Life { vm: vm.clone(), from: *at, until: f64::INFINITY });
            }
            What::VmExited { vm, .. } => {
                if let Some(life) = self.lives.iter_mut().rfind(|life| life.vm == *vm) {
                    life.until = *at;
                }
            }
            What::QmpCommand { vm, message } => {
                let name = ["execute", "exec-oob"].iter().find_map(|key| message[key].as_str()).unwrap_or("");
                commands.insert((vm.clone(), message["id"].as_u64().unwrap_or(0)), name.to_owned());
                self.commands.push(heard(vm, name, message));
            }
            What::QmpReply { vm, message } => {
                let id = message["id"].as_u64().unwrap_or(0);
                let name = commands.get(&(vm.clone(), id)).cloned().unwrap_or_default();
                self.replies.push(heard(vm, &name, message));
            }
            What::QmpEvent { vm, message } => {
                self.events.push(heard(vm, message["event"].as_str().unwrap_or(""), message));
            }
            What::SerialLine { vm, line } => self.lines.push(heard(vm, line, &Value::Null)),
            What::StepBegan { step, title, place, .. } => {
                self.step_began(*at, *step, title, place, steps.get(place).cloned());
            }
            What::StepEnded { step, outcome, .. } => self.step_ended(*at, *step, *outcome, ended),
            What::Link { link, happened, bytes, .. } => {
                let used = self.links.entry(link.clone()).or_default();
                used.note(*at, *bytes);
                used.ended |= happened.starts_with("connection ") && !happened.ends_with(" is up");
            }
            What::Client { client, happened, .. } => {
                let used = self.clients.entry(client.clone()).or_default();
                used.note(*at, 0);
                if !happened.starts_with("stopped") {
                    used.until = f64::INFINITY;
                }
            }
            What::CaseEnded(end) => {
                self.seconds = end.seconds;
                self.end = Some((**end).clone());
            }
            _ => {}
        }
    }

    fn step_began(&mut self, at: f64, number: usize, title: &str, place: &str, step: Option<Arc<Step>>) {
        if self.steps.len() == 1 {
            self.steps[0].ended = at;
        }
        self.steps.push(TapeStep {
            number,
            title: title.to_owned(),
            place: place.to_owned(),
            occurrence: 0,
            done: false,
            began: at,
            ended: at,
            step,
        });
    }

    fn step_ended(
        &mut self,
        at: f64,
        number: usize,
        outcome: StepOutcome,
        counts: &mut BTreeMap<String, usize>,
    ) {
        if let Some(own) = self.steps.iter_mut().rfind(|own| own.number == number) {
            own.ended = at;
            own.done = outcome == StepOutcome::Done;
            if own.done {
                let count = counts.entry(own.place.clone()).or_default();
                own.occurrence = *count;
                *count += 1;
            }
        }
    }

    /// The step during which something happened at this time.
    pub(crate) fn step_at(&self, at: f64) -> usize {
        self.steps.partition_point(|step| step.began <= at).saturating_sub(1)
    }

    /// Whether a VM is alive at this time, and for a moment longer.
    pub(crate) fn is_alive(&self, vm: &str, at: f64) -> bool {
        self.lives.iter().any(|life| life.vm == vm && life.from <= at && at < life.until - 0.001)
    }
}

/// The VMs that an action names, roles as the VMs that they stand for at first.
pub(crate) fn named(case: &Case, action: &Action) -> Vec<String> {
    let names = action.vm_names().into_iter().map(|name| name.vm);
    names.map(|name| case.roles.get(&name).cloned().unwrap_or(name)).collect()
}
