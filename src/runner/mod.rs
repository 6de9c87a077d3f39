//! From cases to verdicts.

mod adjudge;
mod binaries;
mod case;
mod requirements;
mod scheduler;
mod spot;

pub use binaries::Binaries;
pub use requirements::unmet;
pub use scheduler::{Interrupt, Keep, Settings, run};
