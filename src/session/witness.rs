//! Numbers sent to the built-in guests, to distinguish the state of one guest from another's.
//!
//! Two guests run the same program from the same start, so a guest that never received the state looks the same as
//! one that did. A number sent only to the source distinguishes them: it is in a register and in RAM of the source's
//! guest, and nowhere else until the state is transferred.

use std::hash::{BuildHasher, RandomState};

use tokio::time::{Duration, Instant};

use super::checkpoints::Floor;
use super::failure::{Cause, Failure};
use super::log::{Tick, real_time};
use super::state::{Given, Session};

/// How long a guest may take to report a number before another one is sent: a number can be lost if a checkpoint
/// resets the guest.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far a guest's clock may seem to be ahead of the runner's: a line may be read late.
const LATENESS: f64 = 1.0;

/// Sends a number to the guest of a VM and waits until the guest reports it.
///
/// # Errors
/// When it has not reported one by the deadline, or its serial port is closed.
pub async fn give(session: &Session, vm: &str, deadline: Instant) -> Result<u32, Failure> {
    let (began, first) = (Instant::now(), session.live().witnesses.len());
    loop {
        let number = unused_number(session, vm);
        let line = format!("w{number:06x}{number:06x}");
        let machine = session.machine(vm)?;
        let sending = machine.send(&line);
        if let Ok(sent) = tokio::time::timeout_at(deadline, sending).await {
            sent?;
        }
        let end = deadline.min(Instant::now() + PATIENCE);
        let mut changes = session.board.changes();
        let mut unmet = 0;
        loop {
            let count = *changes.borrow_and_update();
            if let Some(number) = said(session, vm, first) {
                session.waited(began, session.board.earliest_after(unmet).unwrap_or_else(Instant::now));
                return Ok(number);
            }
            unmet = count;
            if tokio::time::timeout_at(end, changes.changed()).await.is_err() {
                break;
            }
        }
        if Instant::now() >= deadline {
            let last = machine.log.lock().ticks.last().copied();
            let seen =
                last.map_or("no tick".to_owned(), |tick| format!("number {} in its last tick", tick.witness));
            let awaited = format!("the guest of `{vm}` to report the number {number}");
            let cause = Cause::Timeout { awaited, waited: began.elapsed(), seen };
            return Err(Failure::from(cause).about(vm));
        }
    }
}

/// A 24-bit number that no guest has received yet; from now on it is the VM's.
fn unused_number(session: &Session, vm: &str) -> u32 {
    let given = &mut session.live().witnesses;
    loop {
        let number = (RandomState::new().hash_one(given.len()) >> 40) as u32;
        if number != 0 && !given.iter().any(|given| given.number == number) {
            given.push(Given { vm: vm.to_owned(), number, sent: real_time() });
            return number;
        }
    }
}

/// The number that a guest reports now, if it is one of those sent to its VM from this one on.
fn said(session: &Session, vm: &str, first: usize) -> Option<u32> {
    let machine = session.machine(vm).ok()?;
    machine.catch_up();
    let last = machine.log.lock().ticks.last()?.witness;
    let given = &session.live().witnesses;
    let mut own = given[first..].iter().filter(|given| given.vm == vm).map(|given| given.number);
    own.find(|number| u64::from(*number) == last)
}

/// Checks that a guest continues from the transferred state and no other: it reports the source's last number before
/// the transfer, not one the source received later or one of its own.
///
/// # Errors
/// The number that it reports, and the expected one.
pub fn inherited(session: &Session, vm: &str, floor: &Floor) -> Result<(), Failure> {
    let ticks = |name: &str| {
        session.machines().get(name).map_or_else(Vec::new, |machine| machine.log.lock().ticks.clone())
    };
    let source = ticks(&floor.source);
    let own: Vec<Tick> = ticks(vm).into_iter().filter(|tick| tick.offset >= floor.serial).collect();
    let before: Vec<Tick> = source.into_iter().filter(|tick| tick.seen_real < floor.stopped).collect();
    let state =
        State { vm, source: &floor.source, stopped: floor.stopped, whole: floor.whole, before: &before };
    let (all, given) = (ticks(vm), session.live().witnesses.clone());
    let same = state.number(&given, &all, &own).and_then(|()| state.clock(&own));
    same.map_err(|why| Failure::failed(why).about(vm))
}

/// The transferred state.
#[derive(Debug)]
struct State<'s> {
    vm: &'s str,
    source: &'s str,
    stopped: f64,
    whole: f64,
    /// The source's ticks before the transfer.
    before: &'s [Tick],
}

impl State<'_> {
    fn number(&self, given: &[Given], all: &[Tick], own: &[Tick]) -> Result<(), String> {
        let Self { vm, source, .. } = self;
        let known = self.before.last().map_or(0, |tick| tick.witness);
        let position = given.iter().position(|given| u64::from(given.number) == known);
        for said in own.iter().map(|tick| tick.witness).filter(|said| *said != known) {
            let Some(at) = given.iter().position(|given| u64::from(given.number) == said) else {
                return Err(format!(
                    "`{vm}` reports the number {said}, but the state transferred from `{source}` has {known}"
                ));
            };
            let Given { vm: to, sent, .. } = &given[at];
            let was_said = all.iter().any(|tick| tick.witness == said && tick.seen_real < self.stopped);
            if to == vm && to != source && *sent < self.stopped && was_said {
                return Err(format!(
                    "`{vm}` still reports its own earlier number {said} instead of the state of \
                     `{source}`, which has the number {known}"
                ));
            }
            if to == vm {
                continue;
            }
            if to == source && position.is_none_or(|known| at > known) {
                if *sent > self.whole {
                    return Err(format!(
                        "`{vm}` reports the number {said}, which `{source}` received only after its state transfer"
                    ));
                }
                continue;
            }
            return Err(format!(
                "`{vm}` reports the old number {said}, but the state transferred from `{source}` has {known}"
            ));
        }
        Ok(())
    }

    /// The guest's clock continues and does not run ahead of real time.
    fn clock(&self, own: &[Tick]) -> Result<(), String> {
        let Self { vm, source, before, .. } = self;
        let (Some(last), Some(first)) = (before.last(), own.first()) else { return Ok(()) };
        let lowest = own.iter().map(|tick| tick.clock).min().unwrap_or(first.clock);
        if lowest < last.clock {
            let back = last.clock - lowest;
            return Err(format!(
                "the clock of `{vm}` is {back} ms behind the one transferred from `{source}`"
            ));
        }
        // How far the guest's clock is ahead of ours. It falls behind while the VM is stopped, and never gains.
        let ahead = |tick: &Tick| tick.clock as f64 / 1e3 - tick.seen_real;
        let before = before.iter().map(ahead).fold(f64::NEG_INFINITY, f64::max);
        let gained = own.iter().map(ahead).fold(f64::NEG_INFINITY, f64::max) - before;
        if gained > LATENESS {
            return Err(format!(
                "the clock of `{vm}` jumped: it is {gained:.1} s ahead of the one transferred from `{source}`"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(at: f64, witness: u64, clock: u64) -> Tick {
        Tick { count: 1, witness, clock, offset: 0, seen: Instant::now(), seen_real: at }
    }

    fn given(vm: &str, number: u32, sent: f64) -> Given {
        Given { vm: vm.to_owned(), number, sent }
    }

    /// The source reported 1, transferred its state from second 5 to 6, and received 3 after that; the other side had
    /// received its own number 2 before.
    fn said_afterwards(witness: u64) -> Result<(), String> {
        let before = [tick(1.0, 9, 100), tick(4.0, 1, 3100)];
        let state = State { vm: "b", source: "a", stopped: 5.0, whole: 6.0, before: &before };
        let given = [
            given("a", 9, 0.5),
            given("a", 1, 3.0),
            given("b", 2, 4.0),
            given("a", 4, 4.9),
            given("a", 3, 7.0),
        ];
        let own = [tick(8.0, witness, 5000)];
        let all = [tick(4.5, 2, 3600), own[0]];
        state.number(&given, &all, &own)
    }

    #[test]
    fn a_guest_must_report_its_sources_last_number() {
        assert_eq!(said_afterwards(1), Ok(()));
        // It was in transit when the source was stopped.
        assert_eq!(said_afterwards(4), Ok(()));
        assert!(said_afterwards(9).unwrap_err().contains("reports the old number 9"));
        assert!(said_afterwards(0).unwrap_err().contains("reports the number 0"));
        assert!(said_afterwards(2).unwrap_err().contains("its own earlier number"));
        assert!(said_afterwards(3).unwrap_err().contains("only after its state transfer"));
        assert!(said_afterwards(77).unwrap_err().contains("reports the number 77"));
    }

    #[test]
    fn a_clock_neither_steps_back_nor_jumps() {
        let before = [tick(1.0, 0, 100), tick(4.0, 0, 3100)];
        let state = State { vm: "b", source: "a", stopped: 5.0, whole: 6.0, before: &before };
        assert_eq!(state.clock(&[tick(7.0, 0, 4200)]), Ok(()));
        assert!(state.clock(&[tick(7.0, 0, 50)]).unwrap_err().contains("3050 ms behind"));
        assert!(state.clock(&[tick(7.0, 0, 14_200)]).unwrap_err().contains("jumped: it is 8.1 s ahead"));
        assert_eq!(state.clock(&[tick(7.0, 0, 6200)]), Ok(()));
    }
}
