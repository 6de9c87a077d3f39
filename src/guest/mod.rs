//! The guests, as far as the runner knows them.

pub mod ticker;
