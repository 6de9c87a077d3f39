//! Merges files over those they extend, and VMs over those they are like; and the lists of a VM, to which keys such as
//! `+devices` add.

use serde_json::Value;

use super::typed::{self, Reader};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, similar};
use crate::template;
use crate::yaml::{Key, Kind, Node};

/// How the value of a file is merged with that of the file it extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// It replaces the other.
    Replaced,
    /// The lists are joined.
    Joined,
    /// Maps, merged by key; each value replaces the other.
    ByKey,
    /// Maps, merged by key, deeply.
    Deeply,
}

/// Merges a file over the template it extends; `how` says how the value of a key is merged.
pub(super) fn over(child: &Node, parent: &Node, how: fn(&str) -> Option<Merge>) -> Node {
    merge(child, &parent.without(&["extends"]), |key, value, below| match how(key) {
        Some(Merge::Deeply) => deep(value, below),
        Some(Merge::ByKey) => merge(value, below, |_, value, _| value.clone()),
        Some(Merge::Joined) => Node::seq([below.several(), value.several()].concat(), value.at.clone()),
        Some(Merge::Replaced) | None => value.clone(),
    })
}

/// Merges a value over another: maps by key, deeply; anything else is replaced. Each part keeps its place.
pub(super) fn deep(child: &Node, parent: &Node) -> Node {
    merge(child, parent, |_, value, below| deep(value, below))
}

/// Merges two maps by key; `inner` merges the values of a key that both have.
fn merge(child: &Node, parent: &Node, inner: impl Fn(&str, &Node, &Node) -> Node) -> Node {
    let (Kind::Map(own), Kind::Map(below)) = (&child.kind, &parent.kind) else {
        return child.clone();
    };
    let mut merged: Vec<(Key, Node)> = below.to_vec();
    for (key, value) in own.iter() {
        // What is added stays separate until the whole chain is known; a whole list replaces it.
        if added(&key.name).is_some() {
            merged.push((key.clone(), value.clone()));
            continue;
        }
        merged.retain(|(known, _)| added(&known.name) != Some(&key.name));
        match merged.iter_mut().find(|(known, _)| known.name == key.name) {
            None => merged.push((key.clone(), value.clone())),
            Some(known) => {
                // A VM has one guest: a guest of another kind replaces it.
                let shares_a_key = value.entries().iter().any(|(key, _)| known.1.get(&key.name).is_some());
                let other = key.name == "guest" && !shares_a_key;
                let value = if other { value.clone() } else { inner(&key.name, value, &known.1) };
                *known = (key.clone(), value);
            }
        }
    }
    Node::map(merged, child.at.clone())
}

/// The options of a VM that are lists. Their items may have a `when`, and `+NAME` adds to the inherited list.
pub(crate) const LISTS: &[&str] =
    &["numa", "blockdevs", "chardevs", "netdevs", "objects", "devices", "trace", "args"];

/// The list that a key adds to.
pub(super) fn added(key: &str) -> Option<&str> {
    key.strip_prefix('+').filter(|name| LISTS.contains(name))
}

/// Checks the keys of the VMs in one file that start with `+`.
pub(super) fn check_lists(root: &Node, diagnostics: &mut Diagnostics) {
    for (_, vm) in root.section("vms") {
        for (key, _) in vm.entries() {
            let Some(name) = key.name.strip_prefix('+') else {
                continue;
            };
            if added(&key.name).is_none() {
                let message = format!("unknown key `{}`", key.name);
                let help = match similar(name, LISTS) {
                    Some(close) => format!("did you mean `+{close}`?"),
                    None => format!("`+` adds to a list of a VM: `+{}`", LISTS.join("`, `+")),
                };
                diagnostics.error(Code::UnknownKey, &key.at, message, help);
            } else if let Some((whole, _)) = vm.entry(name) {
                let message = format!("`{}` cannot be combined with `{name}`", key.name);
                let help = format!("`{name}` replaces the inherited list: write all items there");
                let wrong = Diagnostic::error(Code::WrongValue, &key.at, message).help(help);
                diagnostics.push(wrong.related(&whole.at, "the whole list"));
            }
        }
    }
}

/// A VM's options, with what is added to each list at its end. Reports what cannot be added.
pub(super) fn joined(node: &Node, reader: &mut Reader<'_, '_>) -> Node {
    let is_addition = |(key, _): &&(Key, Node)| added(&key.name).is_some();
    let (additions, own): (Vec<_>, Vec<_>) = node.entries().iter().partition(is_addition);
    let mut entries: Vec<(Key, Node)> = own.into_iter().cloned().collect();
    for (key, more) in additions {
        let name = added(&key.name).unwrap_or_default();
        let Some((_, list)) = entries.iter_mut().find(|(known, _)| known.name == name) else {
            let message = format!("there are no `{name}` that `{}` could add to", key.name);
            let help = format!(
                "write `{name}`, or inherit some: from the VM that this one is `like`, or from the template's VM"
            );
            reader.error(Code::WrongValue, &key.at, message, help);
            continue;
        };
        let more = items(&key.name, more, reader);
        // If the inherited value is not a list, reading the VM reports that.
        if let (Some(mut all), Some(more)) = (items(name, list, reader), more) {
            all.extend(more);
            *list = Node::seq(all, list.at.clone());
        }
    }
    Node::map(entries, node.at.clone())
}

/// The items of a list, which may be a template, or the text of `args`.
fn items(key: &str, list: &Node, reader: &mut Reader<'_, '_>) -> Option<Vec<Node>> {
    let added = added(key);
    let list = match added.unwrap_or(key) {
        "args" => super::args::list(list, reader.diagnostics)?,
        _ => list.clone(),
    };
    if let Kind::Seq(all) = &list.kind {
        return Some(all.to_vec());
    }
    let mut given = list.what().to_owned();
    if let Some(text) = list.text().filter(|text| template::is_template(text)) {
        if let Value::Array(all) = reader.render_now(&list)? {
            return Some(all.into_iter().map(|one| Node::of_value(&typed::escaped(one), &list.at)).collect());
        }
        given = format!("the value of `{text}`");
    }
    if added.is_some() {
        let message = format!("`{key}` takes a list, not {given}");
        reader.error(Code::WrongValue, &list.at, message, "put the items in `[…]`");
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::tests::node_of as node;

    #[test]
    fn a_file_is_merged_over_its_template_and_each_part_keeps_its_place() {
        let parent = node(
            "p",
            "tags: [a]\nvms: {x: {cpu: max, memory: 1G}}\nsteps: [{sleep: 1s}]\nrequires: {qemu: '>=8', host: kvm}",
        );
        let child = node("c", "tags: b\nvms: {x: {memory: 2G}, y: {}}\nrequires: {qemu: '>=9'}");
        let merged = over(&child, &parent, crate::scenario::keys::merge);
        let x = merged.get("vms").unwrap().get("x").unwrap();
        assert_eq!(x.get("memory").unwrap().text(), Some("2G"));
        assert_eq!(x.get("memory").unwrap().at.path(), Path::new("c"));
        assert_eq!(x.get("cpu").unwrap().at.path(), Path::new("p"));
        assert_eq!(merged.get("tags").unwrap().items().len(), 2);
        assert_eq!(merged.get("requires").unwrap().get("qemu").unwrap().text(), Some(">=9"));
        assert!(merged.get("requires").unwrap().get("host").is_some() && merged.get("steps").is_some());
    }

    #[test]
    fn an_addition_is_kept_until_a_whole_list_replaces_it() {
        let keys = |merged: &Node| {
            merged.entries().iter().map(|(key, _)| key.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let parent = node("p", "{devices: [a], +devices: [b], +args: [-S]}");
        let child = deep(&node("c", "+devices: [c]"), &parent);
        assert_eq!(keys(&child), "devices +devices +args +devices");
        let child = deep(&node("d", "devices: [d]"), &child);
        assert_eq!(keys(&child), "devices +args");
        assert_eq!(child.get("devices").unwrap().items()[0].text(), Some("d"));
    }

    #[test]
    fn another_kind_of_guest_replaces_the_first() {
        let parent = node("p", "guest: {ticker: {dirty: 4M, boot: disk}}");
        let merged = deep(&node("c", "guest: {linux: {kernel: k}}"), &parent);
        assert!(merged.get("guest").unwrap().get("ticker").is_none());
        let merged = deep(&node("c", "guest: {ticker: {dirty: 8M}}"), &parent);
        let ticker = merged.get("guest").unwrap().get("ticker").unwrap().clone();
        assert!(ticker.get("boot").is_some() && ticker.get("dirty").unwrap().text() == Some("8M"));
    }
}
