//! From text to cases. Starts nothing.

mod load;
mod matrix;
pub mod model;
mod params;
pub mod scalar;
pub mod source;
mod typed;
