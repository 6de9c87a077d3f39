//! Shards: the parts of a run that several machines have. Each computes the same partition by itself.

mod engine;
mod partition;

pub use engine::Wanted;
pub use partition::{Weights, partition};

#[cfg(test)]
mod tests;
