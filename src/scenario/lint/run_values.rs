//! Checks the names under `run` in templates against what is known when they are filled in.

use std::collections::BTreeSet;

use super::flow::Flow;
use super::places::{each_path, each_run_text};
use super::state::VmStatus;
use crate::diagnostic::{Code, Diagnostic, Location, suggest};
use crate::scenario::model::When;
use crate::scenario::steps::Started;
use crate::yaml::Node;

/// The names under `run`.
pub(crate) const ROOTS: &[&str] = &["captures", "vm", "role", "process", "link", "client"];

/// The fields of a value of this root: of a VM that was started, a background process, a client, a link.
pub(crate) fn fields(root: &str) -> &'static [&'static str] {
    match root {
        "vm" => &["pid", "address", "version", "accel", "qemu", "argv", "disk"],
        "process" => &["pid"],
        "client" => &[
            "lines",
            "reconnects",
            "longest_gap",
            "acknowledged",
            "wrong",
            "refused",
            "unknown",
            "latency",
            "latency_max",
            "sent",
        ],
        "link" => &["state", "connections", "alive", "intact", "bytes", "bytes_there", "bytes_back", "each"],
        _ => &[],
    }
}

impl Flow<'_, '_> {
    /// Checks the templates of a part of a file, which a step with these conditions fills in.
    pub(super) fn templates(&mut self, node: &Node, when: &[When]) {
        each_run_text(node, &mut |text, node| self.names_in(text, &node.at, when));
    }

    pub(super) fn names_in(&mut self, text: &str, at: &Location, when: &[When]) {
        each_path(text, "run", |path| match path {
            ["captures", name, ..] => self.capture(name, at, when),
            ["role", name] => _ = self.exists("role", name, at),
            [root @ ("vm" | "process" | "link" | "client"), name, rest @ ..] => {
                self.thing(root, name, rest, at);
            }
            [root, ..] if !ROOTS.contains(root) => {
                self.unknown(at, format!("unknown name `run.{root}`"), suggest(root, ROOTS));
            }
            _ => {}
        });
    }

    fn unknown(&mut self, at: &Location, message: String, help: String) {
        self.diagnostics.error(Code::UnknownName, at, message, help);
    }

    /// Reports a name that the case does not have. Returns whether it has it.
    fn exists(&mut self, root: &str, name: &str, at: &Location) -> bool {
        let case = self.case;
        let in_case = |what: &str| format!("there is no {what} `{name}` in this case");
        let clients = if root == "client" { Started::of(case).clients } else { BTreeSet::new() };
        let (message, known): (_, Vec<&String>) = match root {
            "vm" if case.roles.contains_key(name) => return true,
            "vm" => (in_case("VM"), case.vms.keys().collect()),
            "role" => (in_case("role"), case.roles.keys().collect()),
            "link" => (in_case("link"), case.net.links.keys().collect()),
            "client" => (format!("no step of this case starts a client `{name}`"), clients.iter().collect()),
            _ => (format!("there is no background process `{name}`"), self.processes.keys().collect()),
        };
        if known.iter().any(|known| *known == name) {
            return true;
        }
        let help = match root {
            "process" if known.is_empty() => format!("start one with `exec: {{background: {name}, …}}`"),
            _ => suggest(name, known),
        };
        self.unknown(at, message, help);
        false
    }

    fn capture(&mut self, name: &str, at: &Location, when: &[When]) {
        let Some(first) = self.captures.get(name) else {
            let help = if self.captures.is_empty() {
                format!("add `capture: {name}` to the step whose result it is")
            } else {
                suggest(name, self.captures.keys())
            };
            return self.unknown(at, format!("no step of this case captures `{name}`"), help);
        };
        let wrong = match self.state.captures.get(name) {
            None => {
                let message = format!("`{name}` is not captured yet when this is read");
                Diagnostic::error(Code::Order, at, message)
                    .related(first, "captured here")
                    .help("move the step that captures it before this one")
            }
            Some(there) if !there.holds_under(when) => {
                let message = format!("`{name}` may not be captured when this is read");
                Diagnostic::warning(Code::Order, at, message)
                    .related(&there.at, "this step has a `when`")
                    .help("give the step that reads it the same `when`")
            }
            Some(_) => return,
        };
        self.impossible(wrong);
    }

    /// Checks that a VM, process, link or client exists, has been started, and has the field.
    fn thing(&mut self, root: &str, name: &str, rest: &[&str], at: &Location) {
        if !self.exists(root, name, at) {
            return;
        }
        if root == "vm" && self.state.vm_status(name) == Some(&VmStatus::NotStarted) {
            let message = format!("VM `{name}` has not been started when this is read");
            let help = format!("put `start: {name}` before it");
            self.impossible(Diagnostic::error(Code::Order, at, message).help(help));
        }
        if root == "process" && !self.state.processes.contains_key(name) {
            let message = format!("process `{name}` has not been started when this is read");
            let wrong = Diagnostic::error(Code::Order, at, message);
            self.impossible(wrong.related(&self.processes[name], "started here"));
        }
        let known = fields(root);
        if let Some(field) = rest.first().filter(|field| !known.contains(field)) {
            self.unknown(at, format!("unknown name `run.{root}.{name}.{field}`"), suggest(field, known));
        }
        if let ("vm", ["disk", disk, ..]) = (root, rest) {
            self.disk(name, disk, at);
        }
    }

    /// Checks a disk of a VM; a role may stand for any VM then.
    fn disk(&mut self, vm: &str, disk: &str, at: &Location) {
        let is_role = self.case.roles.contains_key(vm);
        let vms = self.case.vms.iter().filter(|(name, _)| is_role || *name == vm);
        let known: BTreeSet<&String> = vms.flat_map(|(_, spec)| spec.disks.keys()).collect();
        if !known.iter().any(|known| *known == disk) {
            self.unknown(at, format!("VM `{vm}` has no disk `{disk}`"), suggest(disk, known));
        }
    }
}
