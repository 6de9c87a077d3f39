//! Paths of the host's files in a scenario: relative to the file in which they are written, else to the current directory;
//! with `guests:` to the guests directory.

use std::path::{Component, Path, PathBuf, absolute};

use serde_json::{Value, json};

use super::typed::{Piece, Reader, origin};
use crate::diagnostic::{Code, Diagnostics, Location};
use crate::qemu::guests_dir;
use crate::template;
use crate::yaml::Node;

/// The options of a VM that name a file, and whether it must exist when the scenario is loaded. A `qemu` may also be a
/// name of the command line, or be missing where the scenario is only checked.
pub(super) const OF_VM: &[(&[&str], bool)] = &[
    (&["guest", "linux", "kernel"], true),
    (&["guest", "linux", "initrd"], true),
    (&["guest", "image", "kernel"], true),
    (&["guest", "image", "initrd"], true),
    (&["guest", "linux", "access", "ssh", "key"], true),
    (&["guest", "image", "access", "ssh", "key"], true),
    (&["firmware", "code"], true),
    (&["firmware", "vars"], true),
    (&["qemu"], false),
];

/// The same of a step.
pub(super) const OF_STEP: &[(&[&str], bool)] = &[(&["guest", "from"], true)];

/// The absolute path of an existing file that a text at this place names.
///
/// # Errors
/// What is wrong, with the places that were tried.
fn existing(path: &str, at: &Location) -> Result<String, String> {
    // Where that is, only the run knows.
    if guests_dir::is_inside(path) {
        return Ok(path.to_owned());
    }
    let folder = at.path().parent().unwrap_or(Path::new(""));
    let mut tried = vec![folder.join(path), PathBuf::from(path)];
    tried.dedup();
    if let Some(found) = tried.iter().find(|path| path.is_file()) {
        return absolute(tidy(found)).map(|path| path.display().to_string()).map_err(|why| why.to_string());
    }
    let tried: Vec<String> = tried.iter().map(|path| format!("`{}`", path.display())).collect();
    Err(format!("there is no file {}", tried.join(" and no file ")))
}

/// As [`existing`]; reports what is wrong, with more help.
pub(super) fn find(
    path: &str,
    at: &Location,
    more_help: &str,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let wrong = |message| diagnostics.error(Code::WrongValue, at, message, format!("{RULE}{more_help}"));
    existing(path, at).map_err(wrong).ok()
}

/// Makes the relative paths in these options of a VM or a step absolute.
pub(super) fn locate(
    options: &[(&[&str], bool)],
    piece: &mut Piece,
    node: &Node,
    reader: &mut Reader<'_, '_>,
) {
    for (keys, must_exist) in options {
        let pointer = format!("/{}", keys.join("/"));
        let Some(Value::String(path)) = piece.value.pointer(&pointer) else {
            continue;
        };
        let Some(value) = keys.iter().try_fold(node, |node, key| node.get(key)) else {
            continue;
        };
        let is_name = !must_exist && !path.contains('/');
        if is_name || template::is_template(path) || Path::new(path).is_absolute() {
            continue;
        }
        let at = origin(value, reader.scope);
        let found = match must_exist {
            true => find(path, &at, "", reader.diagnostics),
            false => existing(path, &at).ok(),
        };
        if let Some(found) = found {
            let raw = piece.raw.as_mut().and_then(|raw| raw.pointer_mut(&pointer));
            raw.into_iter().for_each(|raw| *raw = json!(template::escape(&found)));
            piece.value.pointer_mut(&pointer).into_iter().for_each(|value| *value = json!(found));
        }
    }
}

/// The help for a path that leads nowhere.
const RULE: &str = "a path is relative to the file in which it is written, else to the current directory";

/// A path without `x/..`, if that is the same file; with symbolic links it may not be.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(short.components().next_back(), Some(Component::Normal(_))) => {
                short.pop();
            }
            other => short.push(other),
        }
    }
    if same_file(path, &short) { short } else { path.to_owned() }
}

pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::qemu::image::OVERLAY;
    use crate::qemu::spec::Guest;
    use crate::scenario::tests::{Folder, sound};

    #[test]
    fn a_path_is_relative_to_its_file_else_to_the_current_directory() {
        let folder = Folder::new(&[("Cargo.toml", "")]);
        let file = SourceFile::new(folder.path("a.yaml"), "x");
        let at = Location::top_of(&Arc::new(file));
        let found = |path| existing(path, &at);
        let own = folder.path("Cargo.toml").display().to_string();
        assert_eq!(found("Cargo.toml"), Ok(own.clone()), "its file is first");
        assert_eq!(found(&own), Ok(own.clone()));
        let root = std::env::current_dir().unwrap();
        assert_eq!(found("src/lib.rs"), Ok(root.join("src/lib.rs").display().to_string()));
        let beside = folder.path("none").display().to_string();
        assert_eq!(found("none"), Err(format!("there is no file `{beside}` and no file `none`")));
        assert_eq!(found(&beside), Err(format!("there is no file `{beside}`")));
    }

    #[test]
    fn the_file_of_a_vm_is_sought_beside_the_file_that_sets_it() {
        let base = "params: {kernel: none, image: none}\nvms: {own: {guest: {image: {disk: '{{image}}'}}}, vm: {qemu: ./q, guest: {linux: {kernel: '{{kernel}}', initrd: i, \
             append: '{{case.dir}}'}}}}\nsteps: []";
        let case = "extends: t/base.yaml\nwith: {kernel: k, image: i.raw}";
        let files =
            [("t/base.yaml", base), ("case.yaml", case), ("t/i", ""), ("k", ""), ("i.raw", ""), ("t/q", "")];
        let folder = Folder::new(&files);
        let case = &sound(folder.load(&["case.yaml"]))[0];
        let Guest::Linux(linux) = &case.vms["vm"].guest else { panic!("not Linux") };
        let real = |name: &str| folder.path(name).display().to_string();
        assert_eq!(linux.kernel, Some(real("k")));
        assert_eq!(linux.initrd, Some(real("t/i")));
        assert_eq!(case.vms["vm"].qemu, real("t/q"));
        assert_eq!(case.vms["own"].disks[OVERLAY].backing, Some(real("i.raw")));
        let template = case.vm_sources["vm"].template.as_ref().unwrap();
        assert_eq!(template["guest"]["linux"]["kernel"], json!(real("k")));
    }

    #[test]
    fn a_path_is_normalized() {
        let folder = Folder::new(&[("a/x", ""), ("b.yaml", "")]);
        assert_eq!(tidy(&folder.path("a/../b.yaml")), folder.path("b.yaml"));
    }
}
