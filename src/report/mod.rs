//! The reports of a run, each a subscriber of the one stream of events.

mod fold;
mod junit;
mod log;
mod record;
#[cfg(test)]
mod sample;
pub mod text;

pub use fold::Fold;
pub use junit::Junit;
pub use record::{Case, Counts, End, Kept, Metric, Step};
