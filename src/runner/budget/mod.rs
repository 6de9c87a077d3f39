//! How many cases run at once: as many as `-j` says, or with `-j auto` as fit into the machine.

mod demand;
mod machine;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::Id;

pub(super) use demand::Demand;
use machine::{Gauge, Machine, Strain};

use crate::event::{Sink, What};
use crate::scenario::model::Case;

/// How often to look at the machine while a case waits for room: load and pressure have no event to wait for.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// How many cases run in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// Up to this number.
    Count(u16),
    /// As many as fit into the machine.
    Auto,
}

impl Jobs {
    /// Whether cases may run in parallel.
    #[must_use]
    pub const fn are_several(self) -> bool {
        !matches!(self, Self::Count(0 | 1))
    }
}

impl std::str::FromStr for Jobs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(count @ 1u16..) => Ok(Self::Count(count)),
            _ if text == "auto" => Ok(Self::Auto),
            _ => Err("write a number from 1 to 65535, or `auto`"),
        }
    }
}

/// Decides whether a case may start beside those that run: the pure part of `-j auto`.
///
/// A machine that swaps runs one case at a time; one that others overload uses half of its CPUs. If nothing runs, any case
/// may start, even one that needs more than there is.
fn has_room<'d>(
    machine: &Machine,
    strain: Option<&Strain>,
    running: impl Iterator<Item = &'d Demand>,
    next: &Demand,
) -> bool {
    let taken = running.fold(None, |sum: Option<Demand>, one| Some(sum.map_or(*one, |sum| sum.and(one))));
    let Some(taken) = taken else {
        return true;
    };
    let cpus = match strain {
        Some(Strain::Memory(_)) => return false,
        Some(Strain::Cpus(_)) => machine.cpus / 2.0,
        None => machine.cpus,
    };
    let together = taken.and(next);
    // What has just started has not touched all its memory, so what is free now does not suffice.
    !together.exclusive
        && together.cpus <= cpus + 1e-6
        && together.memory <= machine.memory
        && next.memory <= machine.free
}

/// The cases that run, and what the machine has room for.
pub(super) struct Budget {
    jobs: Jobs,
    running: HashMap<Id, Demand>,
    gauge: Gauge,
}

impl Budget {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self::with(jobs, Gauge::of_host())
    }

    fn with(jobs: Jobs, gauge: Gauge) -> Self {
        Self { jobs, running: HashMap::new(), gauge }
    }

    /// What `-j auto` does with these cases at first, and why.
    pub(super) fn plan<'c>(&mut self, cases: impl Iterator<Item = &'c Case>) -> Option<String> {
        if self.jobs != Jobs::Auto {
            return None;
        }
        let demands: Vec<Demand> = cases.map(Demand::of).collect();
        let machine = self.gauge.machine();
        let mut first: Vec<&Demand> = Vec::new();
        for demand in &demands {
            if !has_room(&machine, None, first.iter().copied(), demand) {
                break;
            }
            first.push(demand);
        }
        let cpus = demands.iter().map(|demand| demand.cpus).fold(0.0, f64::max);
        let memory = demands.iter().map(|demand| demand.memory).max().unwrap_or(0);
        let alone = demands.iter().filter(|demand| demand.exclusive).count();
        let alone = if alone > 0 { format!("; {alone} exclusive, at the end") } else { String::new() };
        let [cores, cpus] = [machine.cpus, cpus].map(cores);
        let [free, memory] = [machine.memory, memory].map(mebibytes);
        Some(format!(
            "-j auto: {} at once to begin with: the machine has {cores} and {free} to use, a case takes up to {cpus} and {memory}{alone}",
            counted(first.len())
        ))
    }

    /// Whether this case may start now. Reports when the machine becomes strained, and when that is over.
    pub(super) fn has_room(&mut self, next: &Case, sink: &Sink) -> bool {
        let next = Demand::of(next);
        match self.jobs {
            Jobs::Count(_) if next.exclusive || self.running.values().any(|one| one.exclusive) => {
                self.running.is_empty()
            }
            Jobs::Count(count) => self.running.len() < usize::from(count.max(1)),
            Jobs::Auto => {
                let own = self.running.values().map(|demand| demand.cpus).sum();
                if let Some(text) = self.gauge.look(Instant::now(), own) {
                    sink.emit(What::Note { text });
                }
                let machine = self.gauge.machine();
                has_room(&machine, self.gauge.strain(), self.running.values(), &next)
            }
        }
    }

    /// Whether room may become free without the end of a case.
    pub(super) fn may_change(&self) -> bool {
        self.jobs == Jobs::Auto && !self.running.is_empty()
    }

    pub(super) fn started(&mut self, id: Id, case: &Case) {
        self.running.insert(id, Demand::of(case));
    }

    pub(super) fn ended(&mut self, id: Id) {
        self.running.remove(&id);
    }
}

fn counted(cases: usize) -> String {
    if cases == 1 { "1 case".to_owned() } else { format!("{cases} cases") }
}

fn cores(cpus: f64) -> String {
    let cpus = (cpus * 100.0).round() / 100.0;
    if cpus == 1.0 { "1 core".to_owned() } else { format!("{cpus} cores") }
}

fn mebibytes(bytes: u64) -> String {
    match bytes >> 20 {
        small @ ..10_240 => format!("{small} MiB"),
        large => format!("{} GiB", large >> 10),
    }
}

#[cfg(test)]
mod tests;
