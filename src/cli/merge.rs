//! `lockstep merge`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueHint};

use crate::event::Subscriber;
use crate::report::{self, Console, Durations, DurationsFile, Html, JsonLines, Junit};

/// Put the reports of shards together into those of one run.
///
/// Says which host ran which shard, and when by its own clock. A shard that is missing or was cut off, and a case that ran
/// twice, are named. Of a case that ran twice, a bad verdict counts, else the first one.
///
/// Exit codes: 0 and 1 as for `run`, 1 also if a shard is missing or was cut off; 2, nothing was written.
#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The reports directories of the shards.
    #[arg(value_name = "DIR", required = true, value_hint = ValueHint::DirPath)]
    runs: Vec<PathBuf>,

    /// The directory for events.jsonl, junit.xml, index.html and durations.json.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

impl Merge {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let output = self.output.join("events.jsonl");
        let mut runs: Vec<(PathBuf, PathBuf, PathBuf)> = Vec::new();
        for folder in &self.runs {
            let events = super::events_of(folder);
            if !events.is_file() {
                bail!("{} is not the reports directory of a run: it has no events.jsonl", folder.display());
            }
            let whole = events.canonicalize()?;
            if output.canonicalize().is_ok_and(|output| output == whole) {
                bail!(
                    "{} is one of the shards; choose another directory for --output",
                    self.output.display()
                );
            }
            if runs.iter().any(|(.., known)| *known == whole) {
                bail!("{} is named twice", folder.display());
            }
            runs.push((folder.clone(), events, whole));
        }
        let runs: Vec<_> = runs.into_iter().map(|(folder, events, _)| (folder, events)).collect();
        let merge = report::merge::Merge::read(&runs)?;
        std::fs::create_dir_all(&self.output)
            .with_context(|| format!("cannot create the directory {}", self.output.display()))?;
        let mut settings = report::Settings::of_stdout(false);
        (settings.quiet, settings.live) = (true, false);
        let subscribers: Vec<Box<dyn Subscriber + Send>> = vec![
            Box::new(JsonLines::create(&output)?),
            Box::new(Junit::new(self.output.join("junit.xml"))),
            Box::new(Html::new(self.output.join("index.html"))),
            Box::new(DurationsFile::new(self.output.join(Durations::NAME))),
            Box::new(Console::new(Box::new(std::io::stdout()), settings)),
        ];
        let summary = report::feed(merge.events(std::env::args().collect()), subscribers);
        for error in &summary.errors {
            anstream::eprintln!("{} a report is incomplete: {error:#}", super::bold("error:"));
        }
        Ok(ExitCode::from(summary.exit_code()))
    }
}
