//! `lockstep schema`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

/// Print the JSON Schema of a scenario file, for editors.
#[derive(Debug, Args)]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = serde_json::to_string_pretty(&crate::schema::schema())?;
        writeln!(std::io::stdout().lock(), "{text}")?;
        Ok(ExitCode::SUCCESS)
    }
}
