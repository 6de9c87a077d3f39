//! The options that say under which conditions cases run, for `run` and `audit`.

use std::path::PathBuf;

use clap::Args;

use crate::qemu::spec::Accel;
use crate::runner::Jobs;

/// The conditions under which cases run.
#[derive(Debug, Clone, Args)]
pub(super) struct Conditions {
    /// The directory of the Linux guest with `vmlinuz` and `initrd.gz`; scripts/fetch-guest creates it.
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".guests",
        env = "LOCKSTEP_GUESTS",
        help_heading = "QEMU"
    )]
    pub(super) guests: PathBuf,

    /// The accelerator for all VMs, overriding the scenarios: `tcg` or `kvm`.
    #[arg(long, env = "LOCKSTEP_ACCEL", help_heading = "QEMU")]
    pub(super) accel: Option<Accel>,

    /// How many cases to run in parallel; with `auto` as many as fit into the machine, by its CPUs, its free memory and what
    /// the cases need.
    #[arg(
        short,
        long,
        value_name = "N|auto",
        default_value = "1",
        env = "LOCKSTEP_JOBS",
        help_heading = "Execution"
    )]
    pub(super) jobs: Jobs,

    /// Multiply every deadline by N, for slow or busy machines.
    #[arg(long, value_name = "N", default_value_t = 1.0, env = "LOCKSTEP_SLOW", value_parser = factor, help_heading = "Execution")]
    pub(super) slow: f64,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && (0.01..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("write a number from 0.01 to 10000".to_owned()),
    }
}
