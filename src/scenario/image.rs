//! The disk of a guest of the scenario's own.

use serde_json::{Value, json};

use super::paths;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::qemu::disk::Disk;
use crate::qemu::image::OVERLAY;
use crate::qemu::spec::{Guest, VmSpec};
use crate::template;
use crate::yaml::Node;

/// Gives the VM a disk on top of an image file; `disks` are the names that its disk may have. Reports what is wrong.
pub(super) fn locate(node: &Node, spec: &mut VmSpec, disks: &[String], diagnostics: &mut Diagnostics) {
    let Guest::Image(image) = &mut spec.guest else { return };
    let own = node.get("guest").and_then(|guest| guest.get("image"));
    let key = |key: &str| own.and_then(|own| own.get(key)).unwrap_or(node);
    let mut error = |code, at: &Node, message: String, help: String| {
        diagnostics.push(Diagnostic::error(code, &at.at, message).help(help));
    };
    let Some(disk) = &mut image.disk else { return };
    let at = key("disk");
    if template::is_template(disk) {
        let message = "the disk of a guest must be known before the run".to_owned();
        let help = "write the name of one of the `disks`, or the path of an image file".to_owned();
        error(Code::Deferred, at, message, help);
    } else if Disk::is_file(disk) {
        match paths::existing(disk, &at.at) {
            Ok(path) => {
                let overlay = Disk::on(path);
                spec.disks.insert(OVERLAY.to_owned(), overlay);
                OVERLAY.clone_into(disk);
            }
            Err(message) => {
                let help = format!("{}; the name of a disk has no `.` and no `/`", paths::RULE);
                error(Code::WrongValue, at, message, help);
            }
        }
    } else if !disks.contains(disk) {
        let known = disks.iter().map(String::as_str);
        error(Code::WrongValue, at, format!("there is no disk `{disk}`"), suggest(disk, known));
    }
}

/// Writes what `locate` has changed into the VM's options as they are read again in a run.
pub(super) fn rewrite(spec: &VmSpec, raw: &mut Value) {
    if matches!(spec.guest, Guest::Image(_)) {
        raw["guest"] = json!(spec.guest);
        if let Some(overlay) = spec.disks.get(OVERLAY) {
            raw["disks"][OVERLAY] = json!(overlay);
        }
    }
}
