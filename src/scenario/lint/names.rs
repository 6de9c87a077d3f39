//! The names that a step refers to.

use serde_json::Value;

use crate::scenario::source::{Kind, Node};
use crate::step::{Action, Check, CheckKind, Condition, Wait};
use crate::template;

/// A VM that an action names.
pub(super) struct Named<'a> {
    pub vm: &'a str,
    /// The keys that lead to its name, from the action's value on.
    pub path: Path,
    /// What of it the action needs.
    pub needs: Needs,
}

/// What an action needs of a VM; each has what stands before it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// What it has logged, which outlives it.
    Logs,
    /// That it is alive.
    Process,
    /// That it can be asked, and tells its events: the runner is connected to its monitor.
    Monitor,
}

/// The VMs that an action names.
pub(super) fn vms(action: &Action) -> Vec<Named<'_>> {
    match action {
        Action::Start(start) => all(&start.0.0, &[], Needs::Logs),
        Action::Quit(quit) => all(&quit.0.0, &[], Needs::Monitor),
        Action::Connect(connect) => all(&connect.0.0, &[], Needs::Process),
        Action::Witness(witness) => all(&witness.0.0, &[], Needs::Process),
        Action::Signal(signal) => all(&signal.vm.0, &["vm"], Needs::Process),
        Action::Qmp(qmp) => all(&qmp.vm.0, &["vm"], Needs::Monitor),
        Action::Hmp(hmp) => all(&hmp.vm.0, &["vm"], Needs::Monitor),
        Action::Capabilities(capabilities) => all(&capabilities.vm.0, &["vm"], Needs::Monitor),
        Action::Parameters(parameters) => all(&parameters.vm.0, &["vm"], Needs::Monitor),
        Action::Migrate(migrate) => {
            let from = one(&migrate.from, &["from"], Needs::Monitor);
            // It may be told where to connect to without being asked.
            let to = migrate.to.as_ref().map(|to| one(to, &["to"], Needs::Process));
            std::iter::once(from).chain(to).collect()
        }
        Action::Wait(wait) => {
            let vms = wait.vm.as_ref().map_or(&[][..], |vms| &vms.0);
            all(vms, &["vm"], of_wait(wait))
        }
        Action::Check(check) => {
            let path: Path = if check.vm.is_some() { &["vm"] } else { &["stderr", "vm"] };
            let mut named = all(check.vms(), path, of_check(check));
            // What it said it wrote is in its log.
            let held = check.holds.as_ref().and_then(|holds| holds.vm.as_ref());
            named.extend(held.map(|vm| Named { vm, path: &["holds", "vm"], needs: Needs::Logs }));
            named
        }
        Action::Failover(failover) => vec![one(&failover.survivor, &["survivor"], Needs::Monitor)],
        Action::Protect(protect) => {
            let side = |vm, path| one(vm, path, Needs::Monitor);
            vec![side(&protect.primary, &["primary"]), side(&protect.secondary, &["secondary"])]
        }
        Action::Yank(yank) => vec![one(&yank.vm, &["vm"], Needs::Monitor)],
        Action::Memory(memory) => vec![one(&memory.vm, &["vm"], Needs::Process)],
        Action::Fd(fd) => fd.vm.iter().map(|vm| one(vm, &["vm"], Needs::Monitor)).collect(),
        Action::Rebind(roles) => {
            roles.0.values().map(|vm| Named { vm, path: &[], needs: Needs::Logs }).collect()
        }
        Action::Link(_) | Action::Client(_) | Action::Exec(_) | Action::Set(_) | Action::Sleep(_) => {
            Vec::new()
        }
    }
}

type Path = &'static [&'static str];

fn all<'a>(vms: &'a [String], path: Path, needs: Needs) -> Vec<Named<'a>> {
    vms.iter().map(|vm| Named { vm, path, needs }).collect()
}

fn one<'a>(vm: &'a str, path: Path, needs: Needs) -> Named<'a> {
    Named { vm, path, needs }
}

/// What was logged before a VM ended can still be waited for, from the cursor on.
fn of_wait(wait: &Wait) -> Needs {
    match wait.condition() {
        Err(_)
        | Ok(
            Condition::Exit(_)
            | Condition::Process { .. }
            | Condition::Client { .. }
            | Condition::Event { fresh: false, .. }
            | Condition::Serial { fresh: false, .. },
        ) => Needs::Logs,
        Ok(Condition::Serial { .. } | Condition::Ticks(_) | Condition::Memory(_)) => Needs::Process,
        Ok(
            Condition::Event { .. }
            | Condition::Checkpoints(_)
            | Condition::Migration { .. }
            | Condition::Status(_)
            | Condition::Query { .. }
            | Condition::Job { .. },
        ) => Needs::Monitor,
    }
}

fn of_check(check: &Check) -> Needs {
    match check.kind() {
        Ok(CheckKind::Memory | CheckKind::Query) => Needs::Monitor,
        _ => Needs::Logs,
    }
}

/// What a template finds under `run`: the names that lead there, `run` left out.
pub(super) fn run_names(text: &str) -> Vec<Vec<String>> {
    let mut names = template::run_names(text);
    names.iter_mut().for_each(|path| {
        path.remove(0);
    });
    names
}

/// The templates in a part of a file that name `run`.
pub(super) fn late_texts<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &node.kind {
        Kind::Scalar(Value::String(text)) if template::is_template(text) && text.contains("run") => {
            found.push(node);
        }
        Kind::Scalar(_) => {}
        Kind::Seq(items) => items.iter().for_each(|item| late_texts(item, found)),
        Kind::Map(entries) => entries.iter().for_each(|(_, value)| late_texts(value, found)),
    }
}
