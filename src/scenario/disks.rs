//! The disks of a case and of its VMs.

use std::collections::BTreeMap;

use super::source::origin;
use super::{paths, typed};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::qemu::disk::Disk;
use crate::template::{self, Scope};
use crate::yaml::{Key, Kind, Node};

/// Reads the `disks` of a scenario.
pub(super) fn read(
    section: Option<&(Key, Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Disk> {
    let Some((key, node)) = section else {
        return BTreeMap::new();
    };
    if !matches!(node.kind, Kind::Map(_)) {
        typed::read::<BTreeMap<String, Disk>>(&key.at, node, scope, diagnostics);
        return BTreeMap::new();
    }
    let mut disks = BTreeMap::new();
    for (key, node) in node.entries() {
        // Read each one separately, so that one error does not hide others.
        disks.extend(
            typed::read::<Disk>(&key.at, node, scope, diagnostics).map(|disk| (key.name.clone(), disk)),
        );
    }
    check(Some(node), &mut disks, &names(Some(node)), scope, diagnostics);
    for (name, _) in disks.iter().filter(|(_, disk)| disk.share) {
        let at = node.get(name).and_then(|disk| disk.entry("share")).map_or(&key.at, |(key, _)| &key.at);
        let message = format!("`share` is for a disk of a VM; every VM can use `{name}`");
        let wrong = Diagnostic::error(Code::WrongValue, at, message);
        diagnostics
            .push(wrong.help(format!("remove `share`: `{{{{disk.{name}}}}}` is one image for all VMs")));
    }
    disks
}

/// The names of the disks of a section, including invalid ones.
pub(super) fn names(section: Option<&Node>) -> Vec<String> {
    section.map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.name.clone()).collect()
}

/// Checks the disks of a section; `known` are the names of possible backing disks. Makes the paths of backing files
/// absolute.
pub(super) fn check(
    section: Option<&Node>,
    disks: &mut BTreeMap<String, Disk>,
    known: &[String],
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) {
    for (key, node) in section.map(Node::entries).unwrap_or_default() {
        let usable = key.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !usable || key.name.is_empty() || key.name.len() > 64 {
            let message = format!("`{}` is not a valid disk name", key.name);
            let help = "use letters, digits, `_` and `-`, at most 64 characters";
            diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
        }
        if matches!(node.kind, Kind::Seq(_)) {
            let message = format!("`{}` takes a map, not a list", key.name);
            diagnostics
                .push(Diagnostic::error(Code::WrongValue, &key.at, message).help("write `{size: 64M}`"));
            continue;
        }
        let Some(disk) = disks.get_mut(&key.name) else {
            continue;
        };
        if let Err((at, message, help)) = disk.check() {
            let at = node.entry(at).map_or(&key.at, |(key, _)| &key.at);
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
        if let (Some(copy), Some(node)) = (&mut disk.copy, node.get("copy")) {
            locate(copy, &origin(node, scope, &BTreeMap::new()), "", diagnostics);
        }
        let is_shared = disk.share;
        let Some(backing) = disk.backing.as_mut().filter(|below| !template::is_template(below)) else {
            continue;
        };
        let at = node.get("backing").map_or(key.at.clone(), |node| origin(node, scope, &BTreeMap::new()));
        if Disk::is_file(backing) {
            locate(backing, &at, "; the name of a disk has no `.` and no `/`", diagnostics);
            continue;
        }
        let backing = backing.clone();
        if is_shared && disks.get(&backing).is_some_and(|below| !below.share) {
            let message =
                format!("a shared disk cannot be backed by `{backing}`, which each VM has for itself");
            let help = format!("add `share: true` to `{backing}`");
            diagnostics.push(Diagnostic::error(Code::WrongValue, &at, message).help(help));
            continue;
        }
        let others = || known.iter().map(String::as_str).filter(|name| *name != key.name);
        let (message, help) = match cycle(&key.name, disks).as_slice() {
            [] if known.contains(&backing) => continue,
            [] => (format!("unknown backing disk `{backing}`"), suggest(&backing, others())),
            [itself] => (format!("disk `{itself}` is its own backing disk"), suggest("", others())),
            // Reported once, at the first of them.
            all if all.iter().any(|other| *other < key.name.as_str()) => continue,
            all => {
                let message = format!("the backing disks form a cycle: {} -> {}", all.join(" -> "), key.name);
                (message, "the last disk of a chain has a `size` and no `backing`".to_owned())
            }
        };
        diagnostics.push(Diagnostic::error(Code::WrongValue, &at, message).help(help));
    }
}

/// Makes the path of an image absolute.
fn locate(path: &mut String, at: &Location, more_help: &str, diagnostics: &mut Diagnostics) {
    if template::is_template(path) {
        return;
    }
    match paths::existing(path, at) {
        Ok(found) => *path = found,
        Err(message) => {
            let help = format!("{}{more_help}", paths::RULE);
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}

/// The backing chain of a disk, starting with itself, if it is a cycle; else empty.
fn cycle<'d>(name: &'d str, disks: &'d BTreeMap<String, Disk>) -> Vec<&'d str> {
    let mut chain = vec![name];
    while let Some(below) = chain.last().and_then(|last| disks.get(*last)?.backing.as_deref()) {
        if below == name {
            return chain;
        }
        if chain.contains(&below) {
            break;
        }
        chain.push(below);
    }
    Vec::new()
}
