//! Checks the names under `run` in templates against what is known when they are filled in.

use std::collections::BTreeSet;

use super::flow::Flow;
use super::names::{run_names, run_texts};
use super::state::VmStatus;
use crate::diagnostic::{Code, Diagnostic, Location, suggest};
use crate::scenario::model::When;
use crate::yaml::Node;

/// The names under `run`.
pub(crate) const ROOTS: &[&str] = &["captures", "vm", "role", "process", "link", "client"];
/// The fields of a VM that was started.
const OF_VM: &[&str] = &["pid", "address", "version", "accel", "qemu", "argv", "disk"];
/// The fields of a background process.
const OF_PROCESS: &[&str] = &["pid"];
/// The fields of a client.
const OF_CLIENT: &[&str] = &[
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
];
/// The fields of a link.
const OF_LINK: &[&str] =
    &["state", "connections", "alive", "intact", "bytes", "bytes_there", "bytes_back", "each"];

/// The fields of a value of this root.
pub(crate) fn fields(root: &str) -> &'static [&'static str] {
    match root {
        "vm" => OF_VM,
        "process" => OF_PROCESS,
        "client" => OF_CLIENT,
        "link" => OF_LINK,
        _ => &[],
    }
}

impl Flow<'_, '_> {
    /// Checks the templates of a part of a file, which a step with these conditions fills in.
    pub(super) fn templates(&mut self, node: &Node, when: &[When]) {
        let mut texts = Vec::new();
        run_texts(node, &mut texts);
        for node in texts {
            self.names_in(node.text().unwrap_or_default(), &node.at, when);
        }
    }

    pub(super) fn names_in(&mut self, text: &str, at: &Location, when: &[When]) {
        for path in run_names(text) {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            match names.as_slice() {
                [] => {}
                ["captures", name, ..] => self.capture(name, at, when),
                ["vm", name, rest @ ..] => self.vm(name, rest, at),
                ["process", name, rest @ ..] => self.process(name, rest, at),
                ["role", name] if !self.case.roles.contains_key(*name) => {
                    let help = suggest(name, self.case.roles.keys().map(String::as_str));
                    self.unknown(at, format!("there is no role `{name}` in this case"), help);
                }
                ["link", name, rest @ ..] => self.link(name, rest, at),
                ["client", name, rest @ ..] => self.client(name, rest, at),
                [root, ..] if !ROOTS.contains(root) => {
                    self.unknown(
                        at,
                        format!("unknown name `run.{root}`"),
                        suggest(root, ROOTS.iter().copied()),
                    );
                }
                _ => {}
            }
        }
    }

    fn unknown(&mut self, at: &Location, message: String, help: String) {
        self.diagnostics.push(Diagnostic::error(Code::UnknownName, at, message).help(help));
    }

    fn capture(&mut self, name: &str, at: &Location, when: &[When]) {
        let Some(first) = self.captures.get(name).cloned() else {
            let help = if self.captures.is_empty() {
                format!("add `capture: {name}` to the step whose result it is")
            } else {
                suggest(name, self.captures.keys().map(String::as_str))
            };
            return self.unknown(at, format!("no step of this case captures `{name}`"), help);
        };
        let wrong = match self.state.captures.get(name) {
            None => {
                let message = format!("`{name}` is not captured yet when this is read");
                Diagnostic::error(Code::Order, at, message)
                    .related(&first, "captured here")
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

    fn vm(&mut self, name: &str, rest: &[&str], at: &Location) {
        if !self.case.vms.contains_key(name) && !self.case.roles.contains_key(name) {
            let help = suggest(name, self.case.vms.keys().map(String::as_str));
            return self.unknown(at, format!("there is no VM `{name}` in this case"), help);
        }
        if let Some(VmStatus::NotStarted) = self.state.vm_status(name) {
            let message = format!("VM `{name}` has not been started when this is read");
            let help = format!("put `start: {name}` before it");
            self.impossible(Diagnostic::error(Code::Order, at, message).help(help));
        }
        self.field("vm", name, rest, at);
        if let ["disk", disk, ..] = rest {
            self.disk(name, disk, at);
        }
    }

    /// Checks a disk of a VM; a role may stand for any VM then.
    fn disk(&mut self, vm: &str, disk: &str, at: &Location) {
        let is_role = self.case.roles.contains_key(vm);
        let vms = self.case.vms.iter().filter(|(name, _)| is_role || *name == vm);
        let known: BTreeSet<&str> = vms.flat_map(|(_, spec)| spec.disks.keys().map(String::as_str)).collect();
        if !known.contains(disk) {
            let help = suggest(disk, known);
            self.unknown(at, format!("VM `{vm}` has no disk `{disk}`"), help);
        }
    }

    fn process(&mut self, name: &str, rest: &[&str], at: &Location) {
        let Some(first) = self.processes.get(name).cloned() else {
            let help = if self.processes.is_empty() {
                format!("start one with `exec: {{background: {name}, …}}`")
            } else {
                suggest(name, self.processes.keys().map(String::as_str))
            };
            return self.unknown(at, format!("there is no background process `{name}`"), help);
        };
        if !self.state.processes.contains_key(name) {
            let message = format!("process `{name}` has not been started when this is read");
            let diagnostic = Diagnostic::error(Code::Order, at, message);
            self.impossible(diagnostic.related(&first, "started here"));
        }
        self.field("process", name, rest, at);
    }

    fn client(&mut self, name: &str, rest: &[&str], at: &Location) {
        let clients = crate::scenario::steps::Started::of(self.case).clients;
        if !clients.contains(name) {
            let help = suggest(name, clients.iter().map(String::as_str));
            return self.unknown(at, format!("no step of this case starts a client `{name}`"), help);
        }
        self.field("client", name, rest, at);
    }

    fn link(&mut self, name: &str, rest: &[&str], at: &Location) {
        let links = &self.case.net.links;
        if !links.contains_key(name) {
            let help = suggest(name, links.keys().map(String::as_str));
            return self.unknown(at, format!("there is no link `{name}` in this case"), help);
        }
        self.field("link", name, rest, at);
    }

    fn field(&mut self, root: &str, name: &str, rest: &[&str], at: &Location) {
        let known = fields(root);
        if let Some(field) = rest.first().filter(|field| !known.contains(field)) {
            let message = format!("unknown name `run.{root}.{name}.{field}`");
            self.unknown(at, message, suggest(field, known.iter().copied()));
        }
    }
}
