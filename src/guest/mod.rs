//! What runs inside a VM, as far as the runner knows it.

pub mod ticker;
