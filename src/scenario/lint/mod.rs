//! What is known of cases besides their structure: what can never hold, what is named and not there, what is there and
//! never named, and what the QEMU at hand does not have.

mod binary;
mod disks;
mod flow;
mod late;
mod names;
mod places;
mod state;
mod unused;

pub use binary::against_binaries;
pub(super) use flow::check;
pub(super) use unused::{Section, Seen, Unused};

#[cfg(test)]
mod tests;
