//! Which differences tell the failing rounds from the passing ones, and which may be chance.

use std::collections::HashMap;

use serde::Serialize;

use super::features::{Feature, Gap, features, gaps};
use super::set::{Fisher, Set};
use super::table::Table;
use crate::random::Random;

/// How often the verdicts are dealt out at random.
const DEALS: usize = 199;
/// A difference is telling if at most this share of the random verdicts shows one that is as strong.
const CHANCE: f64 = 0.05;
/// How many differences are listed.
const LISTED: usize = 10;
const LISTED_BY_CHANCE: usize = 5;

/// A difference between failing and passing rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What holds, in words.
    pub text: String,
    /// In how many of the failing rounds, and how many these are.
    pub failing: (usize, usize),
    /// In how many of the passing rounds, and how many these are.
    pub passing: (usize, usize),
    /// How many other differences hold in exactly the same rounds.
    pub more: usize,
    /// The rounds that have the event it is about: round, attempt, and seconds since that attempt began. Failing rounds
    /// in which it holds come first.
    pub at: Vec<(Option<usize>, usize, f64)>,
    /// The first failing round in which it holds.
    #[serde(skip)]
    pub(super) example: Option<usize>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { text, failing, passing, more, .. } = self;
        write!(f, "in {} of {} failing and ", failing.0, failing.1)?;
        write!(f, "{} of {} passing rounds, {text}", passing.0, passing.1)?;
        if *more > 0 { write!(f, "; and {more} more that come with it") } else { Ok(()) }
    }
}

/// The differences, the most telling first.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    /// Those that random verdicts do not show.
    pub telling: Vec<Finding>,
    /// The strongest others, if there are none.
    pub by_chance: Vec<Finding>,
}

/// Differences that hold in the same rounds.
struct Group {
    holds: Set,
    chance: f64,
    is_full: bool,
    /// The nearest to the cause.
    first: Feature,
    distance: (bool, f64, u8),
    count: usize,
}

/// Ranks what differs. Differences that separate the rounds fully come first, then the less likely ones; among equals,
/// the earlier ones.
pub(super) fn rank(table: &Table<'_>) -> Ranking {
    let of = (table.failing.len(), table.rounds.len() - table.failing.len());
    if of.0 == 0 || of.1 == 0 {
        return Ranking::default();
    }
    let mut fisher = Fisher::new(of.0, of.1);
    let (features, gaps) = (features(table), gaps(table));
    let strongest = deal(table, &features, &gaps, &mut fisher);
    let of_gaps = gaps.iter().flat_map(|gap| gap.features(&table.failing));
    let all: Vec<(Feature, Set)> = features.into_iter().chain(of_gaps).collect();
    let is_telling = |chance: f64| {
        // As likely, but for rounding.
        let as_strong = strongest.iter().filter(|other| **other <= chance * (1.0 + 1e-9)).count();
        (as_strong + 1) as f64 / (strongest.len() + 1) as f64 <= CHANCE
    };
    let finding = |group: &Group| {
        let failing = group.holds.common(&table.failing);
        let example =
            (0..table.rounds.len()).find(|round| table.failing.has(*round) && group.holds.has(*round));
        Finding {
            text: group.first.text(table, &group.holds),
            failing: (failing, of.0),
            passing: (group.holds.len() - failing, of.1),
            more: group.count - 1,
            at: places(table, group),
            example,
        }
    };
    let telling = groups(table, &all, &mut fisher, |_| 0).into_iter();
    let telling: Vec<Finding> = telling
        .take_while(|group| is_telling(group.chance))
        .take(LISTED)
        .map(|group| finding(&group))
        .collect();
    if !telling.is_empty() {
        return Ranking { telling, by_chance: Vec::new() };
    }
    let others = groups(table, &all, &mut fisher, Feature::kind);
    Ranking { telling, by_chance: others.iter().take(LISTED_BY_CHANCE).map(finding).collect() }
}

/// Where the event that a difference is about can be seen.
fn places(table: &Table<'_>, group: &Group) -> Vec<(Option<usize>, usize, f64)> {
    let column = &table.columns[group.first.event()];
    let mut rounds: Vec<usize> =
        (0..table.rounds.len()).filter(|round| column.times[*round].is_finite()).collect();
    rounds.sort_by_key(|round| !(table.failing.has(*round) && group.holds.has(*round)));
    let place = |round: usize| {
        let at = column.times[round] + table.origins[round];
        (table.rounds[round].round, table.rounds[round].attempt, (at * 1e6).round() / 1e6)
    };
    rounds.into_iter().map(place).collect()
}

/// The strongest difference for each of some random verdicts, as many failing as there are.
fn deal(table: &Table<'_>, features: &[(Feature, Set)], gaps: &[Gap], fisher: &mut Fisher) -> Vec<f64> {
    let rounds = table.rounds.len();
    let mut random = Random::new("rounds", 0);
    let mut order: Vec<usize> = (0..rounds).collect();
    let mut sets: Vec<(&Set, usize)> = features.iter().map(|(_, set)| (set, set.len())).collect();
    sets.sort_unstable();
    sets.dedup();
    let mut strongest = Vec::new();
    for _ in 0..DEALS {
        let mut failing = Set::new(rounds);
        for at in 0..table.failing.len() {
            order.swap(at, at + random.below((rounds - at) as u64) as usize);
            failing.insert(order[at]);
        }
        let of_features = sets.iter().map(|(set, count)| {
            let hits = set.common(&failing);
            (hits, count - hits)
        });
        let of_gaps = gaps.iter().flat_map(|gap| gap.beyond(&failing)).map(|hits| (hits, 0));
        let chances = of_features.chain(of_gaps).map(|(failing, passing)| fisher.chance(failing, passing));
        strongest.push(chances.fold(1.0, f64::min));
    }
    strongest
}

/// The features that hold in some failing rounds, and more often there, those with the same rounds and class together.
fn groups(
    table: &Table<'_>,
    features: &[(Feature, Set)],
    fisher: &mut Fisher,
    class: impl Fn(Feature) -> u8,
) -> Vec<Group> {
    let of = (table.failing.len(), table.rounds.len() - table.failing.len());
    let mut groups: HashMap<(&Set, u8), Group> = HashMap::new();
    for (feature, holds) in features {
        let failing = holds.common(&table.failing);
        let passing = holds.len() - failing;
        if failing * of.1 <= passing * of.0 {
            continue;
        }
        // That something came before another says more than that it came.
        let (is_step, after) = feature.distance(table, holds);
        let distance = (is_step, after, feature.kind());
        let group = groups.entry((holds, class(*feature))).or_insert_with(|| Group {
            holds: holds.clone(),
            chance: fisher.chance(failing, passing),
            is_full: failing == of.0 && passing == 0,
            first: *feature,
            distance,
            count: 0,
        });
        group.count += 1;
        if is_nearer(distance, group.distance) {
            (group.first, group.distance) = (*feature, distance);
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        let by_strength = other.is_full.cmp(&one.is_full).then(one.chance.total_cmp(&other.chance));
        by_strength
            .then(one.distance.1.total_cmp(&other.distance.1))
            .then_with(|| one.holds.cmp(&other.holds))
    });
    groups
}

fn is_nearer(one: (bool, f64, u8), other: (bool, f64, u8)) -> bool {
    one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(&other.2)).is_lt()
}
