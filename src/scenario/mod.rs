//! Loads scenario files into cases. Starts nothing.
//!
//! A file is parsed into a tree in which every node has its place ([`crate::yaml`]), merged over what it extends, and expanded
//! into one [`model::Case`] per cell of its matrix. All errors, of all files, cells and steps, are collected as
//! [`Diagnostics`].

mod args;
mod artifacts;
mod cases;
mod credentials;
mod deferred;
mod disks;
pub(crate) mod flow;
mod issues;
pub(crate) mod keys;
pub(crate) mod later;
pub mod lint;
mod load;
mod matrix;
pub(crate) mod merge;
pub mod model;
mod names;
mod needs;
pub mod net;
pub(crate) mod params;
mod paths;
mod render;
mod required_parameters;
mod shared;
mod steps;
mod sweep;
mod typed;
pub(crate) mod vms;
pub(crate) mod when;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexSet;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, SourceFile, suggest};
use crate::yaml::{self, Node};

pub use deferred::{
    RunValues, Unresolved, resolve_link, resolve_step, resolve_text, resolve_vm, resolve_when,
};
pub use keys::to_yaml;
pub(crate) use paths::tidy;
pub(crate) use typed::escaped;

use model::Case;
use params::Setting;

/// The options of a call.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Params and axes set by `-D name=value`; the last one wins. A value is read as a plain YAML scalar.
    pub defines: Vec<(String, String)>,
    /// The seed of random axes.
    pub seed: u64,
}

/// Provides the versions of the QEMU binaries.
pub trait QemuVersions: Sync {
    /// The version of the QEMU for a VM's `qemu` and `arch`; `None` if it was not (or could not be) probed. Called often:
    /// cache the results.
    fn version_of(&self, qemu: &str, arch: &str) -> Option<semver::Version>;
}

impl QemuVersions for crate::template::NoVersions {
    fn version_of(&self, _: &str, _: &str) -> Option<semver::Version> {
        None
    }
}

/// The result of loading the files of a call.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The cases, file by file, in the order of each file's matrix. Includes cases of files with errors; run none if
    /// [`Diagnostics::has_errors`].
    pub cases: Vec<Case>,
    /// All errors and warnings.
    pub diagnostics: Diagnostics,
    /// All files that were read.
    pub sources: Vec<PathBuf>,
    /// The files that are templates without cases of their own. If a user names one (not by a glob), the command should
    /// report what it needs.
    pub templates: Vec<Template>,
}

/// A file without cases of its own.
#[derive(Debug, Clone)]
pub struct Template {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The required params that are not set; empty for a file for `use`.
    pub missing: Vec<String>,
}

/// Loads scenario files and expands them into cases.
#[must_use]
pub fn load(paths: &[PathBuf], options: &Options, versions: &dyn QemuVersions) -> Loaded {
    load_edited(paths, &Texts::new(), options, versions)
}

/// Loads scenarios from texts, each with a file name, and expands them into cases. Files in `extends` and `use` are looked
/// up among the texts first, then on disk.
#[must_use]
pub fn load_texts(texts: &[(PathBuf, String)], options: &Options, versions: &dyn QemuVersions) -> Loaded {
    let paths: Vec<PathBuf> = texts.iter().map(|(path, _)| path.clone()).collect();
    let texts = texts.iter().map(|(path, text)| (path.clone(), text.as_str().into())).collect();
    load_edited(&paths, &texts, options, versions)
}

/// Texts in place of files on disk, such as those that are open in an editor.
pub type Texts = HashMap<PathBuf, Arc<str>>;

/// A file merged over everything it extends, as far as that is possible with errors; `None` if one of them is not valid YAML.
#[must_use]
pub fn merged(path: &Path, texts: &Texts) -> Option<Node> {
    let mut loader = load::Loader::with(texts);
    loader.is_lenient = true;
    loader.scenario(path)
}

/// As [`load`]; a file that is among the texts has that text, whether it is on disk or not.
#[must_use]
pub fn load_edited(
    paths: &[PathBuf],
    texts: &Texts,
    options: &Options,
    versions: &dyn QemuVersions,
) -> Loaded {
    let mut loader = load::Loader::with(texts);
    loader.seed = options.seed;
    let defines: Vec<Setting> = options.defines.iter().map(|(name, value)| define(name, value)).collect();
    let mut loaded = Loaded::default();
    let mut known = Vec::new();
    // Two globs may match the same file.
    for path in paths.iter().collect::<IndexSet<_>>() {
        let Some(own) = loader.read(path) else {
            continue;
        };
        if let Some(missing) = cases::template(&own, path, &defines, &mut loader.diagnostics) {
            loaded.templates.push(Template { path: path.clone(), missing });
            continue;
        }
        let Some(root) = loader.scenario(path) else {
            continue;
        };
        let expanded = cases::File::new(&root, path, &defines, versions, &mut loader);
        known.extend(expanded.names());
        expanded.add_cases(&mut loaded.cases, &mut loader);
    }
    remove_duplicates(&mut loaded.cases, &mut loader.diagnostics);
    for define in &defines {
        // If no file could be read, their params are unknown.
        let unreadable = known.is_empty() && loader.diagnostics.has_errors();
        if !(unreadable || paths.is_empty() || known.contains(&define.name)) {
            let message = format!("no scenario has a parameter or an axis `{}`", define.name);
            loader.diagnostics.error(Code::Param, &define.at, message, suggest(&define.name, &known));
        }
    }
    // With errors, uses may be missing.
    if !loader.diagnostics.has_errors() {
        loader.diagnostics.extend(loader.unused.warnings());
    }
    loaded.sources = loader.files.into_keys().collect();
    loaded.diagnostics = loader.diagnostics;
    loaded
}

/// A `-D name=value`; its place is in the command line.
fn define(name: &str, value: &str) -> Setting {
    let file = Arc::new(SourceFile::new("-D", format!("{name}={value}")));
    Setting {
        name: name.to_owned(),
        value: yaml::plain(value),
        at: Location::of(&file, name.len() + 1, file.text.len()),
    }
}

/// Reports and removes the cases with the name of an earlier one.
fn remove_duplicates(cases: &mut Vec<Case>, diagnostics: &mut Diagnostics) {
    let mut first: HashMap<&str, &Case> = HashMap::with_capacity(cases.len());
    let mut again = HashSet::new();
    for (number, case) in cases.iter().enumerate() {
        match first.entry(&case.name) {
            Entry::Occupied(first) => {
                diagnostics.push(duplicate(case, &first.get().at));
                again.insert(number);
            }
            Entry::Vacant(vacant) => _ = vacant.insert(case),
        }
    }
    drop(first);
    let mut numbers = 0..;
    cases.retain(|_| numbers.next().is_none_or(|number| !again.contains(&number)));
}

fn duplicate(case: &Case, first: &Location) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Code::CaseName, &case.at, format!("two cases have the name `{}`", case.name));
    if case.at == *first {
        let axes: Vec<String> = case.params.keys().map(|name| format!("`{{{{{name}}}}}`")).collect();
        diagnostic.help(format!("add to the name what distinguishes them: one of {}", axes.join(", ")))
    } else {
        diagnostic.related(first, "the other case")
    }
}

#[cfg(test)]
mod tests;
