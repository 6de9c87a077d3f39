//! `lockstep bisect`, and `run --bisect` for `git bisect run`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::run::{Outcome, Run};
use super::{INTERRUPTED, NOTHING_RUN};
use crate::event::Verdict;
use crate::report::history;
use crate::report::{Summary, text};

/// The exit code with which `git bisect run` leaves a version out.
const SKIPPED: u8 = 125;
/// An exit code that ends `git bisect run`; so does that of an interrupt.
const ABORTED: u8 = 128;

/// Find the QEMU build at which the result of some cases changed.
///
/// Runs the cases on the first and on the last build of the list, then on those between, halving the distance each time; on
/// each until the first failure. A build on which all cases are skipped, or which cannot be used, is left out. For a
/// failure that occurs in some runs only, `--expect-rate` says how often the cases must pass.
///
/// Exit codes: 0, the change was found; 1, the first and the last build have the same result, or one of them cannot be
/// tested; 2, nothing was run; 130, interrupted.
#[derive(Debug, Args)]
pub(super) struct Bisect {
    /// The builds in order, the oldest first: a file with a line `[NAME=]PATH` for each QEMU. Empty lines and lines that
    /// begin with `#` are left out; a relative path with a `/` is relative to the file.
    #[arg(long, value_name = "FILE", required = true, conflicts_with_all = CONFLICTING, help_heading = "QEMU")]
    qemu_list: PathBuf,

    #[command(flatten)]
    pub(super) run: Run,
}

/// The options of `run` that do not go with a bisection.
const CONFLICTING: [&str; 7] =
    ["qemu_matrix", "bisect", "dry_run", "watch", "serve", "pause_on_failure", "step"];

/// A build of the list.
#[derive(Debug, Clone, PartialEq)]
struct Build {
    name: String,
    path: String,
}

/// What a run on a build showed.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Good,
    Bad,
    /// Nothing, for this reason.
    Unknown(String),
}

/// The exit code of `run --bisect`.
pub(super) fn exit(run: &Run) -> ExitCode {
    let code = match run.until_first() {
        Ok(Outcome::Ran(summary)) if summary.interrupted => INTERRUPTED,
        Ok(outcome) => match judge(outcome, run) {
            Ok(Answer::Good) => 0,
            Ok(Answer::Bad) => 1,
            Ok(Answer::Unknown(why)) => {
                anstream::eprintln!("note: this version is left out: {why}");
                SKIPPED
            }
            Err(error) => aborted(&error),
        },
        Err(error) => aborted(&error),
    };
    ExitCode::from(code)
}

fn aborted(error: &anyhow::Error) -> u8 {
    anstream::eprintln!("{} {error:#}", super::bold("error:"));
    ABORTED
}

/// What the outcome of a run says.
fn judge(outcome: Outcome, run: &Run) -> anyhow::Result<Answer> {
    Ok(match outcome {
        Outcome::NoQemu(error) => Answer::Unknown(format!("{error:#}")),
        Outcome::Mistakes if run.selection.has_mistakes() => bail!("there are mistakes in the scenarios"),
        Outcome::Mistakes => Answer::Unknown("this QEMU lacks what a scenario uses".to_owned()),
        Outcome::Shown => bail!("nothing was run"),
        Outcome::Ran(summary) => result(&summary),
    })
}

fn result(summary: &Summary) -> Answer {
    let counts = &summary.counts;
    if counts.fail > 0 || !summary.exceeded.is_empty() || counts.flaky > 0 && !summary.flaky_passes {
        Answer::Bad
    } else if counts.error > 0 || !summary.complete || !summary.errors.is_empty() {
        Answer::Unknown("a case had an error".to_owned())
    } else if counts.total() == counts.skip {
        Answer::Unknown("all cases were skipped".to_owned())
    } else {
        Answer::Good
    }
}

impl Bisect {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let builds = builds(&self.qemu_list)?;
        let mut results: BTreeMap<usize, Answer> = BTreeMap::new();
        while let Some(next) = next(builds.len(), &results) {
            let build = &builds[next];
            anstream::println!(
                "{}bisect: {} ({} of {})",
                newline(&results),
                build.name,
                next + 1,
                builds.len()
            );
            let outcome = self.run.on(&build.path, self.reports(&build.name))?;
            if let Outcome::Ran(Summary { interrupted: true, .. }) = outcome {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            match judge(outcome, &self.run) {
                Ok(result) => results.insert(next, result),
                // It has been printed.
                Err(_) => return Ok(ExitCode::from(NOTHING_RUN)),
            };
        }
        let (text, found) = self.conclusion(&builds, &results);
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::from(u8::from(!found)))
    }

    /// The directory of the reports of a build.
    fn reports(&self, name: &str) -> PathBuf {
        self.run.selection.reports.join(name.replace('/', "_"))
    }

    /// The results in words, and whether the change was found.
    fn conclusion(&self, builds: &[Build], results: &BTreeMap<usize, Answer>) -> (String, bool) {
        let width = builds.iter().map(|build| text::width(&build.name)).max().unwrap_or(0);
        let mut out = "\n".to_owned();
        for (index, result) in results {
            let Build { name, .. } = &builds[*index];
            let (word, detail) = match result {
                Answer::Good => ("good", String::new()),
                Answer::Bad => ("bad", format!(": {}", self.failure(name))),
                Answer::Unknown(why) => ("left out", format!(": {why}")),
            };
            let qemu = self.ran_on(name).map(|run| format!(" on QEMU {}", run.qemus)).unwrap_or_default();
            out += &format!("  {name:width$}  {word}{qemu}{detail}\n");
        }
        let (first, last) = (results.get(&0), results.get(&(builds.len() - 1)));
        let known = |result: Option<&Answer>| matches!(result, Some(Answer::Good | Answer::Bad));
        if !(known(first) && known(last)) {
            return (out + "the first and the last build must have a result\n", false);
        }
        if first == last {
            let word = if first == Some(&Answer::Good) { "good" } else { "bad" };
            return (out + &format!("the first and the last build are both {word}\n"), false);
        }
        let (low, high) = bounds(builds.len(), results);
        let [was, is] = if first == Some(&Answer::Good) { ["good", "bad"] } else { ["bad", "good"] };
        let name = |index: usize| &builds[index].name;
        out += &format!("last {was}: {}\nfirst {is}: {}\n", name(low), name(high));
        if high - low > 1 {
            let between: Vec<&str> = builds[low + 1..high].iter().map(|build| build.name.as_str()).collect();
            out += &format!("or one of those that were left out: {}\n", between.join(", "));
        }
        (out, true)
    }

    /// The run on a build, read from its reports.
    fn ran_on(&self, name: &str) -> Option<history::Run> {
        let events = super::events_of(&self.reports(name));
        history::Run::read(name, &events).ok()
    }

    /// The first failure on a build.
    fn failure(&self, name: &str) -> String {
        let run = self.ran_on(name);
        let bad = run
            .iter()
            .flat_map(history::Run::results)
            .find(|(_, cell)| matches!(cell.verdict, Verdict::Fail | Verdict::Flaky));
        bad.map_or_else(
            || "a known issue occurs too often".to_owned(),
            |(case, cell)| {
                let reason = cell.reason.as_deref().unwrap_or_default();
                format!("{case}, {} of {} rounds: {}", cell.failed, cell.ran, text::fit(reason, 200))
            },
        )
    }
}

/// An empty line between runs.
fn newline(results: &BTreeMap<usize, Answer>) -> &'static str {
    if results.is_empty() { "" } else { "\n" }
}

/// The last build with the result of the first one, and the first build with the result of the last one, of those that
/// are known.
fn bounds(count: usize, results: &BTreeMap<usize, Answer>) -> (usize, usize) {
    let of_first = |index: &usize| results.get(index) == results.get(&0);
    let known = |index: &usize| matches!(results.get(index), Some(Answer::Good | Answer::Bad));
    let low = (0..count).filter(|index| known(index) && of_first(index)).max().unwrap_or(0);
    let high = (low + 1..count).find(known).unwrap_or(count - 1);
    (low, high)
}

/// The build to run next: the ends, then the one nearest to the middle between the bounds; `None` at the end.
fn next(count: usize, results: &BTreeMap<usize, Answer>) -> Option<usize> {
    let last = count - 1;
    for end in [0, last] {
        match results.get(&end) {
            None => return Some(end),
            Some(Answer::Unknown(_)) => return None,
            Some(_) => {}
        }
    }
    if results.get(&0) == results.get(&last) {
        return None;
    }
    let (low, high) = bounds(count, results);
    let middle = usize::midpoint(low, high);
    (low + 1..high).filter(|index| !results.contains_key(index)).min_by_key(|index| index.abs_diff(middle))
}

/// Reads the list of builds.
fn builds(file: &Path) -> anyhow::Result<Vec<Build>> {
    let shown = file.display();
    let list = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut builds: Vec<Build> = Vec::new();
    for (number, line) in list.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, path) = line.split_once('=').unwrap_or((line, line));
        let (name, path) = (name.trim(), path.trim());
        if name.is_empty() || path.is_empty() {
            bail!("{shown}:{number}: expected `PATH` or `NAME=PATH`, got `{line}`");
        }
        if let Some(at) = builds.iter().position(|build| build.name == name) {
            bail!("{shown}:{number}: `{name}` is already build {} of the list", at + 1);
        }
        // A program without a folder is in PATH.
        let path = if path.contains('/') { folder.join(path).display().to_string() } else { path.to_owned() };
        builds.push(Build { name: name.to_owned(), path });
    }
    if builds.len() < 2 {
        bail!("{shown} has {} builds; a bisection needs two or more", builds.len());
    }
    Ok(builds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a bisection over builds with these results: `g`, `b` or `?`. Returns the builds that were run, and the bounds.
    fn bisect(truth: &str) -> (Vec<usize>, (usize, usize)) {
        let mut results = BTreeMap::new();
        let mut order = Vec::new();
        while let Some(index) = next(truth.len(), &results) {
            order.push(index);
            let result = match truth.as_bytes()[index] {
                b'g' => Answer::Good,
                b'b' => Answer::Bad,
                _ => Answer::Unknown("no".to_owned()),
            };
            assert!(results.insert(index, result).is_none(), "build {index} of {truth} ran twice");
        }
        let bounds = bounds(truth.len(), &results);
        (order, bounds)
    }

    #[test]
    fn the_change_is_found_wherever_it_is_in_few_runs() {
        for count in 2..40 {
            for change in 1..count {
                for [was, is] in [["g", "b"], ["b", "g"]] {
                    let truth = was.repeat(change) + &is.repeat(count - change);
                    let (order, found) = bisect(&truth);
                    assert_eq!(found, (change - 1, change), "{truth}");
                    let most = 2 + (count as f64).log2().ceil() as usize;
                    assert!(order.len() <= most, "{truth}: {order:?}");
                }
            }
        }
    }

    #[test]
    fn a_build_without_a_result_is_left_out() {
        assert_eq!(bisect("gg?bb").1, (1, 3));
        assert_eq!(bisect("g???b").1, (0, 4));
        assert_eq!(bisect("gg??b?bb").1, (1, 4));
        // Without the ends there is nothing to find.
        assert_eq!(bisect("?gb").0, [0]);
        assert_eq!(bisect("gg").0, [0, 1]);
    }

    #[test]
    fn a_list_has_names_paths_and_comments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            builds(&file).map_err(|error| error.to_string())
        };
        let near = folder.path().join("bin/qemu").display().to_string();
        let build = |name: &str, path: &str| Build { name: name.to_owned(), path: path.to_owned() };
        assert_eq!(
            read("# old\n7.2 = /usr/bin/q\n\nbin/qemu\nqemu-system-x86_64\n").unwrap(),
            [
                build("7.2", "/usr/bin/q"),
                build("bin/qemu", &near),
                build("qemu-system-x86_64", "qemu-system-x86_64")
            ]
        );
        assert!(
            read("a=/x\n=b\n").unwrap_err().ends_with("list:2: expected `PATH` or `NAME=PATH`, got `=b`")
        );
        assert!(read("a=/x\na=/y\n").unwrap_err().ends_with("list:2: `a` is already build 1 of the list"));
        assert!(read("a=/x\n").unwrap_err().ends_with("has 1 builds; a bisection needs two or more"));
    }
}
