//! From cases to verdicts.

mod adjudge;
mod binaries;
mod case;
mod requirements;
mod scheduler;
mod settings;

pub use binaries::Binaries;
pub use scheduler::run;
pub use settings::{Interrupt, Keep, Settings};
