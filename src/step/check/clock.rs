//! `check: {clock: …}`: the clocks of a guest.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Clock;
use crate::session::clock::Reading;
use crate::session::metric::Metric;
use crate::session::{Failure, Session};
use crate::step::guest::{Command, run_in};
use crate::step::running::Running;

/// Prints the boot's identity, the time since boot, and the time of day in whole seconds.
const READ: &str = "cat /proc/sys/kernel/random/boot_id /proc/uptime; date +%s";
/// A reading that took longer than this, or than half of what is allowed, is taken again, up to so many in all.
const EXACT: Duration = Duration::from_millis(100);
const READINGS: usize = 3;
/// The name of the metric.
const BEHIND: &str = "clock_behind";

impl Clock {
    pub(super) async fn run(&self, run: &mut Running<'_>, vm: &str) -> Result<Value, Failure> {
        let mut now = read(run, vm).await?;
        for _ in 1..READINGS {
            if now.window() <= EXACT.max(self.clock.0 / 2) {
                break;
            }
            let again = read(run, vm).await?;
            if again.boot != now.boot || again.window() < now.window() {
                now = again;
            }
        }
        let before = previous(run.session, &now).map_err(|message| Failure::failed(message).about(vm))?;
        let judged = before.map(|before| now.behind(&before, self.clock.0)).transpose();
        let behind = judged.map_err(|wrong| {
            Failure::failed(format!("the clocks of the guest of `{vm}`: {wrong}")).about(vm)
        })?;
        if let Some(behind) = behind {
            run.session.record(Metric {
                name: BEHIND.into(),
                value: behind,
                unit: "s".into(),
                vm: Some(vm.to_owned()),
                spread: None,
            });
        }
        let result = json!({"uptime": now.uptime, "wall": now.wall, "behind": behind});
        run.session.add_clock(now);
        Ok(result)
    }
}

async fn read(run: &mut Running<'_>, vm: &str) -> Result<Reading, Failure> {
    let command = Command::Shell(READ.to_owned());
    let asked = Instant::now();
    let ran = run_in(run, vm, &command, None).await?;
    let answered = Instant::now();
    if let Some(failure) = ran.unmet(None)? {
        return Err(failure.led_by(&format!("`{READ}` in the guest of `{vm}`: ")).about(vm));
    }
    let unclear = || Failure::failed(format!("`{READ}` in the guest of `{vm}`: {}", ran.seen())).about(vm);
    parse(&ran.stdout(), vm, asked, answered).ok_or_else(unclear)
}

fn parse(output: &str, vm: &str, asked: Instant, answered: Instant) -> Option<Reading> {
    let mut words = output.split_whitespace();
    let boot = words.next()?.to_owned();
    let uptime = words.next()?.parse().ok()?;
    // The second number of /proc/uptime is the idle time.
    let wall = words.nth(1)?.parse().ok()?;
    Some(Reading { vm: vm.to_owned(), boot, uptime, wall, asked, answered })
}

/// The previous reading of this guest, in whichever VM it ran then.
fn previous(session: &Session, now: &Reading) -> Result<Option<Reading>, String> {
    let readings = session.clocks();
    if let Some(same) = readings.iter().rev().find(|reading| reading.boot == now.boot) {
        return Ok(Some(same.clone()));
    }
    let source = session
        .pair_of(&now.vm)
        .filter(|pair| pair.destination.as_deref() == Some(&now.vm))
        .map(|pair| pair.source);
    let vms = [Some(&now.vm), source.as_ref()];
    match readings.iter().rev().find(|reading| vms.contains(&Some(&reading.vm))) {
        Some(other) => {
            let (vm, other) = (&now.vm, &other.vm);
            Err(format!(
                "the guest of `{vm}` is not the one that the last `clock` check found in `{other}`: it has booted since"
            ))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_three_lines() {
        let now = Instant::now();
        let read = parse("0a-1b\n12.34 5.60\n1700000000\n", "vm", now, now).unwrap();
        assert_eq!((read.boot.as_str(), read.uptime, read.wall), ("0a-1b", 12.34, 1_700_000_000.0));
        assert!(parse("0a-1b\n12.34\n", "vm", now, now).is_none());
    }
}
