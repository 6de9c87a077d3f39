//! What is there and never named, over all the cases of a call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::names::{late_texts, run_names};
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Location};
use crate::scenario::source::{Kind, Node};
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
    /// The ports, links, networks, disks and roles that are named.
    things: BTreeSet<(Section, String)>,
}

/// A section of a scenario, beside its VMs, whose entries are there to be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::scenario) enum Section {
    Ports,
    Links,
    Networks,
    Disks,
    Credentials,
    DisksOfVms,
    Roles,
}

impl Section {
    /// What is said of an entry that nothing names, and what would be right.
    fn words(self, name: &str) -> (String, String) {
        let (message, way) = match self {
            Self::Ports => {
                (format!("nothing names the port `{name}`"), format!("name it as `{{{{port.{name}}}}}`"))
            }
            Self::Links => (
                format!("nothing takes the link `{name}`"),
                format!(
                    "lead something through it, with `migrate: {{link: {name}}}` or `{{{{link.{name}.address}}}}`"
                ),
            ),
            Self::Networks => (
                format!("no VM is on the network `{name}`"),
                format!("put a netdev on it: `{{type: network, id: ID, network: {name}}}`"),
            ),
            Self::Disks => {
                (format!("nothing names the disk `{name}`"), format!("name it as `{{{{disk.{name}}}}}`"))
            }
            Self::Credentials => (
                format!("nothing names the credential `{name}`"),
                format!("name it as `{{{{credential.{name}}}}}`"),
            ),
            Self::DisksOfVms => {
                (format!("nothing names the disk `{name}`"), format!("name it as `{{{{self.disk.{name}}}}}`"))
            }
            Self::Roles => (format!("no step names the role `{name}`"), "name it in a step".to_owned()),
        };
        (message, format!("take it out, or {way}"))
    }
}

impl Seen {
    /// Takes in a step with the part of the file that it was read from.
    pub(crate) fn step(&mut self, step: &Step, source: &Node, is_late: bool) {
        let mut action = step.action.clone();
        for named in action.vms() {
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
        let link = match &step.action {
            Action::Migrate(migrate) => migrate.link.as_ref(),
            Action::Protect(protect) => protect.link.as_ref(),
            Action::Link(link) => Some(&link.name),
            _ => None,
        };
        if let Some(link) = link {
            self.everything |= template::is_template(link);
            self.thing(Section::Links, link);
        }
        if is_late {
            self.templates(source);
            self.all_below(source);
        }
    }

    /// Takes in a port, link, network, disk or role that something names.
    pub(crate) fn thing(&mut self, section: Section, name: &str) {
        self.things.insert((section, name.to_owned()));
    }

    /// Takes in what the templates of a part of a file, and of all below it, name beside VMs and captures; also where a
    /// `when` leaves it out.
    pub(crate) fn all_below(&mut self, node: &Node) {
        match &node.kind {
            Kind::Scalar(Value::String(text)) if template::is_template(text) => self.things_in(text),
            Kind::Scalar(_) => {}
            Kind::Seq(items) => items.iter().for_each(|item| self.all_below(item)),
            Kind::Map(entries) => {
                for (key, value) in entries.iter() {
                    match (key.name.as_str(), value.text()) {
                        ("network", Some(name)) => self.thing(Section::Networks, name),
                        ("backing", Some(name)) => {
                            self.thing(Section::Disks, name);
                            self.thing(Section::DisksOfVms, name);
                        }
                        _ => {}
                    }
                    self.all_below(value);
                }
            }
        }
    }

    fn things_in(&mut self, text: &str) {
        for (root, section) in [
            ("port", Section::Ports),
            ("link", Section::Links),
            ("disk", Section::Disks),
            ("credential", Section::Credentials),
        ] {
            for path in template::names_below(text, root) {
                // The whole of it, to be looked into somewhere else.
                self.everything |= path.len() == 1;
                if let Some(name) = path.get(1) {
                    self.thing(section, name);
                }
            }
        }
        for path in template::names_below(text, "self") {
            if let [_, disk, name, ..] = path.as_slice()
                && disk == "disk"
            {
                self.thing(Section::DisksOfVms, name);
            }
        }
        for path in run_names(text) {
            match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["link", name, ..] => self.thing(Section::Links, name),
                ["role", name, ..] => self.thing(Section::Roles, name),
                ["vm", _, "disk", name, ..] => self.thing(Section::DisksOfVms, name),
                ["vm", _, "disk"] | ["role" | "link"] => self.everything = true,
                _ => {}
            }
        }
    }

    /// Takes in a VM that something names beside the steps.
    pub(crate) fn vm(&mut self, name: &str) {
        self.vms.insert(name.to_owned());
    }

    /// Takes in the templates of a part of a file.
    pub(crate) fn templates(&mut self, node: &Node) {
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
    /// Takes in a case: the names and places of its VMs and of what else it declares, and what its steps name. Of one with mistakes it is not known
    /// what it would name: `sound` is false then, and all of it counts as used.
    pub(crate) fn case<'v>(
        &mut self,
        vms: impl Iterator<Item = (&'v str, &'v Location)>,
        declared: impl Iterator<Item = (Section, &'v str, &'v Location)>,
        seen: &Seen,
        sound: bool,
    ) {
        for (vm, at) in vms {
            let used = !sound || seen.everything || seen.vms.contains(vm);
            self.note(at, used, || {
                let help = "take it out, or name it in a step: as it is, it is started for nothing";
                (format!("no step names the VM `{vm}`"), help.to_owned())
            });
        }
        for (section, name, at) in declared {
            let named = seen.things.contains(&(section, name.to_owned()));
            let used =
                !sound || seen.everything || named || section == Section::Roles && seen.vms.contains(name);
            self.note(at, used, || section.words(name));
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
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.0.values().filter(|thing| !thing.used).map(|thing| {
            Diagnostic::warning(Code::Unused, &thing.at, thing.message.as_str()).help(thing.help.as_str())
        })
    }
}
