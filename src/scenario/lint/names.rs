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
    /// Whether the action needs it alive; else its logs are enough.
    pub alive: bool,
}

impl Named<'_> {
    /// Whether the action speaks QMP with it.
    pub fn by_monitor(&self, action: &Action) -> bool {
        match action {
            Action::Quit(_)
            | Action::Qmp(_)
            | Action::Capabilities(_)
            | Action::Parameters(_)
            | Action::Failover(_)
            | Action::Protect(_)
            | Action::Yank(_) => true,
            // The other side may be told where to connect to without being asked.
            Action::Migrate(_) => self.path == ["from"],
            Action::Wait(wait) => matches!(
                wait.condition(),
                Ok(Condition::Status(_) | Condition::Migration { .. } | Condition::Query { .. })
            ),
            Action::Check(check) => check.kind() == Ok(CheckKind::Query),
            _ => false,
        }
    }
}

/// The VMs that an action names.
pub(super) fn vms(action: &Action) -> Vec<Named<'_>> {
    match action {
        Action::Start(start) => all(&start.0.0, &[], false),
        Action::Quit(quit) => all(&quit.0.0, &[], true),
        Action::Connect(connect) => all(&connect.0.0, &[], true),
        Action::Signal(signal) => all(&signal.vm.0, &["vm"], true),
        Action::Qmp(qmp) => all(&qmp.vm.0, &["vm"], true),
        Action::Capabilities(capabilities) => all(&capabilities.vm.0, &["vm"], true),
        Action::Parameters(parameters) => all(&parameters.vm.0, &["vm"], true),
        Action::Migrate(migrate) => {
            let from = one(&migrate.from, &["from"]);
            std::iter::once(from).chain(migrate.to.as_ref().map(|to| one(to, &["to"]))).collect()
        }
        Action::Wait(wait) => {
            let vms = wait.vm.as_ref().map_or(&[][..], |vms| &vms.0);
            all(vms, &["vm"], wait_needs_life(wait))
        }
        Action::Check(check) => {
            let path: Path = if check.vm.is_some() { &["vm"] } else { &["stderr", "vm"] };
            let mut named = all(check.vms(), path, check_needs_life(check));
            // What it said it wrote is in its log.
            let held = check.holds.as_ref().and_then(|holds| holds.vm.as_ref());
            named.extend(held.map(|vm| Named { vm, path: &["holds", "vm"], alive: false }));
            named
        }
        Action::Failover(failover) => vec![one(&failover.survivor, &["survivor"])],
        Action::Protect(protect) => {
            vec![one(&protect.primary, &["primary"]), one(&protect.secondary, &["secondary"])]
        }
        Action::Yank(yank) => vec![one(&yank.vm, &["vm"])],
        Action::Memory(memory) => vec![one(&memory.vm, &["vm"])],
        Action::Fd(fd) => fd.vm.iter().map(|vm| one(vm, &["vm"])).collect(),
        Action::Rebind(roles) => roles.0.values().map(|vm| Named { vm, path: &[], alive: false }).collect(),
        Action::Link(_) | Action::Client(_) | Action::Exec(_) | Action::Set(_) | Action::Sleep(_) => {
            Vec::new()
        }
    }
}

type Path = &'static [&'static str];

fn all<'a>(vms: &'a [String], path: Path, alive: bool) -> Vec<Named<'a>> {
    vms.iter().map(|vm| Named { vm, path, alive }).collect()
}

fn one<'a>(vm: &'a str, path: Path) -> Named<'a> {
    Named { vm, path, alive: true }
}

/// What was logged before a VM ended can still be waited for, from the cursor on.
fn wait_needs_life(wait: &Wait) -> bool {
    !matches!(
        wait.condition(),
        Err(_)
            | Ok(Condition::Exit(_)
                | Condition::Process { .. }
                | Condition::Client { .. }
                | Condition::Event { fresh: false, .. }
                | Condition::Serial { fresh: false, .. })
    )
}

fn check_needs_life(check: &Check) -> bool {
    matches!(check.kind(), Ok(CheckKind::Memory | CheckKind::Query))
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
