//! The disks of a case and of its VMs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::typed::{Reader, origin};
use super::{names, paths};
use crate::diagnostic::{Code, Location, suggest};
use crate::qemu::disk::Disk;
use crate::qemu::image::OVERLAY;
use crate::qemu::spec::{Guest, VmSpec};
use crate::template;
use crate::yaml::{Kind, Node};

/// The rest of the help for a path where the name of a disk is also possible.
const OR_DISK: &str = "; the name of a disk has no `.` and no `/`";

/// Reads the `disks` of a scenario.
pub(super) fn read(root: &Node, reader: &mut Reader<'_, '_>) -> BTreeMap<String, Disk> {
    let mut disks = BTreeMap::new();
    let Some((section, node)) = root.entry("disks") else {
        return disks;
    };
    for (key, node) in node.entries() {
        // Read each one separately, so that one error does not hide others.
        disks.extend(reader.read::<Disk>(&key.at, node).map(|disk| (key.name.clone(), disk)));
    }
    check(root, &mut disks, &names(root), reader);
    for (name, _) in disks.iter().filter(|(_, disk)| disk.share) {
        let at = node.get(name).and_then(|disk| disk.entry("share")).map_or(&section.at, |(key, _)| &key.at);
        let message = format!("`share` is for a disk of a VM; every VM can use `{name}`");
        let help = format!("remove `share`: `{{{{disk.{name}}}}}` is one image for all VMs");
        reader.error(Code::WrongValue, at, message, help);
    }
    disks
}

/// The names of the disks of a scenario or of a VM, including invalid ones.
pub(super) fn names(owner: &Node) -> Vec<String> {
    owner.section("disks").iter().map(|(key, _)| key.name.clone()).collect()
}

/// Checks the disks of a scenario or of a VM; `known` are the names of possible backing disks. Makes the paths of backing
/// files absolute.
pub(super) fn check(
    owner: &Node,
    disks: &mut BTreeMap<String, Disk>,
    known: &[String],
    reader: &mut Reader<'_, '_>,
) {
    for (key, node) in owner.section("disks") {
        names::DISK.check(key, reader.diagnostics);
        if matches!(node.kind, Kind::Seq(_)) {
            let message = format!("`{}` takes a map, not a list", key.name);
            reader.error(Code::WrongValue, &key.at, message, "write `{size: 64M}`");
            continue;
        }
        let Some(disk) = disks.get_mut(&key.name) else {
            continue;
        };
        if let Err((at, message, help)) = disk.check() {
            let at = node.entry(at).map_or(&key.at, |(key, _)| &key.at);
            reader.error(Code::WrongValue, at, message, help);
        }
        let set_at = |node| origin(node, reader.scope);
        let (copy_at, backing_at) = (node.get("copy").map(set_at), node.get("backing").map(set_at));
        if let (Some(copy), Some(at)) = (&mut disk.copy, copy_at) {
            locate(copy, &at, "", reader);
        }
        let is_shared = disk.share;
        let Some(backing) = disk.backing.as_mut().filter(|below| !template::is_template(below)) else {
            continue;
        };
        let at = backing_at.unwrap_or_else(|| key.at.clone());
        if Disk::is_file(backing) {
            locate(backing, &at, OR_DISK, reader);
            continue;
        }
        let backing = backing.clone();
        if is_shared && disks.get(&backing).is_some_and(|below| !below.share) {
            let message =
                format!("a shared disk cannot be backed by `{backing}`, which each VM has for itself");
            reader.error(Code::WrongValue, &at, message, format!("add `share: true` to `{backing}`"));
            continue;
        }
        let others = || known.iter().filter(|name| **name != key.name);
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
        reader.error(Code::WrongValue, &at, message, help);
    }
}

/// Makes the path of an image absolute.
fn locate(path: &mut String, at: &Location, more_help: &str, reader: &mut Reader<'_, '_>) {
    if !template::is_template(path)
        && let Some(found) = paths::find(path, at, more_help, reader.diagnostics)
    {
        *path = found;
    }
}

/// Gives the VM a disk on top of an image file; `disks` are the names that its disk may have. Reports what is wrong.
pub(super) fn locate_guest(node: &Node, spec: &mut VmSpec, disks: &[String], reader: &mut Reader<'_, '_>) {
    let Guest::Image(image) = &mut spec.guest else { return };
    let own = node.get("guest").and_then(|guest| guest.get("image"));
    let disk = own.and_then(|own| own.get("disk"));
    let at = &disk.map_or_else(|| node.at.clone(), |disk| origin(disk, reader.scope));
    let Some(disk) = &mut image.disk else { return };
    if template::is_template(disk) {
        let message = "the disk of a guest must be known before the run";
        let help = "write the name of one of the `disks`, or the path of an image file";
        reader.error(Code::Deferred, at, message, help);
    } else if Disk::is_file(disk) {
        if let Some(path) = paths::find(disk, at, OR_DISK, reader.diagnostics) {
            spec.disks.insert(OVERLAY.to_owned(), Disk::on(path));
            OVERLAY.clone_into(disk);
        }
    } else if !disks.contains(disk) {
        let message = format!("there is no disk `{disk}`");
        reader.error(Code::WrongValue, at, message, suggest(disk, disks));
    }
}

/// Writes what `locate_guest` has changed into the VM's options as they are read again in a run.
pub(super) fn rewrite(spec: &VmSpec, raw: &mut Value) {
    if matches!(spec.guest, Guest::Image(_)) {
        raw["guest"] = json!(spec.guest);
        if let Some(overlay) = spec.disks.get(OVERLAY) {
            raw["disks"][OVERLAY] = json!(overlay);
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
