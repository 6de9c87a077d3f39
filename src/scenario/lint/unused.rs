//! Unused declarations, over all cases of a call.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::names::{run_names, run_texts};
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::scenario::params::Param;
use crate::step::{Action, Step, VmName};
use crate::template;
use crate::yaml::{Key, Kind, Node};

/// The names that the steps of one case use. Includes steps that its matrix cell omits, since another cell may run them.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Seen {
    vms: BTreeSet<String>,
    /// The captures that are read.
    reads: BTreeSet<String>,
    /// Whether `run`, `run.captures` or `run.vm` is used as a whole.
    everything: bool,
    captures: Vec<(String, Location)>,
    /// The ports, links, networks, disks and roles that are used.
    things: BTreeSet<(Section, String)>,
}

/// A section of a scenario, other than `vms`, whose entries must be used.
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
    /// The message and the help for an unused entry.
    fn unused(self, name: &str) -> (String, String) {
        let (message, way) = match self {
            Self::Ports => (format!("port `{name}` is not used"), format!("use it as `{{{{port.{name}}}}}`")),
            Self::Links => (
                format!("link `{name}` is not used"),
                format!("use it, as in `migrate: {{link: {name}}}` or `{{{{link.{name}.address}}}}`"),
            ),
            Self::Networks => (
                format!("network `{name}` has no VM"),
                format!("add a netdev to it: `{{type: network, id: ID, network: {name}}}`"),
            ),
            Self::Disks => (format!("disk `{name}` is not used"), format!("use it as `{{{{disk.{name}}}}}`")),
            Self::Credentials => {
                (format!("credential `{name}` is not used"), format!("use it as `{{{{credential.{name}}}}}`"))
            }
            Self::DisksOfVms => {
                (format!("disk `{name}` is not used"), format!("use it as `{{{{self.disk.{name}}}}}`"))
            }
            Self::Roles => (format!("role `{name}` is not used"), "use it in a step".to_owned()),
        };
        (message, format!("remove it, or {way}"))
    }
}

impl Seen {
    /// Adds the names of a step; `source` is its part of the file.
    pub(crate) fn step(&mut self, step: &Step, source: &Node, is_deferred: bool) {
        for VmName { vm, .. } in &step.vms {
            if template::is_template(vm) {
                // It may be any VM.
                self.everything = true;
            } else if !self.vms.contains(vm) {
                self.vms.insert(vm.clone());
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
        if is_deferred {
            self.templates(source);
            self.all_below(source);
        }
    }

    /// Adds a port, link, network, disk or role.
    pub(crate) fn thing(&mut self, section: Section, name: &str) {
        self.things.insert((section, name.to_owned()));
    }

    /// Adds the names other than VMs and captures in all templates of a part of a file, including parts that a `when`
    /// disables.
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
                // The whole map is used.
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

    /// Adds a VM that is used outside of steps.
    pub(crate) fn vm(&mut self, name: &str) {
        self.vms.insert(name.to_owned());
    }

    /// Adds the names under `run` in the templates of a part of a file.
    pub(crate) fn templates(&mut self, node: &Node) {
        let mut texts = Vec::new();
        run_texts(node, &mut texts);
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

/// Whether a part of a file places hooks, not counting those of its template.
fn places_hooks(file: &Node, part: &Node) -> bool {
    let own = |key: &Key| key.name == "hook" && key.at.file == file.at.file;
    part.items().iter().any(|item| places_hooks(file, item))
        || part.entries().iter().any(|(key, value)| own(key) || places_hooks(file, value))
}

/// The declarations of the files of a call, by file and place, and whether they are used.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Unused(IndexMap<(usize, usize), Thing>);

#[derive(Debug)]
struct Thing {
    at: Location,
    message: String,
    help: String,
    used: bool,
}

impl Unused {
    /// Adds a case of a file: its VMs and other declarations with their places, and the names that its steps use. In a case
    /// with errors (`sound` is false) everything counts as used.
    pub(crate) fn case<'v>(
        &mut self,
        file: &Node,
        vms: impl Iterator<Item = (&'v str, &'v Location)>,
        declared: impl Iterator<Item = (Section, &'v str, &'v Location)>,
        seen: &Seen,
        sound: bool,
    ) {
        for (vm, at) in vms {
            let used = !sound || seen.everything || seen.vms.contains(vm);
            self.note(at, used, || {
                let help = "remove it, or use it in a step";
                (format!("VM `{vm}` is not used"), help.to_owned())
            });
        }
        for (section, name, at) in declared {
            let named = seen.things.contains(&(section, name.to_owned()));
            let used =
                !sound || seen.everything || named || section == Section::Roles && seen.vms.contains(name);
            self.note(at, used, || section.unused(name));
        }
        for (name, at) in &seen.captures {
            self.note_shared(file, at, !sound || seen.reads(name), || {
                let help = format!("remove it, or read it as `{{{{run.captures.{name}}}}}`");
                (format!("capture `{name}` is never read"), help)
            });
        }
    }

    /// Adds the params of a file.
    pub(crate) fn params(&mut self, file: &Node, params: &[Param]) {
        for Param { name, at, .. } in params {
            let used = file.any_text(|text| !template::names_below(text, name).is_empty());
            self.note_shared(file, at, used, || {
                let help = format!("remove it, or use it as `{{{{{name}}}}}`");
                (format!("parameter `{name}` is not used"), help)
            });
        }
    }

    /// Adds a declaration that other users of its file may use: only the file that has it can leave it unused, and only if
    /// it has no hooks for others.
    fn note_shared(
        &mut self,
        file: &Node,
        at: &Location,
        used: bool,
        words: impl FnOnce() -> (String, String),
    ) {
        if used || (at.file == file.at.file && !places_hooks(file, file)) {
            self.note(at, used, words);
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

    /// A warning for each unused declaration, in the order in which they were added.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.0.values().filter(|thing| !thing.used).map(|thing| {
            Diagnostic::warning(Code::Unused, &thing.at, thing.message.as_str()).help(thing.help.as_str())
        })
    }
}
