//! From cases to verdicts.

mod actor;
mod adjudge;
mod binaries;
mod case;
mod features;
mod host;
mod machines;
mod net;
mod outlook;
mod pause;
mod plans;
mod requirements;
mod scheduler;
mod settings;
mod spot;
mod trouble;

pub use binaries::Binaries;
pub use outlook::outlook;
pub use requirements::{not_given, unmet};
pub use scheduler::{Job, run};
pub use settings::{Interrupt, Keep, Rounds, Settings};
