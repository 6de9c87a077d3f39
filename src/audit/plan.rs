//! Which trials are run, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::Rule;
use super::sabotage::{self, Sabotage};
use super::scene::Scene;
use super::site::Site;
use crate::random::Random;

/// A planned trial.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// The index of the case.
    pub case: usize,
    /// The sabotage.
    pub sabotage: Sabotage,
    /// The site.
    pub site: Site,
}

/// The trials of an audit, in order, and what rules leave out of each case.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The trials.
    pub trials: Vec<Planned>,
    /// How many sites each rule leaves out, by the index of the case.
    pub left_out: BTreeMap<usize, BTreeMap<Rule, usize>>,
    /// How many sites are not planned, by the index of the case.
    pub skipped: BTreeMap<usize, usize>,
}

/// Whether a sabotage is one of those that `--only` names; all are, without names.
pub(crate) fn is_wanted(sabotage: &Sabotage, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| name == sabotage.name || name == sabotage.kind.name())
}

impl Plan {
    /// Plans the trials of all cases: at most `sites` of each sabotage in each case, drawn by the seed. Each sabotage comes up
    /// once before one of them comes up again, so that a run that is cut off has tried as many as possible.
    pub(crate) fn new(scenes: &[(usize, Scene<'_>)], only: &[String], sites: usize, seed: u64) -> Self {
        let mut plan = Self::default();
        // By the rank of the site in its case, and by the sabotage: the trials in random order.
        let mut ranked: Vec<(usize, usize, u64, Planned)> = Vec::new();
        let mut turns: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for sabotage in sabotage::ALL.iter().filter(|sabotage| is_wanted(sabotage, only)) {
            let mut random = Random::new(sabotage.name, seed);
            let mut order: Vec<(u64, &(usize, Scene<'_>))> =
                scenes.iter().map(|scene| (random.next(), scene)).collect();
            order.sort_by_key(|(drawn, _)| *drawn);
            for (_, (case, scene)) in order {
                let mut found = (sabotage.sites)(scene);
                for (rule, count) in found.left_out {
                    *plan.left_out.entry(*case).or_default().entry(rule).or_default() += count;
                }
                let mut seen = BTreeSet::new();
                found.sites.retain(|site| seen.insert(site.key()));
                let mut random = Random::new(&format!("{} {}", scene.case.name, sabotage.name), seed);
                let mut drawn: Vec<(u64, Site)> =
                    found.sites.into_iter().map(|site| (random.next(), site)).collect();
                drawn.sort_by_key(|(drawn, _)| *drawn);
                *plan.skipped.entry(*case).or_default() += drawn.len().saturating_sub(sites);
                for (rank, (drawn, site)) in drawn.into_iter().take(sites).enumerate() {
                    let turn = turns.entry((rank, sabotage.name)).or_default();
                    ranked.push((rank, *turn, drawn, Planned { case: *case, sabotage: *sabotage, site }));
                    *turn += 1;
                }
            }
        }
        ranked.sort_by_key(|(rank, turn, drawn, _)| (*rank, *turn, *drawn));
        plan.trials = ranked.into_iter().map(|(_, _, _, planned)| planned).collect();
        plan
    }
}
