//! `lockstep compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::report::compare::{Run, compare};
use crate::report::read;

/// Tell what changed from one run to another: verdicts, cases that came and went, metrics that moved.
///
/// Exit codes: 0, no case is worse; 1, one that was well is not any longer, or a known issue strikes in RUN_B more often
/// than its `at_most` says, beyond chance; 2, a run cannot be read.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The run to start from: the folder of its reports, or its events.jsonl.
    #[arg(value_name = "RUN_A")]
    old: PathBuf,

    /// The other run.
    #[arg(value_name = "RUN_B")]
    new: PathBuf,

    /// How to tell it.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

impl Compare {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let comparison = compare(&load(&self.old)?, &load(&self.new)?);
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(&comparison)? + "\n",
            format => comparison.render(format == Format::Markdown),
        };
        std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
        Ok(ExitCode::from(u8::from(comparison.is_worse())))
    }
}

/// A run that is whole, or cut off in its last line: half a run would look like one with fewer cases.
fn load(path: &Path) -> anyhow::Result<Run> {
    let mut wrong = None;
    let events = read(super::events_of(path))?.map_while(|event| event.map_err(|why| wrong = Some(why)).ok());
    let mut count = 0;
    let run = Run::new(path.display().to_string(), events.inspect(|_| count += 1));
    match wrong {
        Some(error) => Err(error.into()),
        None if count == 0 => None.with_context(|| format!("{} is empty", path.display())),
        None => Ok(run),
    }
}
