//! Unused declarations, over all cases of a call.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::places::{each_path, each_run_text};
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::scenario::model::Case;
use crate::scenario::params::Param;
use crate::step::{Action, Step, VmName};
use crate::template;
use crate::yaml::Node;

/// A kind of thing that a scenario declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::scenario) enum Thing {
    Vm,
    Role,
    Port,
    Link,
    Network,
    Disk,
    DiskOfVm,
    Credential,
    Capture,
    Param,
}

/// The kinds of things: each with its section of a file, the name by which templates use it, the message if it is unused,
/// and how to use it.
const THINGS: &[(Thing, &str, &str, &str, &str)] = &[
    (Thing::Vm, "", "", "VM `NAME` is not used", "use it in a step"),
    (Thing::Role, "roles", "", "role `NAME` is not used", "use it in a step"),
    (Thing::Port, "ports", "port", "port `NAME` is not used", "use it as `{{port.NAME}}`"),
    (Thing::Link, "links", "link", "link `NAME` is not used", LINK_IS_USED),
    (Thing::Network, "networks", "", "network `NAME` has no VM", NETWORK_IS_USED),
    (Thing::Disk, "disks", "disk", "disk `NAME` is not used", "use it as `{{disk.NAME}}`"),
    (Thing::DiskOfVm, "", "", "disk `NAME` is not used", "use it as `{{self.disk.NAME}}`"),
    (Thing::Credential, "credentials", "credential", "credential `NAME` is not used", CREDENTIAL_IS_USED),
    (Thing::Capture, "", "", "capture `NAME` is never read", "read it as `{{run.captures.NAME}}`"),
    (Thing::Param, "", "", "parameter `NAME` is not used", "use it as `{{NAME}}`"),
];

const LINK_IS_USED: &str = "use it, as in `migrate: {link: NAME}` or `{{link.NAME.address}}`";
const NETWORK_IS_USED: &str = "add a netdev to it: `{type: network, id: ID, network: NAME}`";
const CREDENTIAL_IS_USED: &str = "use it as `{{credential.NAME}}`";

/// The names that the steps of one case use. Includes steps that its matrix cell omits, since another cell may run them.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Seen {
    used: BTreeSet<(Thing, String)>,
    /// Whether a whole map of names is used, such as `run.vm`.
    everything: bool,
    captures: Vec<(String, Location)>,
}

impl Seen {
    /// Adds a thing that is used.
    pub(crate) fn add(&mut self, thing: Thing, name: &str) {
        self.used.insert((thing, name.to_owned()));
    }

    /// Adds a thing by its name, or by a template of its name, which may be any.
    fn add_named(&mut self, thing: Thing, name: &str) {
        self.everything |= template::is_template(name);
        self.add(thing, name);
    }

    /// Adds the names of a step; `source` is its part of the file.
    pub(crate) fn step(&mut self, step: &Step, source: &Node, is_deferred: bool) {
        step.vms.iter().for_each(|VmName { vm, .. }| self.add_named(Thing::Vm, vm));
        if let (Some(name), Some(node)) = (&step.capture, source.get("capture")) {
            self.captures.push((name.clone(), node.at.clone()));
        }
        if let Action::Set(set) = &step.action {
            let places = source.section("set").iter().map(|(key, _)| (key.name.clone(), key.at.clone()));
            self.captures.extend(places.filter(|(name, _)| set.0.contains_key(name)));
        }
        let link = match &step.action {
            Action::Migrate(migrate) => migrate.link.as_ref(),
            Action::Protect(protect) => protect.link.as_ref(),
            Action::Link(link) => Some(&link.name),
            _ => None,
        };
        link.into_iter().for_each(|link| self.add_named(Thing::Link, link));
        if is_deferred {
            self.templates(source);
            self.all_below(source);
        }
    }

    /// Adds the names other than VMs and captures in all templates of a part of a file, including parts that a `when`
    /// disables.
    fn all_below(&mut self, node: &Node) {
        node.walk(None, &mut |key, node| match (key.map(|key| key.name.as_str()), node.text()) {
            (_, Some(text)) if template::is_template(text) => self.things_in(text),
            (Some("network"), Some(name)) => self.add(Thing::Network, name),
            // The backing disk of a disk, or the disk of a guest.
            (Some("backing" | "disk"), Some(name)) => {
                self.add(Thing::Disk, name);
                self.add(Thing::DiskOfVm, name);
            }
            _ => {}
        });
    }

    fn things_in(&mut self, text: &str) {
        for (thing, _, root, ..) in THINGS.iter().filter(|(_, _, root, ..)| !root.is_empty()) {
            each_path(text, root, |path| match path {
                [] => self.everything = true,
                [name, ..] => self.add(*thing, name),
            });
        }
        each_path(text, "self", |path| {
            if let ["disk", name, ..] = path {
                self.add(Thing::DiskOfVm, name);
            }
        });
        each_path(text, "run", |path| match path {
            ["link", name, ..] => self.add(Thing::Link, name),
            ["role", name, ..] => self.add(Thing::Role, name),
            ["vm", _, "disk", name, ..] => self.add(Thing::DiskOfVm, name),
            ["vm", _, "disk"] | ["role" | "link"] => self.everything = true,
            _ => {}
        });
    }

    /// Adds the VMs and captures under `run` in the templates of a part of a file.
    pub(crate) fn templates(&mut self, node: &Node) {
        each_run_text(node, &mut |text, _| {
            each_path(text, "run", |path| match path {
                ["captures", name, ..] => self.add(Thing::Capture, name),
                ["vm", name, ..] => self.add(Thing::Vm, name),
                ["vm" | "captures"] | [] => self.everything = true,
                _ => {}
            });
        });
    }

    fn uses(&self, thing: Thing, name: &str) -> bool {
        let used = |thing| self.used.contains(&(thing, name.to_owned()));
        self.everything || used(thing) || thing == Thing::Role && used(Thing::Vm)
    }
}

/// What a case declares: its VMs, and what the file itself declares; declarations of its template may stay unused.
fn declared<'d>(root: &'d Node, case: &'d Case) -> Vec<(Thing, &'d str, &'d Location)> {
    let mut declared = Vec::new();
    for (thing, section, ..) in THINGS {
        declared.extend(root.section(section).iter().map(|(key, _)| (*thing, key.name.as_str(), &key.at)));
    }
    let ports = root.get("ports").into_iter().flat_map(Node::several);
    declared.extend(ports.filter_map(|port| Some((Thing::Port, port.text()?, &port.at))));
    for vm in case.vm_sources.values() {
        let disks = vm.options.section("disks").iter();
        declared.extend(disks.map(|(key, _)| (Thing::DiskOfVm, key.name.as_str(), &key.at)));
    }
    declared.retain(|(_, _, at)| at.file == root.at.file);
    declared
}

/// Whether a file places hooks, not counting those of its template.
fn places_hooks(file: &Node) -> bool {
    let mut found = false;
    file.walk(None, &mut |key, _| {
        found |= key.is_some_and(|key| key.name == "hook" && key.at.file == file.at.file);
    });
    found
}

/// The declarations of the files of a call, by file and place, and whether they are used.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Unused(IndexMap<(usize, usize), Declared>);

#[derive(Debug)]
struct Declared {
    thing: Thing,
    name: String,
    at: Location,
    used: bool,
}

impl Unused {
    /// Adds a case of a file: what it declares, and the names that its steps use. In a case with errors (`sound` is false)
    /// everything counts as used.
    pub(crate) fn case(&mut self, file: &Node, case: &Case, mut seen: Seen, sound: bool) {
        case.roles.values().for_each(|vm| seen.add(Thing::Vm, vm));
        case.vm_sources.values().for_each(|vm| seen.templates(&vm.options));
        let declared = declared(file, case);
        if !declared.is_empty() {
            seen.all_below(file);
        }
        let netdevs = case.vms.values().flat_map(|spec| &spec.netdevs);
        let networks = netdevs.filter_map(|netdev| netdev.get("network").and_then(Value::as_str));
        networks.for_each(|network| seen.add(Thing::Network, network));
        let vms = case.vm_sources.iter().map(|(name, vm)| (Thing::Vm, name.as_str(), &vm.at));
        for (thing, name, at) in vms.chain(declared) {
            self.note(thing, name, at, !sound || seen.uses(thing, name));
        }
        for (name, at) in &seen.captures {
            self.note_shared(file, Thing::Capture, name, at, !sound || seen.uses(Thing::Capture, name));
        }
    }

    /// Adds the params of a file.
    pub(crate) fn params(&mut self, file: &Node, params: &[Param]) {
        for Param { name, at, .. } in params {
            let used = file.any_text(|text| !template::names_below(text, name).is_empty());
            self.note_shared(file, Thing::Param, name, at, used);
        }
    }

    /// Adds a declaration that other users of its file may use: only the file that has it can leave it unused, and only if
    /// it has no hooks for others.
    fn note_shared(&mut self, file: &Node, thing: Thing, name: &str, at: &Location, used: bool) {
        if used || (at.file == file.at.file && !places_hooks(file)) {
            self.note(thing, name, at, used);
        }
    }

    fn note(&mut self, thing: Thing, name: &str, at: &Location, used: bool) {
        let key = (Arc::as_ptr(&at.file) as usize, at.start);
        let new = || Declared { thing, name: name.to_owned(), at: at.clone(), used };
        self.0.entry(key).or_insert_with(new).used |= used;
    }

    /// A warning for each unused declaration, in the order in which they were added.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.0.values().filter(|one| !one.used).filter_map(|Declared { thing, name, at, .. }| {
            let (.., message, way) = THINGS.iter().find(|(known, ..)| known == thing)?;
            let wrong = Diagnostic::warning(Code::Unused, at, message.replace("NAME", name));
            Some(wrong.help(format!("remove it, or {}", way.replace("NAME", name))))
        })
    }
}
