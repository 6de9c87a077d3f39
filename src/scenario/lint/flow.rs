//! Goes through a case in the order in which it will run, and tracks running VMs, captures and processes.

use std::collections::BTreeMap;

use super::places::{Part, each_run_text};
use super::state::{State, VmStatus, provide};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, Severity};
use crate::scenario::model::{Block, Case, CaseStep, When, all_steps};
use crate::step::{Action, Check, CheckKind, Condition, Needs, Qmp, SignalName, VmName, Wait};
use crate::template;
use crate::yaml::Node;

/// Reports steps that can never work in their place.
pub(in crate::scenario) fn check(case: &Case, diagnostics: &mut Diagnostics) {
    let (mut captures, mut processes) = (BTreeMap::new(), BTreeMap::new());
    for step in case.all_steps() {
        for (name, at) in captured(step) {
            captures.entry(name).or_insert(at);
        }
        if let Action::Exec(exec) = &step.step.action
            && let Some(name) = &exec.background
        {
            processes.entry(name.clone()).or_insert_with(|| step.at.clone());
        }
    }
    let mut flow = Flow { case, diagnostics, captures, processes, state: State::of(case) };
    flow.check_early_vms();
    flow.blocks(&case.steps);
    // The state after success; after a failure, that failure is reported, not this.
    flow.blocks(&case.finally);
    super::clock::check(case, diagnostics);
    super::disks::check(case, diagnostics);
}

/// What a step captures, with the place.
fn captured(step: &CaseStep) -> Vec<(String, Location)> {
    let place =
        |name: &String| (name.clone(), step.source.get("capture").map_or(&step.at, |node| &node.at).clone());
    let mut all: Vec<(String, Location)> = step.step.capture.iter().map(place).collect();
    if let Action::Set(set) = &step.step.action {
        all.extend(set.0.keys().map(|name| (name.clone(), Part::of(step).key(&[name]))));
    }
    all
}

pub(super) struct Flow<'c, 'd> {
    pub case: &'c Case,
    pub diagnostics: &'d mut Diagnostics,
    /// Everything that some step captures.
    pub captures: BTreeMap<String, Location>,
    /// Every background process that some step starts.
    pub processes: BTreeMap<String, Location>,
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
                Block::Parallel { at, when, branches, .. } => {
                    self.conditions(when, None, at);
                    let before = (!when.is_empty()).then(|| self.state.clone());
                    self.branches(branches);
                    if let Some(before) = before {
                        self.state.join(before);
                    }
                }
            }
        }
    }

    /// The order of steps in different branches is not known.
    fn branches(&mut self, branches: &'c [(String, Vec<Block>)]) {
        let before = self.state.clone();
        let effects: Vec<State<'c>> = branches
            .iter()
            .map(|(_, steps)| {
                self.state = before.clone();
                all_steps([steps.as_slice()]).into_iter().for_each(|step| self.apply_effects(step));
                std::mem::replace(&mut self.state, before.clone())
            })
            .collect();
        let mut after = Vec::new();
        for (own, (_, steps)) in branches.iter().enumerate() {
            let others = effects.iter().enumerate().filter(|(number, _)| *number != own);
            others.for_each(|(_, other)| self.state.beside(other));
            self.blocks(steps);
            after.push(std::mem::replace(&mut self.state, before.clone()));
        }
        for (state, effect) in after.into_iter().zip(&effects) {
            let others = effects.iter().filter(|other| !std::ptr::eq(*other, effect));
            self.state.after_branch(state, &before, effect, others.collect());
        }
    }

    /// The VM of a role depends on the number of rounds if a loop rebinds the role.
    fn roles_of_a_round(&mut self, steps: &'c [Block]) {
        for step in all_steps([steps]) {
            if let Action::Rebind(rebind) = &step.step.action {
                for role in rebind.0.keys() {
                    self.state.roles.entry(role).and_modify(|vm| *vm = None);
                }
            }
        }
    }

    fn step(&mut self, step: &'c CaseStep) {
        self.conditions(&step.when, Some(&step.source), &step.at);
        if step.deferred {
            let parts = step.source.entries().iter().filter(|(key, _)| key.name != "when");
            parts.for_each(|(_, node)| self.templates(node, &step.when));
        }
        let must_fail = step.step.expect_error.is_some();
        if !must_fail {
            self.check_vms(step);
            self.check_needs(step);
        }
        if let Action::Start(start) = &step.step.action {
            for name in &start.0 {
                let name = self.state.actual(name).unwrap_or(name);
                if let Some(vm) = self.case.vm_sources.get(name).filter(|vm| vm.template.is_some()) {
                    self.templates(&vm.options, &step.when);
                }
            }
        }
        if !must_fail {
            self.apply_effects(step);
        }
        for (name, at) in captured(step) {
            provide(&mut self.state.captures, &name, &at, &step.when);
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
            let wrong = |message: String, help: String| {
                Diagnostic::error(Code::Order, &Part::of(step).item(path, vm), message).help(help)
            };
            let wrong = match self.state.vm_status(vm) {
                status if matches!(step.step.action, Action::Start(_)) => {
                    if status != Some(&VmStatus::Running) {
                        continue;
                    }
                    let help = format!("give it `start: false`, or stop it first with `quit: {vm}`");
                    let severity = Severity::Warning;
                    Diagnostic { severity, ..wrong(format!("VM `{vm}` is already running"), help) }
                }
                // A VM may get a role before it is started.
                _ if matches!(step.step.action, Action::Rebind(_)) => continue,
                Some(VmStatus::NotStarted) => {
                    let help = format!("put `start: {vm}` before this step, or remove `start: false`");
                    let wrong = wrong(format!("VM `{vm}` has not been started yet"), help);
                    self.because_of(vm, "start", wrong, "not started because of this")
                }
                Some(VmStatus::Ended(at, how)) if *needs > Needs::Logs => {
                    let help = format!("move this step up, or restart the VM with `start: {vm}`");
                    wrong(format!("VM `{vm}` has already ended"), help).related(at, *how)
                }
                _ if *needs == Needs::Monitor && self.is_unconnected(vm) => {
                    let help = format!("put `connect: {vm}` before this step, or remove `connect: false`");
                    let wrong = wrong(format!("VM `{vm}` is not connected yet"), help);
                    self.because_of(vm, "connect", wrong, "not connected because of this")
                }
                _ => continue,
            };
            self.impossible(wrong);
        }
    }

    /// Adds the place of the VM's option that is the reason of an error.
    fn because_of(&self, vm: &str, option: &str, wrong: Diagnostic, what: &str) -> Diagnostic {
        let source = self.state.actual(vm).and_then(|vm| self.case.vm_sources.get(vm));
        match source.and_then(|vm| vm.options.entry(option)) {
            Some((key, _)) => wrong.related(&key.at, what),
            None => wrong,
        }
    }

    /// Whether a VM has `connect: false`, so that it can be queried only after a `connect` step, and there was none.
    fn is_unconnected(&self, vm: &str) -> bool {
        let actual = self.state.actual(vm).filter(|vm| !self.state.connected.contains(vm));
        actual.and_then(|vm| self.case.vms.get(vm)).is_some_and(|spec| !spec.connect)
    }

    /// Checks that the client of the step has been started.
    fn check_client(&mut self, step: &'c CaseStep) {
        let (mut asks, mut has_history) = (false, false);
        let (name, path): (&String, &[&str]) = match &step.step.action {
            Action::Client(client) if !client.starts() => (&client.name, &["name"]),
            Action::Wait(Wait { condition: Condition::Client(wanted), .. }) => (&wanted.client, &["client"]),
            Action::Check(Check { kind: CheckKind::Disk(check), .. }) => match &check.holds.client {
                Some(client) => (client, &["holds", "client"]),
                None => return,
            },
            Action::Check(Check { kind: CheckKind::Client(check), .. }) => {
                (asks, has_history) = (check.known_at.is_some(), check.history.is_some());
                (&check.client, &["client"])
            }
            _ => return,
        };
        let (code, message, help) = match self.state.clients.get(name.as_str()) {
            _ if template::is_template(name) => return,
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
        self.impossible(Diagnostic::error(code, &Part::of(step).place(path), message).help(help));
    }

    /// Checks what a step needs besides VMs: a process, a client, a migration.
    fn check_needs(&mut self, step: &'c CaseStep) {
        self.check_client(step);
        if let Action::Wait(Wait { condition: Condition::Process(wanted), .. }) = &step.step.action {
            let name = &wanted.process;
            let first = self.processes.get(name).filter(|_| !self.state.processes.contains_key(name));
            if let Some(first) = first {
                let at = Part::of(step).place(&["process"]);
                let message = format!("process `{name}` has not been started yet");
                let wrong = Diagnostic::error(Code::Order, &at, message).related(first, "started here");
                self.impossible(wrong);
            }
        }
        let quiet = self.state.migrated || self.state.outside || self.case.must_fail.is_some();
        if let Some(why) = needs_migration(&step.step.action).filter(|_| !quiet) {
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
                    provide(&mut self.state.processes, name, &step.at, &step.when);
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
        for (name, vm) in self.case.vm_sources.iter() {
            let early = self.case.vms.get(name).is_some_and(|spec| spec.start);
            if !early || vm.template.is_none() {
                continue;
            }
            each_run_text(&vm.options, &mut |text, node| {
                if !template::run_names(text).is_empty() {
                    let message =
                        format!("VM `{name}` is started before the first step, when `run` is empty");
                    let help =
                        format!("give it `start: false`, and add `start: {name}` where the value is known");
                    self.diagnostics.error(Code::Deferred, &node.at, message, help);
                }
            });
        }
    }
}

/// Why an action needs a migration before it, if it does.
fn needs_migration(action: &Action) -> Option<&'static str> {
    match action {
        Action::Wait(Wait { condition: Condition::Checkpoints(_), .. }) => {
            Some("without one there are no checkpoints")
        }
        Action::Check(Check { kind: CheckKind::Client(check), .. }) if check.checkpoints.is_some() => {
            Some("without one there are no checkpoints")
        }
        Action::Check(Check { kind: CheckKind::Progress(_), .. }) => {
            Some("without one there is nothing to compare")
        }
        Action::Failover(_) => Some("without one there is nothing to take over"),
        _ => None,
    }
}
