//! How often the races that scenarios know of (`known_issue` with `at_most`) struck, and whether that is more often than
//! they may.

use indexmap::IndexMap;

use crate::event::{Race, Verdict};
use crate::report::record::Case;
use crate::units::Share;

/// A rate is too high where one that is as `at_most` says would be seen this seldom, or less.
pub const CHANCE: f64 = 0.01;

/// How often each race struck.
#[derive(Debug, Clone, Default)]
pub struct Races {
    /// By the race, and the QEMU where there are several.
    known: IndexMap<(Race, Option<String>), Tally>,
}

/// How often one race struck.
#[derive(Debug, Clone, Default)]
struct Tally {
    all: Rate,
    cases: IndexMap<String, Rate>,
}

/// In how many runs of how many.
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
    /// Takes in a case that has ended. One that failed otherwise did not come to where the race strikes, and does not
    /// count.
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

    /// Each race that struck, or that could have in several rounds, with how often: its reason, and the rate in words.
    pub fn rates(&self) -> impl Iterator<Item = (&str, String)> {
        self.known.iter().filter(|(_, tally)| tally.all.struck > 0 || tally.is_repeated()).map(
            |((race, qemu), tally)| {
                let on = qemu.as_ref().map(|qemu| format!(" on {qemu}")).unwrap_or_default();
                (race.reason.as_str(), tally.all.summary(tally.noun(), race.at_most) + &on)
            },
        )
    }

    /// The races that struck more often than they may, beyond chance, each in one line: over all cases, or else in some
    /// one case.
    #[must_use]
    pub fn exceeded(&self) -> Vec<String> {
        self.known.iter().filter_map(|((race, qemu), tally)| tally.exceeded(race, qemu.as_deref())).collect()
    }
}

impl Tally {
    /// Whether some case ran more than once.
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

/// The probability that something which happens with this probability each time happens at least so often in so many
/// times (the upper tail of the binomial distribution, added up term by term).
#[must_use]
pub fn at_least(hits: usize, of: usize, probability: f64) -> f64 {
    if hits == 0 || probability >= 1.0 {
        return 1.0;
    }
    if hits > of || probability <= 0.0 {
        return 0.0;
    }
    // The terms in logarithms: the first ones of a long run are too small for a number.
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
