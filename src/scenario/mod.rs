//! From text to cases. Starts nothing.

pub mod model;
