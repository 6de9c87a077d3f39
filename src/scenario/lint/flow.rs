//! Goes through a case in the order in which it will run, and tracks running VMs, captures and processes.

use std::collections::BTreeMap;

use super::names;
use super::places;
use super::state::{Provided, State, VmStatus};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, Severity};
use crate::scenario::model::{Block, Case, CaseStep, When, each_step};
use crate::step::{Action, Check, CheckKind, Condition, Needs, Qmp, SignalName, VmName, Wait};
use crate::template;
use crate::yaml::Node;

/// Reports steps that can never work in their place.
pub(in crate::scenario) fn check(case: &Case, diagnostics: &mut Diagnostics) {
    let mut captures = BTreeMap::new();
    let mut processes = BTreeMap::new();
    each_step(&case.steps, &mut |step| declared(step, &mut captures, &mut processes));
    each_step(&case.finally, &mut |step| declared(step, &mut captures, &mut processes));
    let mut flow = Flow { case, diagnostics, captures, processes, state: State::of(case) };
    flow.check_early_vms();
    flow.blocks(&case.steps);
    // The state after success; after a failure, that failure is reported, not this.
    flow.blocks(&case.finally);
    super::disks::check(case, diagnostics);
}

type Places = BTreeMap<String, Location>;

/// The message, the help, and a related place with its label.
type Wrong = (String, String, Option<(Location, &'static str)>);

/// Adds what a step captures and starts, each with the first place.
fn declared(step: &CaseStep, captures: &mut Places, processes: &mut Places) {
    for (name, at) in captured(step) {
        captures.entry(name).or_insert(at);
    }
    if let Action::Exec(exec) = &step.step.action
        && let Some(name) = &exec.background
    {
        processes.entry(name.clone()).or_insert_with(|| step.at.clone());
    }
}

/// What a step captures, with the place.
fn captured(step: &CaseStep) -> Vec<(String, Location)> {
    let named = step
        .step
        .capture
        .iter()
        .map(|name| (name.clone(), step.source.get("capture").map_or(&step.at, |node| &node.at).clone()));
    let mut all: Vec<(String, Location)> = named.collect();
    if let Action::Set(set) = &step.step.action {
        let node = places::action(step);
        all.extend(
            set.0
                .keys()
                .map(|name| (name.clone(), places::of_key(&step.at, node, std::slice::from_ref(name)))),
        );
    }
    all
}

pub(super) struct Flow<'c, 'd> {
    pub case: &'c Case,
    pub diagnostics: &'d mut Diagnostics,
    /// Everything that some step captures.
    pub captures: Places,
    /// Every background process that some step starts.
    pub processes: Places,
    pub state: State<'c>,
}

impl<'c> Flow<'c, '_> {
    /// Reports something that cannot work; a warning if the case must fail, since it may be intended.
    pub(super) fn impossible(&mut self, diagnostic: Diagnostic) {
        let severity = if self.case.must_fail.is_some() { Severity::Warning } else { diagnostic.severity };
        self.diagnostics.push(Diagnostic { severity, ..diagnostic });
    }

    fn blocks(&mut self, blocks: &'c [Block]) {
        for block in blocks {
            match block {
                Block::Step(step) => self.step(step),
                Block::RepeatUntil { at, until, when, steps, .. } => {
                    self.conditions(when, None, at);
                    let before = (!when.is_empty()).then(|| self.state.clone());
                    self.roles_of_a_round(steps);
                    self.blocks(steps);
                    self.step(until);
                    if let Some(before) = before {
                        self.state.join(before);
                    }
                }
            }
        }
    }

    /// The VM of a role depends on the number of rounds if a loop rebinds the role.
    fn roles_of_a_round(&mut self, steps: &'c [Block]) {
        each_step(steps, &mut |step| {
            if let Action::Rebind(rebind) = &step.step.action {
                for role in rebind.0.keys() {
                    self.state.roles.entry(role).and_modify(|vm| *vm = None);
                }
            }
        });
    }

    fn step(&mut self, step: &'c CaseStep) {
        self.conditions(&step.when, Some(&step.source), &step.at);
        if step.deferred {
            for (key, node) in step.source.entries() {
                if key.name != "when" {
                    self.templates(node, &step.when);
                }
            }
        }
        let must_fail = step.step.expect_error.is_some();
        if !must_fail {
            self.check_vms(step);
            self.check_needs(step);
        }
        if let Action::Start(start) = &step.step.action {
            for name in &start.0 {
                let name = self.state.actual(name).unwrap_or(name);
                if let Some(vm) =
                    self.case.vm_sources.get(name).filter(|_| self.case.deferred_vms.contains_key(name))
                {
                    self.templates(&vm.options, &step.when);
                }
            }
        }
        if !must_fail {
            self.apply_effects(step);
        }
        for (name, at) in captured(step) {
            self.state
                .captures
                .entry(name)
                .or_insert_with(|| Provided::under(at, &step.when))
                .also(&step.when);
        }
    }

    /// Checks the names in the conditions of a step.
    fn conditions(&mut self, when: &[When], source: Option<&Node>, at: &Location) {
        for (number, condition) in when.iter().enumerate() {
            let own = source.and_then(|source| source.get("when"));
            let own = own.filter(|node| node.text() == Some(&condition.template));
            let at = own.map_or(at, |node| &node.at);
            self.names_in(&condition.template, at, &when[..number]);
        }
    }

    /// Checks that each VM that the step needs is running.
    fn check_vms(&mut self, step: &'c CaseStep) {
        for VmName { vm, path, needs } in &step.step.vms {
            match step.step.action {
                Action::Start(_) => {
                    self.check_not_running(step, vm);
                    continue;
                }
                // A VM may get a role before it is started.
                Action::Rebind(_) => continue,
                _ => {}
            }
            let wrong = match self.state.vm_status(vm) {
                Some(VmStatus::NotStarted) => {
                    let message = format!("VM `{vm}` has not been started yet");
                    let help = format!("put `start: {vm}` before this step, or remove `start: false`");
                    let source = self.state.actual(vm).and_then(|vm| self.case.vm_sources.get(vm));
                    let said = source.and_then(|vm| vm.options.entry("start")).map(|(key, _)| key.at.clone());
                    Some((message, help, said.map(|at| (at, "not started because of this"))))
                }
                Some(VmStatus::Ended(at, how)) if *needs > Needs::Logs => {
                    let message = format!("VM `{vm}` has already ended");
                    let help = format!("move this step up, or restart the VM with `start: {vm}`");
                    Some((message, help, Some((at.clone(), *how))))
                }
                _ if *needs == Needs::Monitor => self.unconnected(vm),
                _ => None,
            };
            let Some((message, help, related)) = wrong else {
                continue;
            };
            let at = places::inside(&step.at, places::action(step), path, Some(vm));
            let diagnostic = Diagnostic::error(Code::Order, &at, message).help(help);
            self.impossible(match related {
                Some((place, what)) => diagnostic.related(&place, what),
                None => diagnostic,
            });
        }
    }

    /// A VM with `connect: false` can be queried only after a `connect` step.
    fn unconnected(&self, vm: &str) -> Option<Wrong> {
        let actual = self.state.actual(vm).filter(|vm| !self.state.connected.contains(vm))?;
        self.case.vms.get(actual).filter(|spec| !spec.connect)?;
        let source = self.case.vm_sources.get(actual);
        let said = source.and_then(|vm| vm.options.entry("connect")).map(|(key, _)| key.at.clone());
        Some((
            format!("VM `{vm}` is not connected yet"),
            format!("put `connect: {vm}` before this step, or remove `connect: false`"),
            said.map(|at| (at, "not connected because of this")),
        ))
    }

    fn check_not_running(&mut self, step: &'c CaseStep, vm: &str) {
        if matches!(self.state.vm_status(vm), Some(VmStatus::Running)) {
            let at = places::of(step, &[], Some(vm));
            let message = format!("VM `{vm}` is already running");
            let help = format!("give it `start: false`, or stop it first with `quit: {vm}`");
            self.impossible(Diagnostic::warning(Code::Order, &at, message).help(help));
        }
    }

    /// Checks that the client of the step has been started.
    fn check_client(&mut self, step: &'c CaseStep) {
        let (name, path): (_, &[&str]) = match &step.step.action {
            Action::Client(client) if !client.starts() => (Some(&client.name), &["name"]),
            Action::Wait(Wait { condition: Condition::Client(wanted), .. }) => {
                (Some(&wanted.client), &["client"])
            }
            Action::Check(Check { kind: CheckKind::Disk(check), .. }) => {
                (check.holds.client.as_ref(), &["holds", "client"])
            }
            Action::Check(Check { kind: CheckKind::Client(check), .. }) => (Some(&check.client), &["client"]),
            _ => return,
        };
        let Some(name) = name.filter(|name| !template::is_template(name)) else { return };
        let (asks, has_history) = match &step.step.action {
            Action::Check(Check { kind: CheckKind::Client(check), .. }) => {
                (check.known_at.is_some(), check.history.is_some())
            }
            _ => (false, false),
        };
        let (code, message, help) = match self.state.clients.get(name.as_str()) {
            None => {
                let message = format!("client `{name}` has not been started yet");
                (Code::Order, message, "move the step that starts it before this one")
            }
            Some(client) if has_history && !client.has_contents => {
                let message = format!("client `{name}` does nothing that the service holds");
                let help = "start it with `does: append`, `does: count` or `does: register`";
                (Code::Action, message, help)
            }
            Some(client) if asks && !client.draws => {
                let message = format!("client `{name}` draws no numbers, so a service has none to return");
                (Code::Action, message, "start it with `draws: true`")
            }
            Some(_) => return,
        };
        let at = places::of(step, path, None);
        self.impossible(Diagnostic::error(code, &at, message).help(help));
    }

    /// Checks what a step needs besides VMs: a process, a client, a migration.
    fn check_needs(&mut self, step: &'c CaseStep) {
        self.check_client(step);
        let needs_migration = match &step.step.action {
            Action::Wait(wait) => match &wait.condition {
                Condition::Process(wanted) => {
                    let name = &wanted.process;
                    let first = self.processes.get(name).filter(|_| !self.state.processes.contains_key(name));
                    if let Some(first) = first.cloned() {
                        let at = places::of(step, &["process"], None);
                        let message = format!("process `{name}` has not been started yet");
                        let diagnostic = Diagnostic::error(Code::Order, &at, message);
                        self.impossible(diagnostic.related(&first, "started here"));
                    }
                    None
                }
                Condition::Checkpoints(_) => Some("without one there are no checkpoints"),
                _ => None,
            },
            Action::Check(check) => match &check.kind {
                CheckKind::Progress(_) => Some("without one there is nothing to compare"),
                CheckKind::Client(check) if check.checkpoints.is_some() => {
                    Some("without one there are no checkpoints")
                }
                _ => None,
            },
            Action::Failover(_) => Some("without one there is nothing to take over"),
            _ => None,
        };
        let quiet = self.state.migrated || self.state.outside || self.case.must_fail.is_some();
        if let Some(why) = needs_migration.filter(|_| !quiet) {
            let message = format!("no earlier step starts a migration, and {why}");
            let help = "put a `migrate` step before it";
            self.diagnostics.push(Diagnostic::warning(Code::Order, &step.at, message).help(help));
        }
    }

    /// Updates the state for a step that succeeds.
    fn apply_effects(&mut self, step: &'c CaseStep) {
        let sure = step.when.is_empty();
        match &step.step.action {
            Action::Start(start) => start.0.iter().for_each(|vm| self.state.start(vm, sure)),
            Action::Connect(connect) => connect.0.iter().for_each(|vm| self.state.connect(vm)),
            Action::Quit(quit) => {
                quit.0.iter().for_each(|vm| self.state.end(vm, &step.at, "quit here", sure));
            }
            Action::Signal(signal) if !matches!(signal.send, SignalName::Stop | SignalName::Cont) => {
                signal.vm.iter().for_each(|vm| self.state.end(vm, &step.at, "killed here", sure));
            }
            Action::Qmp(qmp) => self.command(qmp, step, sure),
            Action::Hmp(hmp) => self.command(&hmp.as_qmp(), step, sure),
            Action::Rebind(rebind) => {
                self.state.rebind(rebind.0.iter().map(|(role, vm)| (role.as_str(), vm.as_str())), sure);
            }
            Action::Migrate(_) | Action::Protect(_) => self.state.migrated = true,
            Action::Wait(Wait { vm, condition: Condition::VmExit(_) }) => {
                vm.iter().for_each(|vm| self.state.end(vm, &step.at, "this waits for its end", sure));
            }
            Action::Client(client) if client.starts() => {
                let started = self.state.clients.entry(&client.name).or_default();
                started.draws |= client.draws == Some(true);
                started.has_contents |= client.has_contents();
            }
            Action::Exec(exec) => {
                // A program may do anything, including to processes.
                self.state.outside();
                if let Some(name) = &exec.background {
                    let there = || Provided::under(step.at.clone(), &step.when);
                    self.state.processes.entry(name.clone()).or_insert_with(there).also(&step.when);
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, qmp: &Qmp, step: &'c CaseStep, sure: bool) {
        let mut end = |why, sure| qmp.vm.iter().for_each(|vm| self.state.end(vm, &step.at, why, sure));
        match qmp.command() {
            "quit" | "q" => end("quit here", sure),
            // That depends on the guest.
            "system_powerdown" | "system_reset" => end("may end here", false),
            "migrate" | "migrate-incoming" | "migrate_incoming" => self.state.migrated = true,
            _ => {}
        }
    }

    /// Reports templates with `run` in VMs that are started before the first step.
    fn check_early_vms(&mut self) {
        for (name, vm) in &self.case.vm_sources {
            let early = self.case.vms.get(name).is_some_and(|spec| spec.start);
            if !early || !self.case.deferred_vms.contains_key(name) {
                continue;
            }
            let mut texts = Vec::new();
            names::run_texts(&vm.options, &mut texts);
            for node in texts {
                if node.text().is_some_and(|text| !template::run_names(text).is_empty()) {
                    let message =
                        format!("VM `{name}` is started before the first step, when `run` is empty");
                    let help =
                        format!("give it `start: false`, and add `start: {name}` where the value is known");
                    self.diagnostics.push(Diagnostic::error(Code::Deferred, &node.at, message).help(help));
                }
            }
        }
    }
}
