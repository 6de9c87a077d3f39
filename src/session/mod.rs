//! The live resources of one case: QEMUs, processes, its directory. Dropping a [`Session`] leaves nothing behind.

mod access;
pub mod artifacts;
pub mod board;
pub mod checkpoints;
pub mod client;
pub mod clock;
pub mod directory;
pub mod disks;
pub mod failure;
pub mod interference;
pub mod link;
pub mod log;
pub mod machine;
pub mod metric;
pub mod metrics;
pub mod ports;
pub mod process;
pub mod sockets;
mod ssh;
mod state;
pub mod wiring;
pub mod witness;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use failure::{Cause, Failure};
pub use machine::{Listening, Machine, Plan};
pub use state::{FailoverMark, Pair, Session, Setup};
pub use wiring::Wiring;

/// Locks shared state; never hold it across an `await`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
