//! Sets of rounds, and how unlikely their overlap is.

/// A set of the rounds of a case, by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Set(Vec<u64>);

impl Set {
    /// An empty set for this many rounds.
    pub(super) fn new(rounds: usize) -> Self {
        Self(vec![0; rounds.div_ceil(64)])
    }

    /// The rounds for which this holds.
    pub(super) fn of(rounds: usize, holds: impl Fn(usize) -> bool) -> Self {
        let mut set = Self::new(rounds);
        (0..rounds).filter(|round| holds(*round)).for_each(|round| set.insert(round));
        set
    }

    pub(super) fn insert(&mut self, round: usize) {
        self.0[round / 64] |= 1 << (round % 64);
    }

    /// An empty set for as many rounds.
    pub(super) fn emptied(&self) -> Self {
        Self(vec![0; self.0.len()])
    }

    pub(super) fn has(&self, round: usize) -> bool {
        self.0[round / 64] >> (round % 64) & 1 == 1
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many rounds are in both.
    pub(super) fn common(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(one, other)| (one & other).count_ones() as usize).sum()
    }
}

/// Fisher's exact test, one-sided, for a fixed number of failing and passing rounds.
#[derive(Debug)]
pub(super) struct Fisher {
    failing: usize,
    passing: usize,
    /// The logarithms of the factorials.
    factorials: Vec<f64>,
    known: Vec<f64>,
}

impl Fisher {
    pub(super) fn new(failing: usize, passing: usize) -> Self {
        let mut factorials = vec![0.0];
        for number in 1..=failing + passing {
            factorials.push(factorials[number - 1] + (number as f64).ln());
        }
        Self { failing, passing, factorials, known: vec![f64::NAN; (failing + 1) * (passing + 1)] }
    }

    /// The probability that something that holds in so many rounds holds in at least so many of the failing ones, if
    /// it has nothing to do with the failure.
    pub(super) fn chance(&mut self, failing: usize, passing: usize) -> f64 {
        let at = failing * (self.passing + 1) + passing;
        if self.known[at].is_nan() {
            self.known[at] = self.tail(failing, failing + passing);
        }
        self.known[at]
    }

    fn tail(&self, failing: usize, holds: usize) -> f64 {
        let choose = |of: usize, count: usize| {
            self.factorials[of] - self.factorials[count] - self.factorials[of - count]
        };
        let all = choose(self.failing + self.passing, holds);
        let most = holds.min(self.failing);
        let term = |count| (choose(self.failing, count) + choose(self.passing, holds - count) - all).exp();
        (failing..=most).map(term).sum::<f64>().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_what_it_has_in_common() {
        let even = Set::of(130, |round| round % 2 == 0);
        let third = Set::of(130, |round| round % 3 == 0);
        assert_eq!((even.len(), third.len(), even.common(&third)), (65, 44, 22));
        assert!(even.has(128) && !even.has(129));
    }

    #[test]
    fn fishers_test_equals_published_values() {
        // The tea test: 4 of 4 right is 1 of 70, at least 3 of 4 is 17 of 70.
        let mut tea = Fisher::new(4, 4);
        assert!((tea.chance(4, 0) - 1.0 / 70.0).abs() < 1e-12);
        assert!((tea.chance(3, 1) - 17.0 / 70.0).abs() < 1e-12);
        assert!((tea.chance(0, 4) - 1.0).abs() < 1e-12);
        let mut rare = Fisher::new(9, 151);
        assert!(rare.chance(9, 0) < 1e-14 && rare.chance(9, 151) > 1.0 - 1e-9);
    }
}
