//! The files of a guest of the scenario's own.

use std::path::{Path, absolute};

use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::qemu::disk::Disk;
use crate::qemu::image::OVERLAY;
use crate::qemu::spec::{Guest, VmSpec};
use crate::template;
use crate::yaml::Node;

/// Makes the paths of the guest's files absolute, and gives the VM a disk on top of an image file; `disks` are the names
/// that its disk may have. Reports what is wrong.
pub(super) fn locate(node: &Node, spec: &mut VmSpec, disks: &[String], diagnostics: &mut Diagnostics) {
    let Guest::Image(image) = &mut spec.guest else { return };
    let own = node.get("guest").and_then(|guest| guest.get("image"));
    let key = |key: &str| own.and_then(|own| own.get(key)).unwrap_or(node);
    let mut error = |code, at: &Node, message: String, help: String| {
        diagnostics.push(Diagnostic::error(code, &at.at, message).help(help));
    };
    for (name, file) in [("kernel", &mut image.kernel), ("initrd", &mut image.initrd)] {
        let Some(file) = file.as_mut().filter(|file| !template::is_template(file)) else { continue };
        let at = key(name);
        match file_at(at, file) {
            Ok(path) => *file = path,
            Err(tried) => {
                let help = "the path is relative to this file".to_owned();
                error(Code::WrongValue, at, format!("there is no file `{tried}`"), help);
            }
        }
    }
    let Some(disk) = &mut image.disk else { return };
    let at = key("disk");
    if template::is_template(disk) {
        let message = "the disk of a guest must be known before the run".to_owned();
        let help = "write the name of one of the `disks`, or the path of an image file".to_owned();
        error(Code::Deferred, at, message, help);
    } else if Disk::is_file(disk) {
        match file_at(at, disk) {
            Ok(path) => {
                let overlay = Disk { size: None, format: "qcow2".to_owned(), backing: Some(path) };
                spec.disks.insert(OVERLAY.to_owned(), overlay);
                OVERLAY.clone_into(disk);
            }
            Err(tried) => {
                let help =
                    "the path is relative to this file; the name of a disk has no `.` and no `/`".to_owned();
                error(Code::WrongValue, at, format!("there is no file `{tried}`"), help);
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

/// The absolute path of a file that is named at a place; or the path that was tried.
fn file_at(at: &Node, file: &str) -> Result<String, String> {
    let tried = at.at.path().parent().unwrap_or(Path::new("")).join(file);
    let path = absolute(&tried).ok().filter(|path| path.is_file());
    path.map(|path| path.display().to_string()).ok_or_else(|| tried.display().to_string())
}
