//! `lockstep check`.

use std::process::ExitCode;

use clap::Args;

use super::NOTHING_RUN;
use super::format::{Format, Kind};
use super::qemu::Qemu;
use super::selection::Selection;
use crate::template::NoVersions;

/// Check scenarios without running them. Commands, arguments, capabilities and the like are compared with what QEMU 7.2,
/// 10.0 and 11.1 know; with --qemu, that binary is probed and decides.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) qemu: Qemu,

    #[command(flatten)]
    pub(super) format: Format,
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout();
        let cases = if self.qemu.is_given() {
            let binaries = self.qemu.binaries()?;
            self.selection.checked(&binaries, Some(&binaries), &self.format, &mut out)?
        } else {
            self.selection.checked(&NoVersions, None, &self.format, &mut out)?
        };
        let Some(cases) = cases else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        if self.format.kind() == Kind::Json {
            return Ok(ExitCode::SUCCESS);
        }
        anstream::println!(
            "{} case{}: no errors found",
            cases.len(),
            if cases.len() == 1 { "" } else { "s" }
        );
        Ok(ExitCode::SUCCESS)
    }
}
