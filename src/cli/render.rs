//! `lockstep render`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::NOTHING_RUN;
use super::qemu::Qemu;
use super::selection::Selection;
use crate::scenario::to_yaml;

/// Print the resolved YAML of the selected cases, one document each. Only probes QEMU for its version.
#[derive(Debug, Args)]
pub(super) struct Render {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) qemu: Qemu,
}

impl Render {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Some(cases) = self.selection.cases(&self.qemu.binaries()?)? else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        let mut out = std::io::stdout().lock();
        for case in &cases {
            if cases.len() > 1 {
                writeln!(out, "---")?;
            }
            write!(out, "{}", to_yaml(case))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
