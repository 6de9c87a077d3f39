//! `stall`.

use std::time::Duration;

use rustix::process::Signal;

use super::acts::timed_sites;
use super::{Act, Kind, Sabotage, Shows};

/// The process is frozen for two seconds, and continues.
pub(super) const STALL: Sabotage = Sabotage {
    name: "stall",
    kind: Kind::Machine,
    does: "the process is frozen for two seconds, and continues",
    blind: "how long `VM` does nothing",
    hint: |_| "check: {metric: migration_gap, below: 1s}",
    shows: Shows::AtOnce,
    sites: timed_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            blow.signal(Signal::STOP)?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            blow.signal(Signal::CONT)
        })
    }),
};
