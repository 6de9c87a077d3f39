//! `lockstep history`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::report::history::{self, Findings, Run};

/// Show how cases changed over many runs: verdicts, failure rates, durations and metrics.
///
/// Runs are ordered by their start. A case whose verdict changed once, or only where QEMU changed, is listed with that run
/// and QEMU; one that fails in some runs with its failure rate and the run since which the rate is another. Durations
/// and metrics of passed runs are tested for a change (Pettitt's test).
///
/// Exit codes: 0, the history was written; 2, a run cannot be read.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Runs: reports directories, their events.jsonl, or directories with such runs at any depth.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The format. Default: that of the output file's extension (.html, .md or .json), else text.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The file to write. Default: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
    Html,
}

impl History {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let extension = self.output.as_deref().and_then(Path::extension).and_then(|part| part.to_str());
        let format = self.format.unwrap_or(match extension {
            Some("html" | "htm") => Format::Html,
            Some("md") => Format::Markdown,
            Some("json") => Format::Json,
            _ => Format::Text,
        });
        let history = history::History::new(load(&self.runs)?);
        let findings = Findings::of(&history);
        let text = match format {
            Format::Text => history::render(&history, &findings, history::Format::Text),
            Format::Markdown => history::render(&history, &findings, history::Format::Markdown),
            Format::Json => {
                serde_json::to_string_pretty(&json!({"runs": history.runs, "findings": findings}))? + "\n"
            }
            Format::Html => history::page(&history, &findings, folder(self.output.as_deref()))?,
        };
        match &self.output {
            Some(path) => {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
                anstream::println!("{}", path.display());
            }
            None => std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The directory of the output file.
fn folder(output: Option<&Path>) -> &Path {
    let folder = output.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

/// Reads the runs, as many at a time as there are CPUs. Of those that were found in a directory, one that cannot be read is
/// left out, and named.
fn load(given: &[PathBuf]) -> anyhow::Result<Vec<Run>> {
    let mut found = Vec::new();
    for path in given {
        let before = found.len();
        find(path, &mut found)?;
        if found.len() == before {
            bail!("{} has no events.jsonl, and none below it", path.display());
        }
    }
    let mut known = HashSet::new();
    found.retain(|(_, events)| known.insert(events.canonicalize().unwrap_or_else(|_| events.clone())));
    let (next, runs) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(found.len())));
    let read = || {
        while let Some((name, events)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = Run::read(name.display().to_string(), events);
            runs.lock().unwrap_or_else(PoisonError::into_inner).push((name, run));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(read);
        }
    });
    let mut all = Vec::new();
    for (name, run) in runs.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match run {
            Ok(run) => all.push(run),
            Err(error) if given.contains(name) => return Err(error),
            Err(error) => anstream::eprintln!("note: left out: {error:#}"),
        }
    }
    if all.is_empty() {
        bail!("none of the runs can be read");
    }
    Ok(all)
}

/// Finds the runs of a path: the name of each, and its events.
fn find(path: &Path, found: &mut Vec<(PathBuf, PathBuf)>) -> anyhow::Result<()> {
    let events = super::events_of(path);
    if events.is_file() || !path.is_dir() {
        found.push((path.to_owned(), events));
        return Ok(());
    }
    let cannot = || format!("cannot read {}", path.display());
    let entries = std::fs::read_dir(path).with_context(cannot)?.collect::<Result<Vec<_>, _>>();
    let mut entries = entries.with_context(cannot)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    // A symbolic link may lead back to here.
    for entry in entries.into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        find(&entry.path(), found)?;
    }
    Ok(())
}
