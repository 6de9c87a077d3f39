//! The lists of a VM, and the keys that add to an inherited one: `+devices`.

use std::sync::Arc;

use serde_json::Value;

use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::template::{self, Scope};
use crate::yaml::{Key, Kind, Node};

/// The options of a VM that are lists. Their items may have a `when`, and `+NAME` adds to the inherited list.
pub(crate) const LISTS: &[&str] = &["numa", "blockdevs", "chardevs", "netdevs", "objects", "devices", "args"];

/// The list that a key adds to.
pub(super) fn added(key: &str) -> Option<&str> {
    key.strip_prefix('+').filter(|name| LISTS.contains(name))
}

/// Checks the keys of the VMs in one file that start with `+`.
pub(super) fn check(vms: Option<&Node>, diagnostics: &mut Diagnostics) {
    for (_, vm) in vms.map(Node::entries).unwrap_or_default() {
        for (key, _) in vm.entries() {
            let Some(name) = key.name.strip_prefix('+') else {
                continue;
            };
            if added(&key.name).is_none() {
                let message = format!("unknown key `{}`", key.name);
                let close = suggest(name, LISTS.iter().copied());
                let help = match close.strip_prefix("did you mean `") {
                    Some(close) => format!("did you mean `+{close}"),
                    None => format!("`+` adds to a list of a VM: `+{}`", LISTS.join("`, `+")),
                };
                diagnostics.push(Diagnostic::error(Code::UnknownKey, &key.at, message).help(help));
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
pub(super) fn joined(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Node {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    let mut additions = Vec::new();
    for entry in node.entries() {
        match added(&entry.0.name) {
            Some(name) => additions.push((name, entry)),
            None => entries.push(entry.clone()),
        }
    }
    for (name, (key, more)) in additions {
        let Some((_, list)) = entries.iter_mut().find(|(known, _)| known.name == name) else {
            let message = format!("there are no `{name}` that `{}` could add to", key.name);
            let help = format!(
                "write `{name}`, or inherit some: from the VM that this one is `like`, or from the template's VM"
            );
            diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
            continue;
        };
        let more = items(&key.name, more, scope, diagnostics);
        // If the inherited value is not a list, reading the VM reports that.
        if let (Some(mut all), Some(more)) = (items(name, list, scope, diagnostics), more) {
            all.extend(more);
            *list = Node { kind: Kind::Seq(Arc::new(all)), at: list.at.clone() };
        }
    }
    Node::map(entries, node.at.clone())
}

/// The items of a list, which may be a template, or the text of `args`.
fn items(key: &str, list: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Node>> {
    let added = added(key);
    let list = match added.unwrap_or(key) {
        "args" => super::args::list(list, diagnostics)?,
        _ => list.clone(),
    };
    if let Kind::Seq(all) = &list.kind {
        return Some(all.to_vec());
    }
    let mut given = list.what().to_owned();
    if let Some(text) = list.text().filter(|text| template::is_template(text)) {
        let value = typed::render_now(&list, scope, diagnostics)?;
        if let Value::Array(all) = value {
            return Some(all.into_iter().map(|one| Node::of_value(&typed::escaped(one), &list.at)).collect());
        }
        given = format!("the value of `{text}`");
    }
    if added.is_some() {
        let message = format!("`{key}` takes a list, not {given}");
        let wrong = Diagnostic::error(Code::WrongValue, &list.at, message);
        diagnostics.push(wrong.help("put the items in `[…]`"));
    }
    None
}
