//! The lists of a VM, and the keys that add to an inherited one: `+devices`.

use serde_json::Value;

use super::typed::{self, Reader};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, similar};
use crate::template;
use crate::yaml::{Key, Kind, Node};

/// The options of a VM that are lists. Their items may have a `when`, and `+NAME` adds to the inherited list.
pub(crate) const LISTS: &[&str] = &["numa", "blockdevs", "chardevs", "netdevs", "objects", "devices", "args"];

/// The list that a key adds to.
pub(super) fn added(key: &str) -> Option<&str> {
    key.strip_prefix('+').filter(|name| LISTS.contains(name))
}

/// Checks the keys of the VMs in one file that start with `+`.
pub(super) fn check(root: &Node, diagnostics: &mut Diagnostics) {
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
