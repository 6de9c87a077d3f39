//! Which values are names, and of what; and the names that a file declares.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys::definitions;
use super::outline::{Entry, Part, outline, unquoted};
use crate::diagnostic::{Location, SourceFile};
use crate::scenario::{Texts, tidy};
use crate::yaml::{self, Kind as Shape, Node};

/// What a value is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A VM, or a role that stands for one.
    Vm,
    Role,
    Link,
    Network,
    Disk,
    Port,
    Credential,
    Client,
    Process,
    Capture,
    Hook,
    /// A parameter of the file, or an axis of its matrix.
    Param,
    /// A parameter of the file that this one extends or uses.
    ParamOfOther,
    /// The path of a file.
    File,
    Command,
    Event,
    Capability,
    Parameter,
    Machine,
    Device,
    Object,
    BlockDriver,
    TraceEvent,
}

/// Values: the definition (`Step` also stands for all below a step), the key, and what its value names.
const VALUES: &[(&str, &str, Kind)] = &[
    ("Step", "vm", Kind::Vm),
    ("Step", "from", Kind::Vm),
    ("Step", "to", Kind::Vm),
    ("Step", "primary", Kind::Vm),
    ("Step", "secondary", Kind::Vm),
    ("Step", "survivor", Kind::Vm),
    ("Step", "start", Kind::Vm),
    ("Step", "connect", Kind::Vm),
    ("Step", "quit", Kind::Vm),
    ("Step", "witness", Kind::Vm),
    ("VmSpec", "like", Kind::Vm),
    ("Step", "hook", Kind::Hook),
    ("Link", "name", Kind::Link),
    ("Step", "link", Kind::Link),
    ("Client", "name", Kind::Client),
    ("Wait", "client", Kind::Client),
    ("Check", "client", Kind::Client),
    ("Wait", "process", Kind::Process),
    ("Check", "process", Kind::Process),
    ("Qmp", "execute", Kind::Command),
    ("Wait", "query", Kind::Command),
    ("Check", "query", Kind::Command),
    ("Requires", "commands", Kind::Command),
    ("Wait", "event", Kind::Event),
    ("Check", "no_event", Kind::Event),
    ("Capabilities", "on", Kind::Capability),
    ("Capabilities", "off", Kind::Capability),
    ("Requires", "capabilities", Kind::Capability),
    ("Requires", "parameters", Kind::Parameter),
    ("VmSpec", "machine", Kind::Machine),
    ("Requires", "machines", Kind::Machine),
    ("VmSpec", "network", Kind::Network),
    ("VmSpec", "driver", Kind::Device),
    ("Requires", "devices", Kind::Device),
    ("VmSpec", "qom-type", Kind::Object),
    ("Requires", "objects", Kind::Object),
    ("Requires", "block_drivers", Kind::BlockDriver),
    ("VmSpec", "trace", Kind::TraceEvent),
];

/// What the value at a path is the name of.
pub(super) fn kind_of_value(path: &[Part]) -> Option<Kind> {
    let length = path.len() - path.iter().rev().take_while(|part| **part == Part::Item).count();
    let Some((Part::Key(key), above)) = path[..length].split_last() else {
        return None;
    };
    match above.last() {
        None if key == "extends" => return Some(Kind::File),
        Some(Part::Key(parent)) if parent == "use" && key == "file" => return Some(Kind::File),
        Some(Part::Key(parent)) if above.len() == 1 && parent == "roles" => return Some(Kind::Vm),
        Some(Part::Key(parent)) if parent == "rebind" => return Some(Kind::Vm),
        _ => {}
    }
    let definitions = definitions(above);
    let is_below = |of: &str| {
        let of_any = || definitions.iter().flatten().any(|known| *known == of);
        match of {
            "Step" | "VmSpec" => of_any(),
            _ => definitions.last().is_some_and(|last| last.contains(&of)),
        }
    };
    VALUES.iter().find(|(of, name, _)| name == key && is_below(of)).map(|(_, _, kind)| *kind)
}

/// What the keys of the map at a path are the names of.
pub(super) fn kind_of_keys(path: &[Part]) -> Option<Kind> {
    let Some((Part::Key(key), above)) = path.split_last() else {
        return None;
    };
    match (key.as_str(), above.last()) {
        ("hooks", None) => Some(Kind::Hook),
        // An axis may also set a parameter of the template.
        ("with" | "matrix", None) => Some(Kind::ParamOfOther),
        ("with", Some(Part::Key(parent))) if parent == "use" => Some(Kind::ParamOfOther),
        ("rebind", _) => Some(Kind::Role),
        ("set", Some(Part::Key(parent))) if parent == "parameters" => Some(Kind::Parameter),
        ("parameters", Some(Part::Key(parent))) if parent == "requires" => Some(Kind::Parameter),
        _ => None,
    }
}

/// A declared name.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub kind: Kind,
    pub name: String,
    pub at: Location,
}

/// The names that a merged file declares, with those in the files that it uses. The name of a hook is where the hook is.
pub(super) fn declared(root: &Node, texts: &Texts) -> Vec<Name> {
    let mut names = Vec::new();
    let mut add = |kind, name: &str, at: &Location| {
        names.push(Name { kind, name: name.to_owned(), at: at.clone() });
    };
    for (section, kind) in SECTIONS {
        let node = root.get(section);
        for (key, value) in node.map(Node::entries).unwrap_or_default() {
            match value.get("copies").and_then(|copies| copies.to_value().as_u64()) {
                Some(count) if *kind == Kind::Vm => {
                    (1..=count.min(100))
                        .for_each(|number| add(*kind, &format!("{}{number}", key.name), &key.at));
                }
                _ if *kind == Kind::Param && ["include", "exclude"].contains(&key.name.as_str()) => {}
                _ => add(*kind, &key.name, &key.at),
            }
            for (disk, _) in
                value.get("disks").filter(|_| *kind == Kind::Vm).map(Node::entries).unwrap_or_default()
            {
                add(Kind::Disk, &disk.name, &disk.at);
            }
        }
    }
    let ports = root.get("ports").into_iter().flat_map(|ports| ports.items().iter().chain([ports]));
    ports.filter_map(|port| Some((port.text()?, &port.at))).for_each(|(name, at)| add(Kind::Port, name, at));
    let mut used = BTreeSet::new();
    for section in ["hooks", "steps", "finally"] {
        if let Some(node) = root.get(section) {
            in_steps(node, texts, &mut used, &mut names);
        }
    }
    names
}

/// The sections of a file whose keys are names.
const SECTIONS: &[(&str, Kind)] = &[
    ("vms", Kind::Vm),
    ("roles", Kind::Role),
    ("links", Kind::Link),
    ("networks", Kind::Network),
    ("disks", Kind::Disk),
    ("credentials", Kind::Credential),
    ("params", Kind::Param),
    ("matrix", Kind::Param),
];

/// The names that steps declare.
fn in_steps(node: &Node, texts: &Texts, used: &mut BTreeSet<PathBuf>, names: &mut Vec<Name>) {
    for (key, value) in node.entries() {
        let declares = match key.name.as_str() {
            "hook" => Some((Kind::Hook, Some(value))),
            "capture" => Some((Kind::Capture, Some(value))),
            "client" if value.get("connect").is_some() => Some((Kind::Client, value.get("name"))),
            "exec" => Some((Kind::Process, value.get("background"))),
            _ => None,
        };
        if let Some((kind, Some(node))) = declares
            && let Some(name) = node.text()
        {
            names.push(Name { kind, name: name.to_owned(), at: node.at.clone() });
        }
        if let Some(path) = value.get("file").filter(|_| key.name == "use").and_then(target)
            && used.insert(path.clone())
            && let Some(steps) = tree(&path, texts).as_ref().and_then(|root| root.get("steps"))
        {
            in_steps(steps, texts, used, names);
        }
        in_steps(value, texts, used, names);
    }
    if let Shape::Seq(items) = &node.kind {
        items.iter().for_each(|item| in_steps(item, texts, used, names));
    }
}

/// The names that a text declares, whether it is valid or not.
pub(super) fn declared_in_text(path: &Path, text: &str) -> Vec<Name> {
    let file = Arc::new(SourceFile::new(path, text));
    let of_entry = |entry: &Entry| {
        let value = || Some((unquoted(&text[entry.value.clone()?]), entry.value.clone()?));
        let key = || Some((entry.name()?.to_owned(), entry.key.clone()?));
        let (kind, (name, at)) = match entry.path.as_slice() {
            [Part::Key(section), Part::Key(_)] => {
                (SECTIONS.iter().find(|(known, _)| known == section)?.1, key()?)
            }
            [.., Part::Key(key)] if key == "hook" => (Kind::Hook, value()?),
            [.., Part::Key(key)] if key == "capture" => (Kind::Capture, value()?),
            [.., Part::Key(action), Part::Key(key)] => match (action.as_str(), key.as_str()) {
                ("exec", "background") => (Kind::Process, value()?),
                ("client", "name") => (Kind::Client, value()?),
                _ => return None,
            },
            [Part::Key(section), Part::Item] if section == "ports" => (Kind::Port, value()?),
            _ => return None,
        };
        Some(Name { kind, name, at: Location::of(&file, at.start, at.end) })
    };
    outline(text).iter().filter_map(of_entry).collect()
}

/// The file that a text extends.
pub(super) fn extended(path: &Path, text: &str) -> Option<PathBuf> {
    let is_it = |entry: &&Entry| entry.path == [Part::Key("extends".to_owned())];
    let value = outline(text).iter().find(is_it)?.value.clone()?;
    Some(resolve(path, &unquoted(&text[value])))
}

/// The tree of a file; `None` if it is not valid.
pub(super) fn tree(path: &Path, texts: &Texts) -> Option<Node> {
    let read = match texts.get(path) {
        Some(text) => yaml::from_bytes(path, text.as_bytes().to_vec()),
        None => yaml::read(path),
    };
    read.ok()
}

/// The file that a text names, relative to the file that contains the text.
fn target(node: &Node) -> Option<PathBuf> {
    Some(resolve(node.at.path(), node.text()?))
}

/// A path relative to a file.
pub(super) fn resolve(from: &Path, path: &str) -> PathBuf {
    tidy(&from.parent().unwrap_or(Path::new("")).join(path))
}

/// The names that the loops around an entry give to their steps, with their places.
pub(super) fn of_loops(text: &str, around: &Entry) -> Vec<(String, Range<usize>)> {
    let of_loop = |entry: &Entry| match entry.path.as_slice() {
        [.., Part::Key(parent), Part::Key(key)] => {
            let names = parent == "repeat" && ["as", "index"].contains(&key.as_str());
            names && around.inside.contains(&entry.within())
        }
        _ => false,
    };
    let values = outline(text).into_iter().filter(of_loop).filter_map(|entry| entry.value);
    values.map(|value| (unquoted(&text[value.clone()]), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsp::outline::outline;
    use crate::scenario::model::{Case, CaseStep};
    use crate::scenario::{Options, load};
    use crate::template::NoVersions;

    /// The places of the VMs that a step names.
    fn places_of_vms(step: &CaseStep) -> Vec<Location> {
        let source = step.source.get(step.step.action.key());
        let named = step.step.vms.iter().filter_map(|named| {
            let node = named.path.iter().try_fold(source?, |node, key| node.get(key))?;
            let all = node.items().iter().chain([node]);
            all.into_iter().find(|node| node.text() == Some(named.vm.as_str())).map(|node| node.at.clone())
        });
        named.collect()
    }

    #[test]
    fn every_vm_that_a_shipped_step_names_is_known_as_one() {
        let files: Vec<PathBuf> = glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap).collect();
        let loaded = load(&files, &Options::default(), &NoVersions);
        let mut places = BTreeSet::new();
        for step in loaded.cases.iter().flat_map(Case::all_steps) {
            let found = places_of_vms(step).into_iter();
            places.extend(found.map(|at| (at.path().to_owned(), at.start)));
        }
        assert!(places.len() > 500, "{}", places.len());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for entry in outline(&text) {
                let start = entry.value.as_ref().map_or(usize::MAX, |value| value.start);
                if places.contains(&(file.clone(), start)) {
                    assert_eq!(kind_of_value(&entry.path), Some(Kind::Vm), "{}: {entry:?}", file.display());
                }
            }
        }
    }
}
