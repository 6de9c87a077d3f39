//! `lockstep new`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

/// Write a new scenario to start from. Its first line names the JSON Schema for editors, which is written beside it unless
/// there is one in a directory above.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The file to write; `.yaml` is appended if it has no extension.
    path: PathBuf,

    /// The template.
    #[arg(long, value_enum, default_value = "precopy", env = "LOCKSTEP_TEMPLATE")]
    template: Template,

    /// Overwrite an existing file.
    #[arg(long, env = "LOCKSTEP_FORCE")]
    force: bool,
}

/// The template of a new scenario.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    /// A COLO pair in lock-step; one side is lost, the other takes over (QEMU 11.0 and later).
    Colo,
    /// A live migration of a running guest.
    Precopy,
    /// One VM, and a placeholder step.
    Blank,
}

impl Template {
    const fn text(self) -> &'static str {
        match self {
            Self::Colo => include_str!("new/colo.yaml"),
            Self::Precopy => include_str!("new/precopy.yaml"),
            Self::Blank => include_str!("new/blank.yaml"),
        }
    }
}

impl New {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = match self.path.extension() {
            Some(_) => self.path.clone(),
            None => self.path.with_extension("yaml"),
        };
        let shown = path.display();
        let mut options = std::fs::OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let mut file = match options.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{shown} already exists; use --force to overwrite it")
            }
            opened => opened.with_context(|| format!("cannot write {shown}"))?,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let (schema, is_new) = match schema_above(folder) {
            Some(schema) => (schema, false),
            None => (PathBuf::from(SCHEMA), true),
        };
        if is_new {
            let text = serde_json::to_string_pretty(&crate::schema::schema())? + "\n";
            let schema = folder.join(SCHEMA);
            std::fs::write(&schema, text).with_context(|| format!("cannot write {}", schema.display()))?;
        }
        let text = named(self.template.text(), &path).replace("SCHEMA", &schema.display().to_string());
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {shown}"))?;
        let also = if is_new {
            format!(", and {} for editors", folder.join(SCHEMA).display())
        } else {
            String::new()
        };
        anstream::println!("wrote {shown}{also}; next: lockstep check {shown}, lockstep run {shown}");
        Ok(ExitCode::SUCCESS)
    }
}

/// The file of the JSON Schema.
const SCHEMA: &str = "scenario.schema.json";

/// The nearest JSON Schema in a directory or above it, as a path relative to that directory.
fn schema_above(folder: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(folder).ok()?;
    whole.ancestors().enumerate().find_map(|(up, above)| {
        let there = [PathBuf::from(SCHEMA), Path::new("schemas").join(SCHEMA)];
        let found = there.into_iter().find(|file| above.join(file).is_file())?;
        Some(std::iter::repeat_n(Path::new(".."), up).collect::<PathBuf>().join(found))
    })
}

/// The scenario, named after its file.
fn named(text: &str, path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let clean = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    let name: String = stem.chars().map(clean).collect();
    let usable = !name.trim_matches('.').is_empty() && name.len() <= 200;
    text.replace("NAME", if usable { &name } else { "scenario" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Options, load};
    use crate::template::NoVersions;

    fn write(path: &Path, template: Template, force: bool) -> anyhow::Result<ExitCode> {
        New { path: path.to_owned(), template, force }.run()
    }

    #[test]
    fn each_template_passes_the_check_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for template in Template::value_variants() {
            for name in ["first", "a b: {{c}} \"d\"", "ünï", ".", "no", "12"] {
                let path = folder.path().join(format!("{name}.yaml"));
                write(&path, *template, true).unwrap();
                let loaded = load(&[path], &Options::default(), &NoVersions);
                assert!(
                    loaded.diagnostics.is_empty(),
                    "{template:?} {name}: {}",
                    loaded.diagnostics.render(false)
                );
                assert!(!loaded.cases.is_empty() && loaded.templates.is_empty());
            }
        }
    }

    #[test]
    fn the_cases_are_named_after_the_file() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("mine"), Template::Precopy, false).unwrap();
        let loaded = load(&[folder.path().join("mine.yaml")], &Options::default(), &NoVersions);
        let names: Vec<&str> = loaded.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["mine/tcp", "mine/unix"]);
    }

    #[test]
    fn an_existing_file_is_only_overwritten_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.yaml");
        std::fs::write(&path, "kept").unwrap();
        let error = write(&path, Template::Blank, false).unwrap_err().to_string();
        assert!(error.ends_with("already exists; use --force to overwrite it"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        write(&path, Template::Blank, true).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("steps:"));
    }
}
