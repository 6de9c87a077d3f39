//! `lockstep compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::report::compare::{Run, compare};
use crate::report::read;

/// Compare two runs: changed verdicts, added and removed cases, changed metrics.
///
/// Exit codes: 0, no case is worse; 1, a case got worse, or a known issue occurs in RUN_B more often than its
/// `at_most` allows, beyond chance; 2, a run cannot be read.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The baseline: a reports directory, or its events.jsonl.
    #[arg(value_name = "RUN_A")]
    old: PathBuf,

    /// The other run.
    #[arg(value_name = "RUN_B")]
    new: PathBuf,

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

/// Loads a complete run, or one with a truncated last line: half a run would look like one with fewer cases.
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
