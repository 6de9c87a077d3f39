//! `lockstep check`.

use std::process::ExitCode;

use clap::Args;

use super::NOTHING_RUN;
use super::selection::{Qemu, Selection};
use crate::template::NoVersions;

/// Find what is wrong with scenarios; starts nothing but, with --qemu, a probe of the binary's version.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    qemu: Qemu,
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let cases = if self.qemu.is_given() {
            self.selection.cases(&self.qemu.binaries()?)?
        } else {
            self.selection.cases(&NoVersions)?
        };
        let Some(cases) = cases else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        anstream::println!(
            "{} case{}: no mistakes found",
            cases.len(),
            if cases.len() == 1 { "" } else { "s" }
        );
        Ok(ExitCode::SUCCESS)
    }
}
