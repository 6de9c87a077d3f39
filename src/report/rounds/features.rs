//! What differs between rounds, and in which rounds it holds.

use super::set::Set;
use super::table::{Column, Table, lanes, median};
use crate::report::text;

/// By how many seconds, and by which part of it, a time must be longer or shorter than in passing rounds.
const LEAST: f64 = 0.001;
const MARGIN: f64 = 0.1;

/// Something that holds in some rounds; the numbers are those of columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Feature {
    /// The first came before the second.
    Order(usize, usize),
    /// It came.
    Extra(usize),
    /// It did not come, although the round got so far.
    Missing(usize),
    /// The second came longer after the first than in any round that passed.
    Longer(usize, usize),
    /// The second came sooner after the first than in any round that passed.
    Shorter(usize, usize),
}

impl Feature {
    /// The kind, as a number.
    pub(super) const fn kind(self) -> u8 {
        match self {
            Self::Order(..) => 0,
            Self::Extra(_) => 1,
            Self::Missing(_) => 2,
            Self::Longer(..) | Self::Shorter(..) => 3,
        }
    }

    /// The column of the event that it is about.
    pub(super) const fn event(self) -> usize {
        match self {
            Self::Order(one, _) | Self::Extra(one) | Self::Missing(one) => one,
            Self::Longer(_, other) | Self::Shorter(_, other) => other,
        }
    }

    /// How far it is from a cause: whether it is about a step, and how long after the start of the step that failed it
    /// can be seen (mostly before it). A step says less than what it does.
    pub(super) fn distance(self, table: &Table<'_>, holds: &Set) -> (bool, f64) {
        let is_step = |number: usize| table.names.get(table.columns[number].name).1.lane.is_empty();
        let failing = |number: usize| {
            let holds =
                (0..table.rounds.len()).filter(|round| table.failing.has(*round) && holds.has(*round));
            let after = holds.map(|round| table.columns[number].times[round] - table.ends[round]);
            median(after).unwrap_or(f64::INFINITY)
        };
        match self {
            Self::Order(one, other) => (is_step(one) || is_step(other), failing(one)),
            Self::Extra(one) => (is_step(one), failing(one)),
            Self::Missing(one) => {
                // It could come until then.
                let passing = (0..table.rounds.len()).filter(|round| !table.failing.has(*round));
                let after = passing.map(|round| table.columns[one].times[round] - table.ends[round]);
                let last = after.filter(|after| after.is_finite()).max_by(f64::total_cmp);
                (is_step(one), last.unwrap_or(f64::INFINITY))
            }
            Self::Longer(one, other) => {
                let longest = range(table, (one, other), |round| !table.failing.has(round)).1;
                (is_step(one) || is_step(other), failing(one) + longest)
            }
            Self::Shorter(one, other) => (is_step(one) || is_step(other), failing(other)),
        }
    }

    /// The feature in words.
    pub(super) fn text(self, table: &Table<'_>, holds: &Set) -> String {
        let label = |number: usize| table.columns[number].label.as_str();
        let span = |seconds: f64| text::value(seconds, "s");
        match self {
            Self::Order(one, other) => format!("{} came before {}", label(one), label(other)),
            Self::Extra(one) => format!("{} came", label(one)),
            Self::Missing(one) => format!("{} did not come", label(one)),
            Self::Longer(one, other) | Self::Shorter(one, other) => {
                let (low, high) =
                    range(table, (one, other), |round| table.failing.has(round) && holds.has(round));
                let (least, most) = range(table, (one, other), |round| !table.failing.has(round));
                let took = if low == high { span(low) } else { format!("{} to {}", span(low), span(high)) };
                let usual = if matches!(self, Self::Longer(..)) {
                    format!("at most {}", span(most))
                } else {
                    format!("at least {}", span(least))
                };
                format!("{} came {took} after {}, in passing rounds {usual}", label(other), label(one))
            }
        }
    }
}

/// The shortest and the longest time between two columns in some rounds.
fn range(table: &Table<'_>, (one, other): (usize, usize), of: impl Fn(usize) -> bool) -> (f64, f64) {
    let gaps = (0..table.rounds.len()).filter(|round| of(*round));
    let gaps = gaps.map(|round| length(table, (one, other), round)).filter(|gap| gap.is_finite());
    gaps.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), gap| (low.min(gap), high.max(gap)))
}

/// The time from one column to another; none if they came in the other order, which is another feature.
fn length(table: &Table<'_>, (one, other): (usize, usize), round: usize) -> f64 {
    let length = table.columns[other].times[round] - table.columns[one].times[round];
    if length < 0.0 { 0.0 } else { length }
}

/// A time between two columns, with the rounds in order of its length.
pub(super) struct Gap {
    one: usize,
    other: usize,
    /// The length, and the round.
    sorted: Vec<(f64, usize)>,
}

impl Gap {
    /// In how many of the failing rounds it is longer, and shorter, than in each passing round, by a margin, if these
    /// are the failing ones.
    pub(super) fn beyond(&self, failing: &Set) -> [usize; 2] {
        let passes = |(_, round): &(f64, usize)| !failing.has(*round);
        let (Some(first), Some(last)) =
            (self.sorted.iter().position(passes), self.sorted.iter().rposition(passes))
        else {
            return [0, 0];
        };
        let is_far = |from: f64, to: f64| to - from >= LEAST.max(from.abs() * MARGIN);
        let (least, most) = (self.sorted[first].0, self.sorted[last].0);
        let longer = self.sorted[last..].iter().filter(|(length, _)| is_far(most, *length)).count();
        let shorter = self.sorted[..first].iter().filter(|(length, _)| is_far(*length, least)).count();
        [longer, shorter]
    }

    /// What this gap says, with the rounds in which that holds.
    pub(super) fn features(&self, failing: &Set) -> impl Iterator<Item = (Feature, Set)> {
        let rounds = failing.clone();
        let [longer, shorter] = self.beyond(failing);
        let set = move |gaps: &mut dyn Iterator<Item = &(f64, usize)>| {
            let mut set = rounds.emptied();
            gaps.for_each(|(_, round)| set.insert(*round));
            set
        };
        let (one, other) = (self.one, self.other);
        let all = [
            (Feature::Longer(one, other), set(&mut self.sorted.iter().rev().take(longer))),
            (Feature::Shorter(one, other), set(&mut self.sorted.iter().take(shorter))),
        ];
        all.into_iter().filter(|(_, set)| set.len() > 0)
    }
}

/// What is the same for any verdicts: orders, and what came or did not come.
pub(super) fn features(table: &Table<'_>) -> Vec<(Feature, Set)> {
    let count = table.rounds.len();
    let mut all = Vec::new();
    let of_all: Vec<(f64, f64)> = table.columns.iter().map(Column::extent).collect();
    for (number, column) in table.columns.iter().enumerate() {
        all.push((Feature::Extra(number), Set::of(count, |round| column.times[round].is_finite())));
        all.push((Feature::Missing(number), Set::of(count, |round| table.is_missing(column, round))));
        for (second, other) in table.columns.iter().enumerate().skip(number + 1) {
            // Columns whose times do not overlap have the same order in all rounds.
            if of_all[number].1 < of_all[second].0 || of_all[second].1 < of_all[number].0 {
                continue;
            }
            let order =
                |one: &Column, other: &Column| Set::of(count, |round| one.times[round] < other.times[round]);
            all.push((Feature::Order(number, second), order(column, other)));
            all.push((Feature::Order(second, number), order(other, column)));
        }
    }
    all
}

/// The times between neighbours: within a VM, and among all.
pub(super) fn gaps(table: &Table<'_>) -> Vec<Gap> {
    let passing = table.rounds.len() - table.failing.len();
    let mut pairs: Vec<(usize, usize)> =
        lanes(table).iter().flat_map(|lane| lane.windows(2).map(|pair| (pair[0], pair[1]))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let gap = |(one, other): (usize, usize)| {
        let lengths = (0..table.rounds.len()).map(|round| (length(table, (one, other), round), round));
        let mut sorted: Vec<_> = lengths.filter(|(length, _)| length.is_finite()).collect();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let known = sorted.iter().filter(|(_, round)| !table.failing.has(*round)).count();
        // The extremes of a few rounds are not those of all.
        (known * 2 >= passing).then_some(Gap { one, other, sorted })
    };
    pairs.into_iter().filter_map(gap).collect()
}
