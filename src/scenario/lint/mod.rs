//! Checks of whole cases: steps that can never work, unknown names, unused declarations, and what QEMU does not
//! have.

mod binary;
mod clock;
mod disks;
mod flow;
mod places;
mod run_values;
mod state;
mod unused;

pub use binary::{against_binaries, against_releases, other_architecture};
pub(super) use flow::check;
pub(crate) use run_values::{ROOTS as ROOTS_OF_RUN, fields as fields_of_run};
pub(super) use unused::{Seen, Unused};

#[cfg(test)]
mod tests;
