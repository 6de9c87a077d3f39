//! From text to cases. Starts nothing.
//!
//! A file is read into a tree in which everything knows its place ([`source`]), laid over what it extends, and expanded
//! into one [`model::Case`] per cell of its matrix. Everything that is wrong is gathered, over all files, cells and
//! steps, as [`Diagnostics`].

mod args;
mod artifacts;
mod cases;
mod credentials;
mod disks;
mod flow;
mod issues;
mod late;
pub mod lint;
mod load;
mod matrix;
pub mod model;
pub mod net;
mod node;
mod params;
mod places;
mod reader;
mod roles;
pub mod scalar;
pub mod schema;
pub mod source;
mod steps;
mod sweep;
mod typed;
mod vms;
mod wanted;
mod yaml;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, SourceFile, suggest};

pub use late::{Late, resolve_link, resolve_step, resolve_text, resolve_vm, resolve_when};
pub use yaml::to_yaml;

use model::Case;
use params::Setting;

/// What a call says beside the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Params and axes set by `-D name=value`, the later winning. A value is read as a plain YAML scalar.
    pub defines: Vec<(String, String)>,
    /// What random axes draw their values by.
    pub seed: u64,
}

/// Who knows the versions of the QEMU binaries.
pub trait QemuVersions: Sync {
    /// The version of a QEMU, by what a VM's `qemu` and `arch` say; `None` where it was not (or could not be) asked.
    /// Asked often: keep the answers.
    fn version_of(&self, qemu: &str, arch: &str) -> Option<semver::Version>;
}

impl QemuVersions for crate::template::NoVersions {
    fn version_of(&self, _: &str, _: &str) -> Option<semver::Version> {
        None
    }
}

/// What became of the files of a call.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The cases, file by file, each file's in the order of its matrix. Those of a file with mistakes that could still
    /// be expanded are among them; run none where [`Diagnostics::has_errors`].
    pub cases: Vec<Case>,
    /// Everything that is wrong.
    pub diagnostics: Diagnostics,
    /// The files that are templates and make no cases of their own. Fine where a glob named them; where the user named
    /// one himself, he should be told what it needs.
    pub templates: Vec<Template>,
}

/// A file that makes no cases of its own.
#[derive(Debug, Clone)]
pub struct Template {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The params that it requires and that nothing sets; empty where it is a file for `use`.
    pub missing: Vec<String>,
}

/// Reads scenario files and expands them into cases.
#[must_use]
pub fn load(paths: &[PathBuf], options: &Options, versions: &dyn QemuVersions) -> Loaded {
    expand(load::Loader::default(), paths, options, versions)
}

/// Reads scenarios that are at hand as texts, each with the name it goes by, and expands them into cases. What they
/// name in `extends` and `use` is looked for among the texts first, then on the disk.
#[must_use]
pub fn load_texts(texts: &[(PathBuf, String)], options: &Options, versions: &dyn QemuVersions) -> Loaded {
    let mut loader = load::Loader::default();
    for (path, text) in texts {
        loader.read_text(path, text);
    }
    let paths: Vec<PathBuf> = texts.iter().map(|(path, _)| path.clone()).collect();
    expand(loader, &paths, options, versions)
}

fn expand(
    mut loader: load::Loader,
    paths: &[PathBuf],
    options: &Options,
    versions: &dyn QemuVersions,
) -> Loaded {
    loader.seed = options.seed;
    let defines: Vec<Setting> = options.defines.iter().map(|(name, value)| define(name, value)).collect();
    let mut loaded = Loaded::default();
    let mut names: HashMap<String, Location> = HashMap::new();
    let mut known = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        // Two globs may name the same file.
        if paths[..at].contains(path) {
            continue;
        }
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
        for case in expanded.cases(&mut loader) {
            if let Some(first) = names.get(&case.name) {
                loader.complain(twice(&case, first));
                continue;
            }
            names.insert(case.name.clone(), case.at.clone());
            loaded.cases.push(case);
        }
    }
    for define in &defines {
        // Where no file could be read there is nothing to say of their params.
        let told = known.is_empty() && loader.diagnostics.has_errors();
        if !(told || paths.is_empty() || known.contains(&define.name)) {
            let message = format!("no scenario has a parameter or an axis `{}`", define.name);
            let help = suggest(&define.name, known.iter().map(String::as_str));
            loader.complain(Diagnostic::error(Code::Param, &define.at, message).help(help));
        }
    }
    // What a mistake hides could well name them.
    if !loader.diagnostics.has_errors() {
        loader.diagnostics.extend(loader.unused.warnings());
    }
    loaded.diagnostics = loader.diagnostics;
    loaded
}

/// A `-D name=value`; its place is the command line.
fn define(name: &str, value: &str) -> Setting {
    let file = Arc::new(SourceFile { path: PathBuf::from("-D"), text: format!("{name}={value}") });
    Setting {
        name: name.to_owned(),
        value: scalar::plain(value),
        at: Location::of(&file, name.len() + 1, file.text.len()),
    }
}

fn twice(case: &Case, first: &Location) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Code::CaseName, &case.at, format!("two cases are called `{}`", case.name));
    if case.at == *first {
        let axes: Vec<String> = case.params.keys().map(|name| format!("`{{{{{name}}}}}`")).collect();
        diagnostic.help(format!("name what tells them apart: one of {}", axes.join(", ")))
    } else {
        diagnostic.related(first, "the other one")
    }
}

#[cfg(test)]
mod tests;
