//! The spread of measured values.

use serde::{Deserialize, Serialize};

/// The spread of a value that was measured repeatedly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How often it was measured.
    pub n: usize,
    /// The smallest value.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of some values, which it sorts; `None` if there are none. Ignores values that are not numbers.
    #[must_use]
    pub fn of(values: &mut Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        // Nearest rank, so that each is a measured value even if there are few.
        let rank = |share: usize| values.get((values.len() * share).div_ceil(100).saturating_sub(1)).copied();
        Some(Self {
            n: values.len(),
            min: *values.first()?,
            median: rank(50)?,
            p95: rank(95)?,
            max: *values.last()?,
        })
    }
}
