//! Where a name is declared.

use std::path::Path;
use std::sync::Arc;

use super::completion::in_template;
use super::hover::entry_at;
use super::names::{Kind, Name, kind_of_keys, kind_of_value, of_loops, resolve};
use super::outline::{Entry, unquoted};
use super::view::{View, params_of_other};
use crate::diagnostic::{Location, SourceFile};

/// The places of what is named at a byte of the text.
pub(super) fn definitions(view: &View<'_>, at: usize) -> Vec<Location> {
    let Some((entry, is_key)) = entry_at(view.text, at) else {
        return Vec::new();
    };
    let mut found = if is_key { of_key(view, &entry) } else { of_value(view, &entry, at) };
    let mut seen: Vec<Location> = Vec::new();
    found.retain(|at| {
        let is_new = !seen.iter().any(|known| known.path() == at.path() && known.start == at.start);
        seen.extend(is_new.then(|| at.clone()));
        is_new
    });
    found
}

fn of_key(view: &View<'_>, entry: &Entry) -> Vec<Location> {
    let (Some(name), Some((_, map))) = (entry.name(), entry.path.split_last()) else {
        return Vec::new();
    };
    match kind_of_keys(map) {
        // From the steps of a hook to the place of the hook.
        Some(Kind::Hook) => places(view, &[Kind::Hook], name),
        Some(Kind::ParamOfOther) => {
            let params = params_of_other(view, entry, map).into_iter();
            params.filter(|param| param.name == name).map(|param| param.at).collect()
        }
        Some(kind) => places(view, &[kind], name),
        None => Vec::new(),
    }
}

fn of_value(view: &View<'_>, entry: &Entry, at: usize) -> Vec<Location> {
    let Some(value) = entry.value.clone() else {
        return Vec::new();
    };
    if let Some(word) = in_template(view.text, &value, at) {
        let path: Vec<&str> = view.text[word].split('.').collect();
        return of_template(view, entry, &path);
    }
    let name = unquoted(&view.text[value]);
    match kind_of_value(&entry.path) {
        Some(Kind::File) => {
            let path = resolve(view.path, &name);
            let exists = view.texts.contains_key(&path) || path.is_file();
            exists.then(|| top_of(&path)).into_iter().collect()
        }
        // From the place of a hook to its steps.
        Some(Kind::Hook) => view.hooks(&name).map(|key| key.at.clone()).collect(),
        Some(Kind::Vm) => places(view, &[Kind::Vm, Kind::Role], &name),
        Some(kind) => places(view, &[kind], &name),
        None => Vec::new(),
    }
}

/// The places of the names of these kinds.
fn places(view: &View<'_>, kinds: &[Kind], name: &str) -> Vec<Location> {
    let fits = |known: &Name| kinds.contains(&known.kind) && known.name == name;
    view.declared().into_iter().filter(fits).map(|known| known.at).collect()
}

/// The place of a name inside `{{…}}`.
fn of_template(view: &View<'_>, entry: &Entry, path: &[&str]) -> Vec<Location> {
    let (kinds, name): (&[Kind], &str) = match path {
        ["run", "captures", name, ..] => (&[Kind::Capture], name),
        ["run", "vm", name, ..] => (&[Kind::Vm, Kind::Role], name),
        ["run", "role", name, ..] => (&[Kind::Role], name),
        ["run", "process", name, ..] => (&[Kind::Process], name),
        ["run", "client", name, ..] => (&[Kind::Client], name),
        ["run", "link", name, ..] | ["link", name, ..] => (&[Kind::Link], name),
        ["port", name, ..] => (&[Kind::Port], name),
        ["disk", name, ..] | ["self", "disk", name, ..] => (&[Kind::Disk], name),
        ["credential", name, ..] => (&[Kind::Credential], name),
        [name, ..] => {
            let of_loop = of_loop(view, entry, name);
            return if of_loop.is_empty() { places(view, &[Kind::Param], name) } else { of_loop };
        }
        [] => return Vec::new(),
    };
    places(view, kinds, name)
}

/// The place where a loop around the entry gives its steps this name.
fn of_loop(view: &View<'_>, entry: &Entry, name: &str) -> Vec<Location> {
    let file = Arc::new(SourceFile::new(view.path, view.text));
    let own = of_loops(view.text, entry).into_iter().filter(|(known, _)| known == name);
    own.map(|(_, at)| Location::of(&file, at.start, at.end)).collect()
}

fn top_of(path: &Path) -> Location {
    Location::top_of(&Arc::new(SourceFile::new(path, "")))
}
