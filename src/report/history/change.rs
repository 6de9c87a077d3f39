//! The point at which a series of values changed.

/// A change of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// The index of the first value after it.
    pub at: usize,
    /// The probability of a split that is at least as clear in a series without a change.
    pub p: f64,
}

/// Pettitt's test: the split at which the ranks of the values differ most, with the usual approximation of its
/// probability, `2 exp(-6 K² / (n³ + n²))`, where the variance is corrected for equal values, as it is in the test of Mann
/// and Whitney. Distribution-free; a few outliers do not matter. `None` for fewer than two values, or if all are equal.
pub(super) fn pettitt(values: &[f64]) -> Option<Change> {
    let n = values.len() as f64;
    let (mut sum, mut best) = (0.0, (0.0_f64, 0));
    let (ranks, distinct) = ranks(values);
    for (index, rank) in ranks.iter().enumerate().take(values.len().checked_sub(1)?) {
        sum += 2.0 * rank - (n + 1.0);
        if f64::abs(sum) > best.0 {
            best = (f64::abs(sum), index + 1);
        }
    }
    let (k, at) = best;
    let p = 2.0 * (-6.0 * k * k / ((n.powi(3) + n.powi(2)) * distinct)).exp();
    (at > 0).then_some(Change { at, p: p.min(1.0) })
}

/// The ranks, counted from 1; equal values share the mean of theirs. And the share of the variance that is left with them.
fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let cubic = |count: usize| (count as f64).powi(3) - count as f64;
    let (mut from, mut tied) = (0, 0.0);
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let mean = from as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|index| ranks[*index] = mean);
        from += equal.len();
        tied += cubic(equal.len());
    }
    (ranks, 1.0 - tied / cubic(values.len()))
}

/// The highest probability that counts, such that of the changes that count a share of about `rate` has come by chance
/// (Benjamini and Hochberg); `None` if none counts.
pub(super) fn threshold(probabilities: &[f64], rate: f64) -> Option<f64> {
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = sorted.len() as f64;
    let counts = |(index, p): &(usize, &f64)| **p <= rate * (index + 1) as f64 / of;
    sorted.iter().enumerate().rfind(counts).map(|(_, p)| *p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), (vec![3.5, 1.0, 3.5, 2.0], 0.9));
    }

    #[test]
    fn the_change_of_a_series_is_found_where_it_is() {
        let mut values = vec![1.0; 20];
        values.extend([2.0; 20]);
        let change = pettitt(&values).unwrap();
        assert_eq!(change.at, 20);
        // By hand: K = 20 * 20, n = 40, and two groups of 20 equal values.
        let distinct = 1.0 - 2.0 * 7_980.0 / 63_960.0;
        assert!(
            (change.p - 2.0 * f64::exp(-6.0 * 160_000.0 / (65_600.0 * distinct))).abs() < 1e-12,
            "{change:?}"
        );
        // An outlier is not a change, and does not hide one.
        values[3] = 1e9;
        assert_eq!(pettitt(&values).unwrap().at, 20);
        assert_eq!(pettitt(&[1.0; 40]), None);
        assert_eq!(pettitt(&[]), None);
        assert_eq!(pettitt(&[1.0]), None);
    }

    #[test]
    fn chance_counts_at_most_as_often_as_the_rate_says() {
        let mut random = Random::new("series", 7);
        let mut series = || -> Vec<f64> { (0..60).map(|_| random.below(1_000_000) as f64).collect() };
        let probabilities: Vec<f64> =
            (0..400).map(|_| pettitt(&series()).map_or(1.0, |change| change.p)).collect();
        let below = probabilities.iter().filter(|p| **p < 0.05).count();
        assert!(below <= 20 + 13, "{below} of 400, expected about 5 %");
        assert_eq!(threshold(&probabilities, 0.01), None);
        let mut some = probabilities;
        some.extend([1e-9; 10]);
        let limit = threshold(&some, 0.01).unwrap();
        assert!((1e-9..1e-3).contains(&limit), "{limit}");
        assert_eq!(threshold(&[], 0.01), None);
    }
}
