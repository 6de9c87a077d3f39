//! Options shared by the commands: which scenario files and cases, with which values, on which QEMU.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::file;
use super::format::Format;
use crate::diagnostic::{Diagnostics, Location};
use crate::qemu::binary::Binary;
use crate::runner::{Binaries, unmet};
use crate::scenario::lint::against_binaries;
use crate::scenario::model::Case;
use crate::scenario::{Loaded, Options, QemuVersions, Template, load, load_texts};

/// The name of standard input, on the command line and in messages.
const STDIN: &str = "-";

/// Which cases to select.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Scenario files, directories, or glob patterns (quoted or not); `**` crosses directories. `-` is standard input.
    /// Without one: `scenarios` of lockstep.toml, else the directory `scenarios`.
    #[arg(value_name = "GLOB", default_value = "scenarios")]
    files: Vec<String>,

    /// Where the files and the tags are from.
    #[arg(skip)]
    pub(super) origin: Origin,

    /// Select the cases whose name matches this pattern (`*` also matches `/`); may be repeated.
    #[arg(long, value_name = "GLOB", env = "LOCKSTEP_CASE", value_delimiter = ',')]
    case: Vec<String>,

    /// Select the cases with this tag; with a leading `!`, those without it. May be repeated: all must hold.
    #[arg(long, value_name = "TAG", env = "LOCKSTEP_TAG", value_delimiter = ',')]
    tag: Vec<String>,

    /// Set a parameter, or restrict a matrix axis to one value; may be repeated.
    #[arg(short = 'D', value_name = "NAME=VALUE", env = "LOCKSTEP_DEFINE", value_delimiter = ',')]
    define: Vec<String>,

    /// The seed for random axes. Default: a new one each time; the reports name it.
    #[arg(long, value_name = "N", env = "LOCKSTEP_SEED")]
    seed: Option<u64>,
}

/// Where a selection is from; the default: from options and the environment.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// Whether no file was given, anywhere.
    pub(super) no_files: bool,
    /// The places of the files in `lockstep.toml`, if they are from there.
    pub(super) files: Option<Vec<Location>>,
    /// The place of the tags in `lockstep.toml`, if they are from there.
    pub(super) tags: Option<Location>,
}

/// The result of reading the files.
struct Found {
    cases: anyhow::Result<Vec<Case>>,
    diagnostics: Diagnostics,
}

impl Selection {
    /// The seed for random axes: the same in the whole process.
    pub(super) fn seed(&self) -> u64 {
        static DRAWN: OnceLock<u64> = OnceLock::new();
        self.seed.unwrap_or_else(|| {
            *DRAWN.get_or_init(|| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                // Short enough to retype.
                u64::from(now.subsec_nanos()) ^ (now.as_secs() % 1_000_000)
            })
        })
    }

    /// The values of `-D`.
    pub(super) fn defines(&self) -> &[String] {
        &self.define
    }

    /// Reads the files and selects the cases. `None`: there were errors, which have been printed.
    pub(super) fn cases(&self, versions: &dyn QemuVersions) -> anyhow::Result<Option<Vec<Case>>> {
        let Found { cases, diagnostics } = self.find(versions, None)?;
        super::format::print(&diagnostics);
        if diagnostics.has_errors() { Ok(None) } else { cases.map(Some) }
    }

    /// Like `cases`, with all checks that need the QEMUs, where they are available.
    pub(super) fn checked(
        &self,
        versions: &dyn QemuVersions,
        binaries: Option<&Binaries>,
        format: &Format,
        data: &mut dyn Write,
    ) -> anyhow::Result<Option<Vec<Case>>> {
        let Found { cases, diagnostics } = self.find(versions, binaries)?;
        format.print(&diagnostics, data)?;
        if diagnostics.has_errors() { Ok(None) } else { cases.map(Some) }
    }

    fn find(&self, versions: &dyn QemuVersions, binaries: Option<&Binaries>) -> anyhow::Result<Found> {
        let defines = self.define.iter().map(|define| match define.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(anyhow!("-D {define}: write NAME=VALUE")),
        });
        let options = Options { defines: defines.collect::<Result<_, _>>()?, seed: self.seed() };
        let Loaded { cases, mut diagnostics, templates } = if self.files.iter().any(|file| file == STDIN) {
            load_texts(&[(STDIN.into(), self.standard_input()?)], &options, versions)
        } else {
            load(&self.expanded()?, &options, versions)
        };
        let cases = self.no_templates(&templates).and_then(|()| self.pick(cases));
        if let (Ok(cases), Some(binaries), false) = (&cases, binaries, diagnostics.has_errors()) {
            for case in cases {
                let own = binaries.of(case);
                let used: Vec<&Binary> = own.values().map(|binary| &**binary).collect();
                // A skipped case is not checked against this QEMU.
                if unmet(&case.requires, &used, &std::env::temp_dir()).is_none() {
                    against_binaries(case, &own, &mut diagnostics);
                }
            }
        }
        Ok(Found { cases, diagnostics })
    }

    fn standard_input(&self) -> anyhow::Result<String> {
        if self.files.len() > 1 {
            bail!("`{STDIN}` is standard input, which cannot be combined with files");
        }
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")
    }

    fn expanded(&self) -> anyhow::Result<Vec<PathBuf>> {
        if self.origin.no_files && !Path::new(&self.files[0]).exists() {
            bail!(
                "no scenario is given, and there is no directory `{}` here; name files, or set `scenarios` in {}",
                self.files[0],
                file::NAME
            );
        }
        match &self.origin.files {
            None => expand(&self.files),
            Some(places) => {
                let found = self.files.iter().zip(places);
                let found =
                    found.map(|(given, at)| expand(std::slice::from_ref(given)).context(at.to_string()));
                Ok(unique(found.collect::<Result<Vec<_>, _>>()?.concat()))
            }
        }
    }

    /// A template named by the user makes no cases; say what it needs.
    fn no_templates(&self, templates: &[Template]) -> anyhow::Result<()> {
        for template in templates {
            if self.files.iter().any(|given| Path::new(given) == template.path) {
                let needs = if template.missing.is_empty() {
                    "it is meant for `use` or `extends`".to_owned()
                } else {
                    format!("it needs a value for {}", template.missing.join(", "))
                };
                bail!("{} is a template without cases of its own: {needs}", template.path.display());
            }
        }
        Ok(())
    }

    fn pick(&self, cases: Vec<Case>) -> anyhow::Result<Vec<Case>> {
        let patterns = self.case.iter().map(|pattern| {
            glob::Pattern::new(pattern).with_context(|| format!("--case {pattern}: not a valid pattern"))
        });
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        let all = cases.len();
        let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
        let wanted = |case: &Case| {
            let named = patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&case.name));
            named
                && self.tag.iter().all(|tag| match tag.strip_prefix('!') {
                    Some(tag) => !case.tags.iter().any(|own| own == tag),
                    None => case.tags.contains(tag),
                })
        };
        let picked: Vec<Case> = cases.into_iter().filter(wanted).collect();
        if picked.is_empty() {
            if all == 0 {
                bail!("no cases: the files are templates");
            }
            let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
            let tags = match &self.origin.tags {
                Some(at) => format!("the `tags` of {at}"),
                None => "--tag".to_owned(),
            };
            bail!("--case and {tags} select none of {all} cases; available: {} …", first.join(", "));
        }
        Ok(picked)
    }
}

/// The files matched by patterns, directories and names, each once, in the given order.
fn expand(given: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in given {
        let path = Path::new(pattern);
        let found = if path.is_dir() {
            matching(&format!("{}/**/*.yaml", glob::Pattern::escape(pattern.trim_end_matches('/'))))?
        } else if path.exists() {
            vec![path.to_owned()]
        } else if pattern.contains(['*', '?', '[']) {
            matching(pattern)?
        } else {
            bail!("no such file: {pattern}");
        };
        if found.is_empty() {
            bail!("no file matches {pattern}");
        }
        files.extend(found);
    }
    Ok(unique(files))
}

fn unique(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    files.into_iter().filter(|file| seen.insert(file.clone())).collect()
}

fn matching(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).with_context(|| format!("{pattern}: not a valid pattern"))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path?;
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_expanded_by_us_and_each_file_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.yaml", "sub/c.yaml", "no.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = |given: &[String]| {
            let strip = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
            expand(given).unwrap().iter().map(strip).collect::<Vec<_>>()
        };
        assert_eq!(names(&[at("b.yaml"), at("*.yaml")]), ["b.yaml", "a.yaml"]);
        assert_eq!(names(&[at("**/*.yaml")]), ["a.yaml", "b.yaml", "sub/c.yaml"]);
        assert_eq!(names(&[at("")]), ["a.yaml", "b.yaml", "sub/c.yaml"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let error = |given: &str| expand(&[given.to_owned()]).unwrap_err().to_string();
        assert_eq!(error("/no/such/*.yaml"), "no file matches /no/such/*.yaml");
        assert_eq!(error("/no/such.yaml"), "no such file: /no/such.yaml");
    }
}
