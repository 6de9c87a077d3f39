//! A trial: one sabotage at one site, done to a running case.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::process::Signal;
use serde_json::Value;

use super::blow::Blow;
use super::sabotage::{Act, Message, Sabotage};
use super::site::{Site, Trigger, of_event};
use crate::qemu::qmp_filter::{Filter, Late, Said};
use crate::session::interference::{Flow, Handle, Interference, Operation, Pending};

/// The straight run: nothing is sabotaged, but everything is as in a trial.
#[derive(Debug)]
pub(crate) struct Straight;

impl Interference for Straight {}

/// One sabotage at one site.
#[derive(Debug)]
pub(crate) struct Trial {
    sabotage: Sabotage,
    site: Site,
    /// The time of the run.
    clock: std::time::Instant,
    state: Mutex<State>,
    own: Weak<Self>,
}

/// What a trial has done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Done {
    /// Its moment did not come.
    NotYet,
    /// It was done, at this time in seconds of the run.
    At(f64),
    /// It could not be done.
    Failed(String),
}

#[derive(Debug)]
struct State {
    machines: BTreeMap<String, Handle>,
    /// How often a step at the site's place has ended.
    ended: usize,
    /// Whether the site's step has ended.
    armed: bool,
    /// How many of the site's events came before that.
    earlier: usize,
    done: Done,
    /// What a filter keeps.
    kept: Value,
    /// The commands that await a reply, by VM and id.
    commands: BTreeMap<(String, u64), String>,
    /// The begun serial line.
    line: Vec<u8>,
    over: Arc<AtomicBool>,
}

impl State {
    fn new() -> Self {
        Self {
            machines: BTreeMap::new(),
            ended: 0,
            armed: false,
            earlier: 0,
            done: Done::NotYet,
            kept: Value::Null,
            commands: BTreeMap::new(),
            line: Vec::new(),
            over: Arc::default(),
        }
    }
}

impl Trial {
    /// A trial; `clock` is the start of the run.
    pub(crate) fn new(sabotage: Sabotage, site: Site, clock: std::time::Instant) -> Arc<Self> {
        let state = Mutex::new(State::new());
        Arc::new_cyclic(|own| Self { sabotage, site, clock, state, own: own.clone() })
    }

    /// What it has done in the last attempt.
    pub(crate) fn done(&self) -> Done {
        self.state().done.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the sabotage was done, at its first time.
    fn mark(&self, state: &mut State) {
        if state.done == Done::NotYet {
            state.done = Done::At(self.clock.elapsed().as_secs_f64());
        }
    }

    /// Whether a change is to be made now.
    fn is_due(state: &State, once: bool) -> bool {
        state.armed && !(once && state.done != Done::NotYet)
    }

    /// The strike, if it is one that can be done now.
    fn blow(&self, state: &mut State) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Act::Strike(strike) = self.sabotage.act else { return None };
        if state.done != Done::NotYet {
            return None;
        }
        let Some(handle) = state.machines.get(&self.site.target).cloned() else {
            state.done = Done::Failed(format!("there is no VM `{}` at this moment", self.site.target));
            return None;
        };
        self.mark(state);
        let over = Arc::clone(&state.over);
        let (blow, own) = (Blow { site: self.site.clone(), handle, over }, self.own.clone());
        Some(async move {
            let struck = strike(blow).await;
            if let (Err(why), Some(trial)) = (struck, own.upgrade()) {
                trial.state().done = Done::Failed(why);
            }
        })
    }

    fn heard(&self, vm: &str, value: &Value) -> Option<Vec<Late>> {
        let mut state = self.state();
        let command = value["id"].as_u64().and_then(|id| state.commands.remove(&(vm.to_owned(), id)));
        if vm != self.site.target {
            return None;
        }
        if !state.armed
            && matches!(self.site.trigger, Trigger::Event(_))
            && of_event(value) == self.site.detail
        {
            state.earlier += 1;
        }
        let Act::Filter { heard: Some(heard), once, .. } = self.sabotage.act else { return None };
        if !Self::is_due(&state, once) {
            return None;
        }
        let message = Message { value, command: command.as_deref(), kept: &mut state.kept };
        let changed = heard(&self.site, message)?;
        self.mark(&mut state);
        Some(changed)
    }

    fn said(&self, vm: &str, value: &Value) -> Option<Said> {
        let name = ["execute", "exec-oob"].iter().find_map(|key| value[*key].as_str())?;
        let mut state = self.state();
        if let Some(id) = value["id"].as_u64() {
            state.commands.insert((vm.to_owned(), id), name.to_owned());
        }
        let Act::Filter { said: Some(said), once, .. } = self.sabotage.act else { return None };
        if vm != self.site.target || !Self::is_due(&state, once) {
            return None;
        }
        let changed = said(&self.site, name, value, &mut state.kept)?;
        self.mark(&mut state);
        Some(changed)
    }

    /// Serial output through a change of whole lines.
    fn lines(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Act::Lines { change, once } = self.sabotage.act else { return None };
        let mut state = self.state();
        state.line.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(end) = state.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = state.line.drain(..=end).collect();
            let due = Self::is_due(&state, once);
            // The guest's first tick is kept, for a change that repeats it.
            let kept = &mut state.kept;
            let changed = if due { change(&self.site, &line, kept) } else { None };
            match changed {
                Some(lines) => {
                    self.mark(&mut state);
                    out.extend(lines.concat());
                }
                None => {
                    if state.kept.is_null() && line.starts_with(b"tick ") {
                        state.kept = Value::String(String::from_utf8_lossy(&line).into_owned());
                    }
                    out.extend(line);
                }
            }
        }
        Some(out)
    }
}

/// The monitor of a VM in a trial.
struct Monitor {
    trial: Arc<Trial>,
    vm: String,
}

impl Filter for Monitor {
    fn heard(&self, message: &Value) -> Option<Vec<Late>> {
        self.trial.heard(&self.vm, message)
    }

    fn said(&self, message: &Value) -> Option<Said> {
        self.trial.said(&self.vm, message)
    }
}

impl Interference for Trial {
    fn begins(&self) {
        *self.state() = State::new();
    }

    fn started(&self, handle: Handle) {
        self.state().machines.insert(handle.plan.name.clone(), handle);
    }

    fn monitor(&self, vm: &str) -> Option<Box<dyn Filter>> {
        Some(Box::new(Monitor { trial: self.own.upgrade()?, vm: vm.to_owned() }))
    }

    fn serial(&self, vm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        if vm == self.site.target { self.lines(bytes) } else { None }
    }

    fn bytes(&self, link: &str, direction: usize, bytes: &mut Vec<u8>) -> Flow {
        let Act::Bytes { change, once } = self.sabotage.act else { return Flow::Pass };
        let mut state = self.state();
        if link != self.site.target || !Self::is_due(&state, once) {
            return Flow::Pass;
        }
        match change(&self.site, direction, bytes) {
            Some(flow) => {
                self.mark(&mut state);
                flow
            }
            None => Flow::Pass,
        }
    }

    fn operation(&self, client: &str) -> Operation {
        let Act::Operation(operation) = self.sabotage.act else { return Operation::Straight };
        let mut state = self.state();
        if client != self.site.target || !Self::is_due(&state, true) {
            return Operation::Straight;
        }
        self.mark(&mut state);
        operation
    }

    fn after_step<'a>(&'a self, place: &'a str) -> Pending<'a> {
        Box::pin(async move {
            let blow = {
                let mut state = self.state();
                if place != self.site.after.place || state.armed {
                    return;
                }
                // An event that came earlier than in the straight run is over; the next one is another.
                state.armed = state.ended == self.site.after.occurrence && state.earlier <= self.site.earlier;
                state.ended += 1;
                if state.armed && self.site.trigger == Trigger::Now { self.blow(&mut state) } else { None }
            };
            if let Some(blow) = blow {
                blow.await;
            }
        })
    }

    fn over(&self) {
        let mut state = self.state();
        state.armed = false;
        state.over.store(true, Ordering::Relaxed);
        // A frozen process could not be asked to quit.
        let each: Vec<Arc<OwnedFd>> = state.machines.values().map(|one| Arc::clone(&one.pidfd)).collect();
        if let Act::Strike(_) = self.sabotage.act {
            each.iter().for_each(|pidfd| {
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::CONT);
            });
        }
    }
}
