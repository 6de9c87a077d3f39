//! Runs cases and determines their verdicts.

mod binaries;
mod branch;
mod cannot_run;
mod case;
mod case_runner;
mod dry_run;
mod failure_site;
mod features;
mod host;
mod machine_types;
mod names;
mod net;
mod pause;
mod plans;
mod requirements;
mod scheduler;
mod settings;
mod trouble;
mod verdict;

pub use binaries::Binaries;
pub use case::Job;
pub use dry_run::dry_run;
pub use host::qemus;
pub use names::check;
pub use requirements::{not_given, unmet};
pub use scheduler::{run, started};
pub use settings::{Interrupt, Keep, Rounds, Settings};
