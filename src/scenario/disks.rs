//! The disks of a case and of its VMs.

use std::collections::BTreeMap;

use super::source::{Key, Node};
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::qemu::disk::Disk;
use crate::template::Scope;

/// Reads the `disks` of a scenario.
pub(super) fn read(
    section: Option<(&Key, &Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Disk> {
    let Some((key, node)) = section else {
        return BTreeMap::new();
    };
    let disks = typed::read(&key.at, node, scope, diagnostics).unwrap_or_default();
    check(&key.at, Some(node), &disks, diagnostics);
    disks
}

/// Tells what is wrong with disks, as they stand in a file.
pub(super) fn check(
    owner: &Location,
    section: Option<&Node>,
    disks: &BTreeMap<String, Disk>,
    diagnostics: &mut Diagnostics,
) {
    for (key, node) in section.map(Node::entries).unwrap_or_default() {
        let usable = key.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !usable || key.name.is_empty() || key.name.len() > 64 {
            let message = format!("`{}` cannot be the name of a disk", key.name);
            let help = "a name is made of letters, digits, `_` and `-`, at most 64 of them";
            diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
        }
        let Some(disk) = disks.get(&key.name) else {
            continue;
        };
        if let Err((at, message, help)) = disk.check() {
            let at = node.entry(at).map_or(&key.at, |(key, _)| &key.at);
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
        if disk.backing.as_ref() == Some(&key.name) {
            let at = node.get("backing").map_or(owner, |node| &node.at);
            let message = format!("disk `{}` lies over itself", key.name);
            let others = disks.keys().map(String::as_str).filter(|name| *name != key.name);
            let help = suggest("", others);
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}
