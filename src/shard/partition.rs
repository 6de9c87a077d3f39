//! The partition of cases into shards, balanced by time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The time of each case, in milliseconds: whole numbers, so that each machine computes the same sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights(pub Vec<u64>);

impl Weights {
    /// From the file of each case and its time in seconds, if that is known. An unknown case counts as the median of its
    /// file, or of all cases if its file is unknown, too; a second if nothing is known.
    #[must_use]
    pub fn of(cases: &[(&str, Option<f64>)]) -> Self {
        let mut files: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (file, seconds) in cases {
            if let Some(seconds) = seconds {
                files.entry(file).or_default().push(milliseconds(*seconds));
            }
        }
        let mut all: Vec<u64> = files.values().flatten().copied().collect();
        let usual = median(&mut all).unwrap_or(1000);
        let medians: BTreeMap<&str, u64> =
            files.into_iter().filter_map(|(file, mut times)| Some((file, median(&mut times)?))).collect();
        let weight = |(file, seconds): &(&str, Option<f64>)| {
            seconds.map_or_else(|| medians.get(file).copied().unwrap_or(usual), milliseconds)
        };
        Self(cases.iter().map(weight).collect())
    }

    /// The numbers of the cases, the longest first; of equal ones, the first.
    #[must_use]
    pub fn longest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|at| Reverse(self.0[*at]));
        order
    }

    /// The least possible time of the longest of so many shards, in milliseconds: a case is not divided.
    #[must_use]
    pub fn bound(&self, shards: usize) -> u64 {
        let longest = self.0.iter().copied().max().unwrap_or(0);
        longest.max(self.0.iter().sum::<u64>().div_ceil(shards.max(1) as u64))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time between 0.001 and 1,000,000 s"
)]
fn milliseconds(seconds: f64) -> u64 {
    ((seconds * 1000.0).round().clamp(0.0, 1e9) as u64).max(1)
}

fn median(times: &mut [u64]) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}

/// The shard of each case, counted from 0: the longest case first, each to the shard that has the least so far.
#[must_use]
pub fn partition(weights: &Weights, shards: usize) -> Vec<usize> {
    // Of equally full shards, the one with fewer cases, then the first.
    let mut loads: BinaryHeap<_> = (0..shards).map(|shard| Reverse((0, 0, shard))).collect();
    let mut parts = vec![0; weights.0.len()];
    for at in weights.longest_first() {
        if let Some(Reverse((load, cases, shard))) = loads.pop() {
            parts[at] = shard;
            loads.push(Reverse((load + weights.0[at], cases + 1, shard)));
        }
    }
    parts
}
