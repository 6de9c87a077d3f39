//! `--shard` and `--durations`: which part of the selected cases this is.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use ring::digest::{SHA256, digest};

use super::selection::Selection;
use crate::event::Shard;
use crate::report::{Durations, file_name};
use crate::repository::Repository;
use crate::scenario::model::Case;
use crate::shard::{Wanted, Weights, partition};

/// Which part of the selected cases.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shards")]
pub(super) struct Sharding {
    /// Take a part of the selected cases: the K-th of N, or with `auto` the one that the variables of the engine name
    /// (Slurm array, Kubernetes indexed job with LOCKSTEP_SHARDS, Buildkite, CircleCI, GitLab). Each machine computes
    /// the same parts from the same cases and durations. The seed is 0 unless --seed is given.
    #[arg(long, value_name = "K/N|auto", env = "LOCKSTEP_SHARD")]
    shard: Option<Wanted>,

    /// How long the cases took: a file that a run wrote (durations.json), a reports directory, or its events.jsonl.
    /// Shards are balanced by it, and with several jobs the longest cases start first. Default: durations.json in the
    /// reports directory, if it is there; of a shard none, since all shards need the same.
    #[arg(long, value_name = "FILE|RUN", env = "LOCKSTEP_DURATIONS")]
    durations: Option<PathBuf>,
}

/// What the options say, with the durations read.
#[derive(Debug)]
pub(super) struct Ready {
    part: Option<(usize, usize, Option<String>)>,
    /// `None` if no durations are known.
    durations: Option<Durations>,
    repository: Repository,
}

/// A case to be divided: its title and its file.
#[derive(Debug)]
pub(super) struct Entry {
    title: String,
    file: String,
}

impl Entry {
    /// That of a case on a QEMU, which is named if there are several.
    pub(super) fn of(case: &Case, qemu: Option<&str>) -> Self {
        let on = qemu.map(|qemu| format!(" on {qemu}")).unwrap_or_default();
        Self { title: format!("{}{on}", case.name), file: case.at.path().display().to_string() }
    }
}

/// The part of a selection.
#[derive(Debug)]
pub(super) struct Part {
    /// How the reports name it; `None` if it is the whole selection.
    pub(super) shard: Option<Shard>,
    /// The numbers of its cases, the longest first if durations are known, else in their order.
    pub(super) longest_first: Vec<usize>,
    mine: Vec<bool>,
}

impl Part {
    /// Whether the case of this number belongs to it.
    pub(super) fn has(&self, number: usize) -> bool {
        self.mine[number]
    }
}

impl Sharding {
    /// Reads the variables and the durations, and sets the seed that all shards have.
    ///
    /// # Errors
    /// When the variables name no shard, or the durations cannot be read.
    pub(super) fn ready(&self, selection: &mut Selection) -> anyhow::Result<Ready> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let part = self.shard.map(|wanted| wanted.part(&variable)).transpose();
        let part = part.map_err(|why| anyhow!("--shard auto: {why}"))?;
        if part.is_some() {
            // The shards of a run must draw the same cases, without knowing of each other.
            selection.default_seed(0);
        }
        // Of a shard, no default: another machine may have another file, and then a case is in two shards or in none.
        let usual = || {
            let path = Some(selection.reports.join(Durations::NAME));
            path.filter(|path| self.shard.is_none() && path.is_file())
        };
        let durations = match &self.durations {
            Some(given) => Some(Durations::read(given).context("--durations")?),
            None => usual().map(|path| Durations::read(&path)).transpose()?,
        };
        Ok(Ready { part, durations, repository: Repository::here() })
    }
}

impl Ready {
    /// The part of these cases.
    pub(super) fn part(&self, entries: &[Entry]) -> Part {
        let mut names: HashMap<&str, String> = HashMap::new();
        for Entry { file, .. } in entries {
            names.entry(file).or_insert_with(|| file_name(&self.repository, file));
        }
        let files: Vec<&str> = entries.iter().map(|entry| names[entry.file.as_str()].as_str()).collect();
        let known = entries.iter().zip(&files).map(|(entry, file)| {
            let seconds = self.durations.as_ref().and_then(|durations| durations.of(file, &entry.title));
            (*file, seconds)
        });
        let weights = Weights::of(&known.collect::<Vec<_>>());
        let (mine, shard) = match &self.part {
            None => (vec![true; entries.len()], None),
            Some((index, total, engine)) => {
                let parts = partition(&weights, *total);
                let partition = fingerprint(entries, &files, &weights);
                let shard = Shard {
                    index: *index,
                    total: *total,
                    cases: entries.len(),
                    partition,
                    engine: engine.clone(),
                };
                (parts.into_iter().map(|part| part + 1 == *index).collect(), Some(shard))
            }
        };
        let mut longest_first = match self.durations {
            Some(_) => weights.longest_first(),
            None => (0..entries.len()).collect(),
        };
        longest_first.retain(|number| mine[*number]);
        Part { shard, longest_first, mine }
    }
}

/// A digest of the cases and their weights; shards of the same selection and durations have the same.
fn fingerprint(entries: &[Entry], files: &[&str], weights: &Weights) -> String {
    let lines = entries.iter().zip(files).zip(&weights.0);
    let text: String =
        lines.map(|((entry, file), weight)| format!("{file}\t{}\t{weight}\n", entry.title)).collect();
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
