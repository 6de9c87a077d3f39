//! A register: it is linearizable. There must be an order of all operations in which each read returns the value of the
//! write before it, and no operation stands before one that had ended when it was sent.
//!
//! Each value is written once, so the operations of a value stand together in that order. A value A cannot stand
//! before a value B if an operation of B ended before one of A was sent. If neither can stand before the other, there is
//! no order; if no two values are like this, there is one (Gibbons and Korach, "Testing Shared Memories", 1997). Per value
//! only two operations count: the one that ended first and the one that was sent last. If the first ended before the
//! second was sent, the value was there all the time between (it is "held"), and no other value can lie in that time.

use std::collections::HashMap;

use super::{Account, Violation};
use crate::session::client::{Kind, Operation, Outcome};

/// A time in nanoseconds since the start of the run, plus one; 0 is before it, for the value that was there before.
type Time = u128;
const BEFORE: Time = 0;

/// The operations of a value.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    /// Its write; `None` for the value that was there before.
    write: Option<usize>,
    /// When the first of its operations ended, and which.
    ended: (Time, Option<usize>),
    /// When the last of its operations was sent, and which.
    sent: (Time, Option<usize>),
    has_reads: bool,
}

impl Cluster {
    fn is_held(&self) -> bool {
        self.ended.0 < self.sent.0
    }

    /// Whether neither of two values can be before the other.
    fn conflicts(&self, other: &Self) -> bool {
        self.ended.0 < other.sent.0 && other.ended.0 < self.sent.0
    }
}

impl Account<'_> {
    pub(super) fn register(&self, before: Option<&str>, after: Option<&str>) -> Result<(), Violation> {
        let mut operations = self.operations.to_vec();
        operations.push(Operation {
            number: 0,
            kind: Kind::Final,
            wrote: None,
            asked: self.read.0,
            ended: Some(self.read.1),
            real: 0.0,
            outcome: Outcome::Acknowledged(after.map(str::to_owned)),
        });
        linearizable(&operations, before).map_err(|mut violation| {
            // The final read is not part of the history.
            violation.at_fault.retain(|at| *at < self.operations.len());
            violation
        })
    }
}

/// Checks that reads and writes of a register, with this value at first, are linearizable.
pub(super) fn linearizable(operations: &[Operation], before: Option<&str>) -> Result<(), Violation> {
    let clusters = clusters(operations, before)?;
    let (mut held, others): (Vec<&Cluster>, Vec<&Cluster>) =
        clusters.iter().partition(|cluster| cluster.is_held());
    held.sort_by_key(|cluster| cluster.ended.0);
    for pair in held.windows(2) {
        if pair[0].conflicts(pair[1]) {
            return Err(stale(operations, before, pair[0], pair[1]));
        }
    }
    // Those that are held do not overlap, so only the last one that begins before the other value can enclose it.
    for other in others {
        let at = held.partition_point(|held| held.ended.0 < other.sent.0);
        if let Some(around) = at.checked_sub(1).map(|at| held[at]).filter(|held| held.conflicts(other)) {
            return Err(stale(operations, before, around, other));
        }
    }
    Ok(())
}

fn nanoseconds(time: std::time::Duration) -> Time {
    time.as_nanos() + 1
}

/// The operations of each value that was read, or whose write was acknowledged.
fn clusters(operations: &[Operation], before: Option<&str>) -> Result<Vec<Cluster>, Violation> {
    let mut by_value: HashMap<Option<String>, Cluster> = HashMap::new();
    let at_first = Cluster { write: None, ended: (BEFORE, None), sent: (BEFORE, None), has_reads: false };
    by_value.insert(before.map(str::to_owned), at_first);
    for (at, operation) in operations.iter().enumerate() {
        let Some(value) = operation.wrote else { continue };
        let ended = operation.answered().map_or(Time::MAX, nanoseconds);
        let sent = (nanoseconds(operation.asked), Some(at));
        let cluster = Cluster { write: Some(at), ended: (ended, Some(at)), sent, has_reads: false };
        by_value.insert(Some(value.to_string()), cluster);
    }
    for (at, operation) in operations.iter().enumerate().filter(|(_, one)| one.wrote.is_none()) {
        let Some(answered) = operation.answered().map(nanoseconds) else { continue };
        let value = operation.returned().map(str::to_owned);
        let name = operation.name();
        let Some(cluster) = by_value.get_mut(&value) else {
            let what = format!("{name} returned {}, which was never written", shown(value.as_deref()));
            return Err(Violation::of(what, &[at]));
        };
        if let Some(write) = cluster.write {
            let (written, value) = (&operations[write], shown(value.as_deref()));
            if written.is_refused() {
                let what = format!("{name} returned {value}, whose write was refused");
                return Err(Violation::of(what, &[write, at]));
            }
            if answered < nanoseconds(written.asked) {
                let what = format!("{name} returned {value} before it was written");
                return Err(Violation::of(what, &[at, write]));
            }
        }
        cluster.has_reads = true;
        cluster.ended = cluster.ended.min((answered, Some(at)));
        cluster.sent = cluster.sent.max((nanoseconds(operation.asked), Some(at)));
    }
    let counts = |cluster: &Cluster| {
        cluster.has_reads || cluster.write.is_some_and(|write| operations[write].is_acknowledged())
    };
    Ok(by_value.into_values().filter(counts).collect())
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

/// Two values of which neither can be before the other; the first one is held.
fn stale(operations: &[Operation], before: Option<&str>, held: &Cluster, other: &Cluster) -> Violation {
    let name = |at: Option<usize>| at.map_or_else(|| "the start".to_owned(), |at| operations[at].name());
    let value = |cluster: &Cluster| match cluster.write {
        Some(write) => shown(operations[write].wrote.map(|value| value.to_string()).as_deref()),
        None => shown(before),
    };
    let what = format!(
        "the register is not linearizable: {} returned {} after {} had ended, which has {}, and {} was sent after {} \
         had ended, which has {}",
        name(held.sent.1),
        value(held),
        name(other.ended.1),
        value(other),
        name(other.sent.1),
        name(held.ended.1),
        value(held),
    );
    let at_fault = [held.ended.1, other.sent.1, other.ended.1, held.sent.1];
    Violation::of(what, &at_fault.into_iter().flatten().collect::<Vec<_>>())
}
