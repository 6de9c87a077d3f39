//! How often intermittent known issues (`known_issue` with `at_most`) occurred, and whether that is too often.

use indexmap::IndexMap;

use crate::event::{Race, Verdict};
use crate::report::record::Case;
use crate::units::Share;

/// A rate is too high if it, or a higher one, would occur with at most this probability at the rate `at_most`.
pub const CHANCE: f64 = 0.01;

/// The counts of each intermittent known issue.
#[derive(Debug, Clone, Default)]
pub struct Races {
    /// By known issue, and by QEMU if there are several.
    known: IndexMap<(Race, Option<String>), Tally>,
}

/// The counts of one known issue.
#[derive(Debug, Clone, Default)]
struct Tally {
    all: Rate,
    cases: IndexMap<String, Rate>,
}

/// Occurrences, and the number of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rate {
    struck: usize,
    of: usize,
}

impl Rate {
    fn add(&mut self, struck: bool) {
        self.struck += usize::from(struck);
        self.of += 1;
    }

    fn is_above(self, at_most: Share) -> bool {
        at_least(self.struck, self.of, at_most.fraction()) < CHANCE
    }
}

impl Races {
    /// Counts a finished case. A case that failed for another reason did not get far enough, and is not counted.
    pub fn add(&mut self, case: &Case) {
        let came_to_its_end = matches!(case.verdict(), Verdict::Pass | Verdict::Xfail | Verdict::Flaky);
        for race in &case.races {
            let struck = case.was_struck_by(race);
            if struck || came_to_its_end {
                let tally = self.known.entry((race.clone(), case.qemu.clone())).or_default();
                tally.all.add(struck);
                tally.cases.entry(case.name.clone()).or_default().add(struck);
            }
        }
    }

    /// The reason and rate of each known issue that occurred, or that could have in several rounds.
    pub fn rates(&self) -> impl Iterator<Item = (&str, String)> {
        self.known.iter().filter(|(_, tally)| tally.all.struck > 0 || tally.is_repeated()).map(
            |((race, qemu), tally)| {
                let on = qemu.as_ref().map(|qemu| format!(" on {qemu}")).unwrap_or_default();
                (race.reason.as_str(), tally.all.summary(tally.noun(), race.at_most) + &on)
            },
        )
    }

    /// The known issues that occurred too often, beyond chance, one line each: over all cases, or in a single case.
    #[must_use]
    pub fn exceeded(&self) -> Vec<String> {
        self.known.iter().filter_map(|((race, qemu), tally)| tally.exceeded(race, qemu.as_deref())).collect()
    }
}

impl Tally {
    /// Whether any case ran more than once.
    fn is_repeated(&self) -> bool {
        self.cases.len() < self.all.of
    }

    fn noun(&self) -> &'static str {
        match (self.is_repeated(), self.all.of) {
            (true, _) => "runs",
            (false, 1) => "case",
            (false, _) => "cases",
        }
    }

    fn exceeded(&self, race: &Race, qemu: Option<&str>) -> Option<String> {
        let Race { reason, at_most } = race;
        let (rate, of) = if self.all.is_above(*at_most) {
            (self.all, self.noun().to_owned())
        } else {
            let (name, rate) = self.cases.iter().find(|(_, rate)| rate.is_above(*at_most))?;
            (*rate, format!("runs of `{name}`"))
        };
        let on = qemu.map(|qemu| format!(" on {qemu}")).unwrap_or_default();
        Some(format!(
            "a known issue occurs too often{on}: in {} of {} {of}, expected at most {at_most} \
             ({reason})",
            rate.struck, rate.of
        ))
    }
}

impl Rate {
    /// `1 of 8 cases; at most 5 % expected`.
    fn summary(self, noun: &str, at_most: Share) -> String {
        format!("{} of {} {noun}; at most {at_most} expected", self.struck, self.of)
    }
}

/// The probability that an event of this probability occurs at least `hits` times in `of` trials (the upper tail of
/// the binomial distribution, summed term by term).
#[must_use]
pub fn at_least(hits: usize, of: usize, probability: f64) -> f64 {
    if hits == 0 || probability >= 1.0 {
        return 1.0;
    }
    if hits > of || probability <= 0.0 {
        return 0.0;
    }
    // Use logarithms: the first terms of a long run underflow.
    let odds = (probability / (1.0 - probability)).ln();
    let mut term = of as f64 * (1.0 - probability).ln();
    let mut sum = 0.0;
    for count in 0..=of {
        if count >= hits {
            sum += term.exp();
        }
        term += ((of - count) as f64 / (count + 1) as f64).ln() + odds;
    }
    f64::min(sum, 1.0)
}

#[cfg(test)]
#[path = "races_tests.rs"]
mod tests;
