//! `lockstep compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::selection::patterns;
use crate::diagnostic::suggest;
use crate::event::Event;
use crate::report::compare::{Run, compare};
use crate::report::read;
use crate::report::rounds::{Align, Rounds};

/// Compare two runs, or with --case the rounds of one case.
///
/// Without --case: changed verdicts, added and removed cases, changed metrics.
///
/// With --case: what happened in the rounds that failed and not in those that passed (another order of two events, an
/// event that came or did not come, a longer or shorter time), the most telling first; then a passing and a failing round
/// side by side. The rounds are those of both runs, or of RUN_A alone; `run --repeat` makes many.
///
/// Exit codes: 0, no case is worse, or the rounds were compared; 1, a case got worse, or a known issue occurs in RUN_B
/// more often than its `at_most` allows, beyond chance; 2, a run cannot be read, or it has nothing to compare.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The baseline: a reports directory, or its events.jsonl.
    #[arg(value_name = "RUN_A")]
    old: PathBuf,

    /// The other run. With --case it may be absent: the rounds of RUN_A are compared.
    #[arg(value_name = "RUN_B", required_unless_present = "case")]
    new: Option<PathBuf>,

    /// Compare the rounds of this case: a name, or a pattern that selects one case.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,

    /// What to align the rounds at. Default: the first of these that most rounds have.
    #[arg(long, value_name = "MARK", value_enum, requires = "case")]
    align: Option<Mark>,

    /// The output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mark {
    /// `x-colo-lost-heartbeat`.
    Failover,
    /// The command `yank`.
    Yank,
    /// The first migration status `colo`.
    Colo,
    /// The command `migrate`.
    Migration,
    /// The start of each round.
    Start,
}

impl Compare {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (text, code) = match (&self.case, &self.new) {
            (None, Some(new)) => {
                let run = |path: &Path| load(path, |events| Run::new(path.display().to_string(), events));
                let comparison = compare(&run(&self.old)?, &run(new)?);
                let text = match self.format {
                    Format::Json => serde_json::to_string_pretty(&comparison)? + "\n",
                    format => comparison.render(format == Format::Markdown),
                };
                (text, u8::from(comparison.is_worse()))
            }
            (case, new) => (self.rounds(case.as_deref().unwrap_or_default(), new.as_deref())?, 0),
        };
        std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
        Ok(ExitCode::from(code))
    }

    /// Compares the rounds of one case.
    fn rounds(&self, wanted: &str, new: Option<&Path>) -> anyhow::Result<String> {
        let file = |run: &Path| super::events_of(run).canonicalize().ok();
        let new = new.filter(|new| file(new).is_none() || file(new) != file(&self.old));
        let mut rounds = Rounds::default();
        load(&self.old, |events| events.for_each(|event| rounds.take(&event)))?;
        if let Some(new) = new {
            rounds.next_run();
            load(new, |events| events.for_each(|event| rounds.take(&event)))?;
        }
        let title = find(&rounds, 0, wanted, &self.old)?;
        if let Some(new) = new {
            find(&rounds, 1, &title, new)?;
        }
        let align = self.align.map(|mark| match mark {
            Mark::Failover => Align::Failover,
            Mark::Yank => Align::Yank,
            Mark::Colo => Align::Colo,
            Mark::Migration => Align::Migration,
            Mark::Start => Align::Start,
        });
        let contrast = rounds.contrast(&title, align)?;
        Ok(match self.format {
            Format::Json => serde_json::to_string_pretty(&contrast)? + "\n",
            format => contrast.render(format == Format::Markdown),
        })
    }
}

/// The one case of a run that is meant.
fn find(rounds: &Rounds, run: usize, wanted: &str, path: &Path) -> anyhow::Result<String> {
    let path = path.display();
    let set = patterns(&[wanted.to_owned()], "--case")?;
    let all: Vec<(&str, &str)> = rounds.cases(run).collect();
    // A name can also be a pattern that does not match itself, such as `a[1]`.
    let named: Vec<&str> = all.iter().map(|(title, _)| *title).filter(|title| *title == wanted).collect();
    let matching = all.iter().filter(|(title, name)| set.is_match(title) || set.is_match(name));
    let found = if named.is_empty() { matching.map(|(title, _)| *title).collect() } else { named };
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            bail!("{path} has no case `{wanted}`; {}", suggest(wanted, all.iter().map(|(title, _)| *title)))
        }
        several => {
            let first: Vec<&str> = several.iter().take(5).copied().collect();
            let more = if several.len() > first.len() { " …" } else { "" };
            bail!(
                "--case {wanted} selects {} cases of {path}: {}{more}; name one of them",
                several.len(),
                first.join(", ")
            )
        }
    }
}

/// Reads a complete run, or one with a truncated last line: half a run would look like one with fewer cases.
fn load<T>(path: &Path, make: impl FnOnce(&mut dyn Iterator<Item = Event>) -> T) -> anyhow::Result<T> {
    let mut wrong = None;
    let events = read(super::events_of(path))?.map_while(|event| event.map_err(|why| wrong = Some(why)).ok());
    let mut count = 0;
    let made = make(&mut events.inspect(|_| count += 1));
    match wrong {
        Some(error) => Err(error.into()),
        None if count == 0 => None.with_context(|| format!("{} is empty", path.display())),
        None => Ok(made),
    }
}
