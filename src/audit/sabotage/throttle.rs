//! `throttle`.

use std::time::Duration;

use rustix::process::Signal;

use super::acts::timed_sites;
use super::{Act, Kind, Sabotage, Shows};

/// The process gets a fiftieth of its time from here on.
pub(super) const THROTTLE: Sabotage = Sabotage {
    name: "throttle",
    kind: Kind::Machine,
    does: "the process gets a fiftieth of its time from here on",
    blind: "how fast `VM` is",
    hint: |_| "wait: {vm: VM, ticks: 50}",
    shows: Shows::ByDeadline,
    sites: timed_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            // Until the process has ended, or the trial is over, which ends the task.
            tokio::spawn(async move {
                for _ in 0..600 {
                    if blow.is_over() || blow.signal(Signal::STOP).is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(98)).await;
                    let _ = blow.signal(Signal::CONT);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
            Ok(())
        })
    }),
};
