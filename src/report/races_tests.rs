//! Tests of how often races may strike.

use super::*;
use crate::event::{CaseEnd, What};
use crate::report::{Fold, sample};

const REASON: &str = "the pages are torn";

/// Cases with their verdicts, under one race that strikes at most in 5 % of their runs; whether it struck each.
fn races(cases: &[(&str, Verdict, bool)]) -> Races {
    let (mut fold, mut races) = (Fold::default(), Races::default());
    for (number, (name, verdict, struck)) in cases.iter().enumerate() {
        let mut began = sample::started(number, name, "a.yaml");
        if let What::CaseStarted { races, .. } = &mut began.what {
            races.push(Race { reason: REASON.into(), at_most: Share::percent(5) });
        }
        fold.take(&began);
        let mut end = CaseEnd::new(*verdict, None, 1.0);
        end.struck = struck.then(|| REASON.to_owned());
        races.add(&fold.take(&sample::at(1.0, Some(number), What::CaseEnded(Box::new(end)))).unwrap());
    }
    races
}

#[test]
fn the_tail_of_the_binomial_distribution_equals_published_values() {
    // By hand: 1 - 0.95^8, and so on; 2 of 2 is the square.
    for (hits, of, probability, expected) in [
        (0, 8, 0.05, 1.0),
        (1, 1, 0.01, 0.01),
        (1, 8, 0.05, 0.336_579),
        (2, 2, 0.05, 0.0025),
        (2, 8, 0.05, 0.057_245),
        (3, 8, 0.05, 0.005_788),
        (10, 20, 0.5, 0.588_099),
        (9, 8, 0.05, 0.0),
    ] {
        let found = at_least(hits, of, probability);
        assert!((found - expected).abs() < 1e-6, "{hits} of {of} at {probability}: {found}");
    }
    // Far too small for its first terms to be numbers: the mean is a coin's toss, and 3 standard deviations are 0.1 %.
    let (mean, beyond) = (at_least(5_000, 100_000, 0.05), at_least(5_207, 100_000, 0.05));
    assert!((0.49..0.52).contains(&mean) && (0.001..0.002).contains(&beyond), "{mean} {beyond}");
}

#[test]
fn one_occurrence_is_never_beyond_chance_with_a_limit_of_at_least_one_percent() {
    assert!(at_least(1, 1, Share::percent(1).fraction()) >= CHANCE);
}

#[test]
fn a_race_is_listed_with_its_occurrences_and_its_limit() {
    let mut cases = vec![("struck", Verdict::Xfail, true)];
    cases.extend(["b", "c", "d", "e", "f", "g", "h"].map(|name| (name, Verdict::Pass, false)));
    // What failed otherwise, or never ran, does not count.
    cases.extend([("fails", Verdict::Fail, false), ("skipped", Verdict::Skip, false)]);
    let races = races(&cases);
    let rates: Vec<_> = races.rates().collect();
    assert_eq!(rates, [(REASON, "1 of 8 cases; at most 5% expected".to_owned())]);
    assert!(races.exceeded().is_empty());
}

#[test]
fn a_race_that_did_not_occur_is_listed_with_rounds_only() {
    assert_eq!(races(&[("a", Verdict::Pass, false), ("b", Verdict::Pass, false)]).rates().count(), 0);
    let rounds = races(&[("a", Verdict::Pass, false), ("a", Verdict::Pass, false)]);
    assert_eq!(rounds.rates().next().unwrap().1, "0 of 2 runs; at most 5% expected");
}

#[test]
fn a_race_that_occurs_too_often_in_all_cases_or_in_one_is_named() {
    let rounds = |name: &'static str, struck: usize, of: usize| {
        (0..of).map(move |number| match number < struck {
            true => (name, Verdict::Xfail, true),
            false => (name, Verdict::Pass, false),
        })
    };
    let exceeded = |cases: Vec<_>| races(&cases).exceeded();
    // 4 of 20 are seen in 1.6 % of all such runs, 5 in 0.26 %.
    assert!(exceeded(rounds("a", 4, 20).collect()).is_empty());
    assert_eq!(
        exceeded(rounds("a", 5, 20).collect()),
        ["a known issue occurs too often: in 5 of 20 runs, expected at most 5% (the pages are torn)"]
    );
    // Over all cases it is seldom, in one of them it is not.
    assert_eq!(
        exceeded(rounds("a", 5, 20).chain(rounds("b", 0, 100)).collect()),
        ["a known issue occurs too often: in 5 of 20 runs of `a`, expected at most 5% (the pages are torn)"]
    );
    // A single run of many cases is judged as well; a failure at the second strike counts as a strike.
    let single = ["a", "b", "c"].map(|name| (name, Verdict::Fail, true)).into_iter();
    let single = single.chain(["d", "e", "f", "g", "h"].map(|name| (name, Verdict::Pass, false)));
    assert_eq!(exceeded(single.collect()).len(), 1);
}
