//! `--shard` and `--durations`: the part of a selection that one of several runs takes.

mod engines;
mod partition;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

pub(super) use self::partition::Durations;
use self::partition::{digest, partition};
use super::selection::Selection;
use crate::event::Shard;
use crate::scenario::model::Case;

/// The seed of all parts, if none is given.
const SEED: u64 = 1;

/// The options of a shard.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cases")]
pub(super) struct Shards {
    /// Take part K of N of the selected cases, or with `auto` the part that the CI engine's variables name (Slurm, GitLab,
    /// CircleCI, Buildkite; with `auto/N` also Kubernetes). Every part computes the same partition, balanced by
    /// `--durations`. Without --seed, the seed is 1 then.
    #[arg(long, value_name = "K/N|auto", env = "LOCKSTEP_SHARD", value_parser = given)]
    shard: Option<Given>,

    /// How long cases take: a `durations.json`, or a run (its reports directory, or its events.jsonl). `run` starts the longest
    /// cases first if it runs several at a time; by default it uses the durations.json of the reports directory, which it writes.
    /// `--shard` uses no default: all parts must have the same file.
    #[arg(long, value_name = "FILE|RUN", env = "LOCKSTEP_DURATIONS")]
    durations: Option<PathBuf>,
}

/// What was given for `--shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// A part, counted from 1, and how many there are.
    Part(usize, usize),
    /// The engine's variables; the number of parts if it was given.
    Auto(Option<usize>),
}

fn given(text: &str) -> Result<Given, String> {
    const HELP: &str = "write K/N, such as 1/4 for the first of four parts, `auto`, or `auto/N`";
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let (part, count) = match text.split_once('/') {
        None if text == "auto" => return Ok(Given::Auto(None)),
        None => return Err(HELP.to_owned()),
        Some((part, count)) => (part, number(count).ok_or(HELP)?),
    };
    if part == "auto" {
        return Ok(Given::Auto(Some(count)));
    }
    match number(part).ok_or(HELP)? {
        part if part > count => Err(format!("there is no part {part} of {count}; parts are counted from 1")),
        part => Ok(Given::Part(part, count)),
    }
}

impl Shards {
    /// Without `--seed`, all parts draw the same random axes.
    pub(super) fn fix_seed(&self) {
        if self.shard.is_some() {
            Selection::default_seed(SEED);
        }
    }

    /// The durations that were given.
    pub(super) fn durations(&self) -> anyhow::Result<Option<Durations>> {
        let read = |path: &PathBuf| Durations::read(path).context("--durations");
        self.durations.as_ref().map(read).transpose()
    }

    /// The cases of the part, and which part it is; all of them without `--shard`.
    pub(super) fn part(&self, cases: Vec<Case>) -> anyhow::Result<(Vec<Case>, Option<Shard>)> {
        let (part, count, engine) = match self.shard {
            None => return Ok((cases, None)),
            Some(Given::Part(part, count)) => (part, count, None),
            Some(Given::Auto(count)) => {
                let found = engines::find(count, &|name| std::env::var(name).ok());
                let (part, count, engine) = found.context("--shard auto")?;
                (part, count, Some(engine))
            }
        };
        let durations = self.durations()?.unwrap_or_default();
        let seconds = durations.of(cases.iter().map(|case| (case.name.as_str(), case.at.path())));
        let parts =
            partition(&cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), &seconds, count);
        let digest = digest(&cases, &parts);
        let all = cases.len();
        let own = cases.into_iter().zip(&parts).filter(|(_, own)| **own == part - 1);
        let cases: Vec<Case> = own.map(|(case, _)| case).collect();
        Ok((cases, Some(Shard { part, count, engine, of: all, digest })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_two_numbers_or_auto() {
        assert_eq!(given("2/4"), Ok(Given::Part(2, 4)));
        assert_eq!(given("auto"), Ok(Given::Auto(None)));
        assert_eq!(given("auto/8"), Ok(Given::Auto(Some(8))));
        assert_eq!(given("3/2"), Err("there is no part 3 of 2; parts are counted from 1".to_owned()));
        for wrong in ["", "x", "3", "0/4", "4/0", "-1/4", "1/4/2", "auto/0", "1/auto", "+1/4 "] {
            assert!(given(wrong).is_err_and(|why| why.starts_with("write K/N")), "{wrong}");
        }
    }
}
