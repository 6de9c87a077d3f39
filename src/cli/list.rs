//! `lockstep list`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::NOTHING_RUN;
use super::selection::Selection;
use crate::template::NoVersions;

/// Print the names of the cases, one per line, without running them.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) selection: Selection,

    /// Also print the file, the tags and the description, separated by tabs.
    #[arg(short, long, env = "LOCKSTEP_LONG")]
    long: bool,
}

impl List {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Some(cases) = self.selection.cases(&NoVersions)? else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        let mut out = std::io::stdout().lock();
        for case in cases {
            if self.long {
                let description = case.description.unwrap_or_default().replace('\n', " ");
                writeln!(
                    out,
                    "{}\t{}\t{}\t{}",
                    case.name,
                    case.at.path().display(),
                    case.tags.join(","),
                    description.trim()
                )?;
            } else {
                writeln!(out, "{}", case.name)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
