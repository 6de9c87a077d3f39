//! Options shared by the commands: which scenario files and cases, with which values, on which QEMU.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueHint};
use globset::{GlobBuilder, GlobSet};

use super::failed::Failed;
use super::file;
use super::format::Format;
use crate::diagnostic::{Diagnostics, Location};
use crate::runner::Binaries;
use crate::scenario::model::Case;
use crate::scenario::{Loaded, Options, QemuVersions, Template, load, load_texts};
use crate::template::NoVersions;

/// The directory of the scenarios of a call without files.
pub(super) const DEFAULT: &str = "scenarios";

/// The name of standard input, on the command line and in messages.
const STDIN: &str = "-";

/// Which cases to select.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cases")]
pub(super) struct Selection {
    /// Scenario files, directories, or glob patterns (quoted or not); `**` crosses directories. `-` is standard input.
    /// Without one: `scenarios` of lockstep.toml, else the directory `scenarios`.
    #[arg(value_name = "GLOB", default_value = DEFAULT, help_heading = None::<&'static str>,
          value_hint = ValueHint::AnyPath)]
    files: Vec<String>,

    /// Where the files and the tags are from.
    #[arg(skip)]
    pub(super) origin: Origin,

    /// Select the cases whose name matches this pattern: `*` also matches `/`, `{a,b}` one of several. May be
    /// repeated, or a list with commas.
    #[arg(long, value_name = "GLOB", env = "LOCKSTEP_CASE")]
    case: Vec<String>,

    /// Select the cases with this tag; with a leading `!`, those without it. May be repeated: all must hold.
    #[arg(long, value_name = "TAG", env = "LOCKSTEP_TAG", value_delimiter = ',')]
    tag: Vec<String>,

    /// Select the cases that failed, had an error or were flaky in the last run: the one in the reports directory.
    /// Without a file, those of these cases are used.
    #[arg(long, env = "LOCKSTEP_LAST_FAILED")]
    last_failed: bool,

    /// Like --last-failed, for another run: its reports directory, or its events.jsonl.
    #[arg(long, value_name = "RUN", env = "LOCKSTEP_FAILED_IN")]
    failed_in: Option<PathBuf>,

    /// The reports directory. `run` writes index.html, junit.xml, events.jsonl, and a directory for each failed case;
    /// --last-failed reads it.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "reports",
        env = "LOCKSTEP_REPORTS",
        help_heading = "Output"
    )]
    pub(super) reports: PathBuf,

    /// Set a parameter, or restrict a matrix axis to one value; may be repeated.
    #[arg(short = 'D', value_name = "NAME=VALUE", env = "LOCKSTEP_DEFINE", value_delimiter = ',')]
    define: Vec<String>,

    /// The seed for random axes. Default: a new one each time; the reports name it.
    #[arg(long, value_name = "N", env = "LOCKSTEP_SEED")]
    seed: Option<u64>,
}

/// Where a selection is from; the default: from options and the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// Whether no file was given, anywhere.
    pub(super) no_files: bool,
    /// The places of the files in `lockstep.toml`, if they are from there.
    pub(super) files: Option<Vec<Location>>,
    /// The place of the tags in `lockstep.toml`, if they are from there.
    pub(super) tags: Option<Location>,
    /// The ids of the options that are environment variables.
    pub(super) of_environment: Vec<&'static str>,
}

impl Origin {
    /// The name of an option as the user gave it: the option, or its environment variable.
    fn option(&self, id: &str) -> String {
        match id {
            id if self.of_environment.contains(&id) => format!("LOCKSTEP_{}", id.to_uppercase()),
            "define" => "-D".to_owned(),
            id => format!("--{id}"),
        }
    }
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

    /// Sets the seed unless it is given.
    pub(super) fn default_seed(&mut self, seed: u64) {
        self.seed.get_or_insert(seed);
    }

    /// The values of `-D`.
    pub(super) fn defines(&self) -> &[String] {
        &self.define
    }

    /// Reads the files and selects the cases. `None`: there were errors, which have been printed.
    pub(super) fn cases(&self, versions: &dyn QemuVersions) -> anyhow::Result<Option<Vec<Case>>> {
        let Found { cases, diagnostics } = self.find(versions)?;
        super::format::print(&diagnostics);
        if diagnostics.has_errors() { Ok(None) } else { cases.map(Some) }
    }

    /// Like `cases`, with all checks against the QEMUs; without binaries, against the releases that are known.
    pub(super) fn checked(
        &self,
        versions: &dyn QemuVersions,
        binaries: Option<&Binaries>,
        format: &Format,
        data: &mut dyn Write,
    ) -> anyhow::Result<Option<Vec<Case>>> {
        let Found { cases, mut diagnostics } = self.find(versions)?;
        if let (Ok(cases), false) = (&cases, diagnostics.has_errors()) {
            crate::runner::check(binaries, cases, &mut diagnostics);
        }
        format.print(&diagnostics, data)?;
        if diagnostics.has_errors() { Ok(None) } else { cases.map(Some) }
    }

    /// Whether there are mistakes in the files that do not depend on a QEMU.
    pub(super) fn has_mistakes(&self) -> bool {
        self.find(&NoVersions).map_or(true, |found| found.diagnostics.has_errors())
    }

    fn find(&self, versions: &dyn QemuVersions) -> anyhow::Result<Found> {
        let failed = self.failed()?;
        let defines = self.define.iter().map(|define| match define.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(anyhow!("{} {define}: write NAME=VALUE", self.origin.option("define"))),
        });
        let options = Options { defines: defines.collect::<Result<_, _>>()?, seed: self.seed() };
        let Loaded { cases, diagnostics, templates, .. } = if self.files.iter().any(|file| file == STDIN) {
            load_texts(&[(STDIN.into(), self.standard_input()?)], &options, versions)
        } else {
            load(&self.expanded(failed.as_ref())?, &options, versions)
        };
        let cases = self.leave_out(&templates, &cases).and_then(|()| self.pick(cases, failed.as_ref()));
        Ok(Found { cases, diagnostics })
    }

    fn standard_input(&self) -> anyhow::Result<String> {
        if self.files.len() > 1 {
            bail!("`{STDIN}` is standard input, which cannot be combined with files");
        }
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")
    }

    /// The scenario files with cases, each with all files that it consists of.
    pub(super) fn sources(&self) -> anyhow::Result<Vec<(PathBuf, Vec<PathBuf>)>> {
        let options = Options { seed: self.seed(), ..Options::default() };
        let loaded = self.expanded(None)?.into_iter().map(|file| {
            let loaded = load(std::slice::from_ref(&file), &options, &NoVersions);
            loaded.templates.is_empty().then_some((file, loaded.sources))
        });
        Ok(loaded.flatten().collect())
    }

    /// Selects the cases of these files only.
    pub(super) fn only(&mut self, files: &[PathBuf]) {
        self.files = files.iter().map(|file| file.display().to_string()).collect();
        self.origin.files = None;
        self.origin.no_files = false;
    }

    /// The cases of --last-failed and --failed-in; `None` without these options.
    fn failed(&self) -> anyhow::Result<Option<Failed>> {
        let last = self.last_failed.then_some((&self.reports, "--last-failed"));
        let runs: Vec<_> =
            last.into_iter().chain(self.failed_in.iter().map(|run| (run, "--failed-in"))).collect();
        let mut failed = Failed::default();
        for (run, option) in &runs {
            failed.add(run).context(*option)?;
        }
        Ok((!runs.is_empty()).then_some(failed))
    }

    fn expanded(&self, failed: Option<&Failed>) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(failed) = failed.filter(|_| self.origin.no_files || self.origin.files.is_some()) {
            return expand(&failed.files.iter().cloned().collect::<Vec<_>>());
        }
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
    /// Leaves out the files that have no cases of their own, with a note. It is an error if there are no others.
    fn leave_out(&self, templates: &[Template], cases: &[Case]) -> anyhow::Result<()> {
        let Some(first) = templates.first() else {
            return Ok(());
        };
        if cases.is_empty() {
            let needs = if first.missing.is_empty() {
                "it is meant for `use` or `extends`".to_owned()
            } else {
                format!("it needs a value for {}", first.missing.join(", "))
            };
            bail!("{} is a template without cases of its own: {needs}", first.path.display());
        }
        let names: Vec<String> =
            templates.iter().take(3).map(|template| template.path.display().to_string()).collect();
        let more = if templates.len() > names.len() { " …" } else { "" };
        let files = match templates.len() {
            1 => "1 file without cases of its own".to_owned(),
            several => format!("{several} files without cases of their own"),
        };
        anstream::eprintln!("note: left out {files}: {}{more}", names.join(", "));
        Ok(())
    }

    fn pick(&self, cases: Vec<Case>, failed: Option<&Failed>) -> anyhow::Result<Vec<Case>> {
        let patterns = patterns(&self.case, &self.origin.option("case"))?;
        // The tags of lockstep.toml are for a run of everything, not for chosen cases.
        let tags = if failed.is_some() && self.origin.tags.is_some() { &[][..] } else { &self.tag };
        let all = cases.len();
        let first: Vec<String> = cases.iter().take(5).map(|case| case.name.clone()).collect();
        let wanted = |case: &Case| {
            let named = patterns.is_empty() || patterns.is_match(&case.name);
            let failed = failed.is_none_or(|failed| failed.names.contains(&case.name));
            let tagged = tags.iter().all(|tag| match tag.strip_prefix('!') {
                Some(tag) => !case.tags.iter().any(|own| own == tag),
                None => case.tags.contains(tag),
            });
            named && failed && tagged
        };
        let picked: Vec<Case> = cases.into_iter().filter(wanted).collect();
        if picked.is_empty() {
            if all == 0 {
                bail!("no cases: the files are templates");
            }
            let (case, tag) = (self.origin.option("case"), self.origin.option("tag"));
            let options = match (failed, &self.origin.tags) {
                (Some(_), _) => format!("{case}, {tag} and the failed cases"),
                (None, Some(at)) => format!("{case} and the `tags` of {at}"),
                (None, None) => format!("{case} and {tag}"),
            };
            bail!("{options} select none of {all} cases; available: {} …", first.join(", "));
        }
        Ok(picked)
    }
}

/// The patterns of `--case`; `option` is the name of the option as the user gave it.
pub(super) fn patterns(given: &[String], option: &str) -> anyhow::Result<GlobSet> {
    let mut set = GlobSet::builder();
    for pattern in given.iter().flat_map(|given| alternatives(given)) {
        let glob = GlobBuilder::new(pattern).empty_alternates(true).build();
        set.add(glob.map_err(|error| anyhow!("{option} {pattern}: not a valid pattern: {}", error.kind()))?);
    }
    Ok(set.build()?)
}

/// The patterns of a list: those between commas that are not in braces or brackets.
fn alternatives(list: &str) -> Vec<&str> {
    let (mut depth, mut escaped) = (0_usize, false);
    let separates = |c: char| {
        let is_escaped = escaped;
        escaped = c == '\\' && !is_escaped;
        match c {
            _ if is_escaped => {}
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => return c == ',' && depth == 0,
        }
        false
    };
    list.split(separates).filter(|pattern| !pattern.is_empty()).collect()
}

/// The cases of these files. Reports no mistakes.
pub(super) fn cases_of(files: &[String]) -> Vec<Case> {
    let found = expand(files).unwrap_or_default();
    load(&found, &Options::default(), &NoVersions).cases
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
    fn patterns_are_expanded_and_each_file_counts_once() {
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
    fn a_list_of_patterns_is_split_outside_of_braces() {
        assert_eq!(alternatives("a,b/*"), ["a", "b/*"]);
        assert_eq!(alternatives("x/{a,b{c,d}},e[,]f,"), ["x/{a,b{c,d}}", "e[,]f"]);
        assert_eq!(alternatives(r"a\{b,c\,d\\,e"), [r"a\{b", r"c\,d\\", "e"]);
        assert_eq!(alternatives("{a,b"), ["{a,b"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let error = |given: &str| expand(&[given.to_owned()]).unwrap_err().to_string();
        assert_eq!(error("/no/such/*.yaml"), "no file matches /no/such/*.yaml");
        assert_eq!(error("/no/such.yaml"), "no such file: /no/such.yaml");
    }
}
