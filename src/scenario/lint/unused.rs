//! What is there and never named, over all the cases of a call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::names::{self, late_texts, run_names};
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::scenario::source::Node;
use crate::step::{Action, Step};
use crate::template;

/// What the steps of one case name; also those that its matrix cell leaves out, for another cell may run them.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Seen {
    vms: BTreeSet<String>,
    /// The captures that are read.
    reads: BTreeSet<String>,
    /// Whether `run`, `run.captures` or `run.vm` is handed on as a whole.
    everything: bool,
    captures: Vec<(String, Location)>,
}

impl Seen {
    /// Takes in a step with the part of the file that it was read from.
    pub fn step(&mut self, step: &Step, source: &Node, is_late: bool) {
        for named in names::vms(&step.action) {
            if template::is_template(named.vm) {
                // It may be any of them.
                self.everything = true;
            } else if !self.vms.contains(named.vm) {
                self.vms.insert(named.vm.to_owned());
            }
        }
        if let (Some(name), Some(node)) = (&step.capture, source.get("capture")) {
            self.captures.push((name.clone(), node.at.clone()));
        }
        if let (Action::Set(set), Some(node)) = (&step.action, source.get("set")) {
            let places = node.entries().iter().map(|(key, _)| (key.name.clone(), key.at.clone()));
            self.captures.extend(places.filter(|(name, _)| set.0.contains_key(name)));
        }
        if is_late {
            self.templates(source);
        }
    }

    /// Takes in a VM that something names beside the steps.
    pub fn vm(&mut self, name: &str) {
        self.vms.insert(name.to_owned());
    }

    /// Takes in the templates of a part of a file.
    pub fn templates(&mut self, node: &Node) {
        let mut texts = Vec::new();
        late_texts(node, &mut texts);
        for name in texts.iter().filter_map(|node| node.text()).flat_map(run_names) {
            match name.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["captures", name, ..] => {
                    self.reads.insert((*name).to_owned());
                }
                ["vm", name, ..] => {
                    self.vms.insert((*name).to_owned());
                }
                ["vm" | "captures"] | [] => self.everything = true,
                _ => {}
            }
        }
    }

    fn reads(&self, name: &str) -> bool {
        self.everything || self.reads.contains(name)
    }
}

/// What the files of a call declare, and whether something names it.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Unused(BTreeMap<(usize, usize), Thing>);

#[derive(Debug)]
struct Thing {
    at: Location,
    message: String,
    help: String,
    used: bool,
}

impl Unused {
    /// Takes in a case: the names and places of its VMs, and what its steps name. Of one with mistakes it is not known
    /// what it would name: `sound` is false then, and all of it counts as used.
    pub fn case<'v>(&mut self, vms: impl Iterator<Item = (&'v str, &'v Location)>, seen: &Seen, sound: bool) {
        for (vm, at) in vms {
            let used = !sound || seen.everything || seen.vms.contains(vm);
            self.note(at, used, || {
                let help = "take it out, or name it in a step: as it is, it is started for nothing";
                (format!("no step names the VM `{vm}`"), help.to_owned())
            });
        }
        for (name, at) in &seen.captures {
            self.note(at, !sound || seen.reads(name), || {
                let help = format!("take it out, or read it as `{{{{run.captures.{name}}}}}`");
                (format!("nothing reads the capture `{name}`"), help)
            });
        }
    }

    fn note(&mut self, at: &Location, used: bool, words: impl FnOnce() -> (String, String)) {
        let key = (Arc::as_ptr(&at.file) as usize, at.start);
        let thing = self.0.entry(key).or_insert_with(|| {
            let (message, help) = words();
            Thing { at: at.clone(), message, help, used }
        });
        thing.used |= used;
    }

    /// What nothing names.
    pub fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.0.values().filter(|thing| !thing.used).map(|thing| {
            Diagnostic::warning(Code::Unused, &thing.at, thing.message.as_str()).help(thing.help.as_str())
        })
    }
}
