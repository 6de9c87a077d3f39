//! A metric.

use std::borrow::Cow;

use crate::event::Spread;

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value; the median if there is a spread.
    pub value: f64,
    /// Its unit: `s` for seconds, empty for a number.
    pub unit: Cow<'static, str>,
    /// The VM or client it belongs to; `None` for the case.
    pub vm: Option<String>,
    /// The spread, if it was measured repeatedly.
    pub spread: Option<Spread>,
}

impl Metric {
    /// One of [`METRICS`](super::metrics::METRICS), measured once.
    pub(super) fn of(name: &'static str, value: f64, unit: &'static str, vm: &str) -> Self {
        Self { name: name.into(), value, unit: unit.into(), vm: Some(vm.to_owned()), spread: None }
    }

    /// The value for a name of [`METRICS`](super::metrics::METRICS), if it belongs to this metric.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<f64> {
        let part = name.strip_prefix(&*self.name)?;
        match (part, self.spread) {
            ("", _) => Some(self.value),
            ("_n", Some(spread)) => Some(spread.n as f64),
            ("_min", Some(spread)) => Some(spread.min),
            ("_median", Some(spread)) => Some(spread.median),
            ("_p95", Some(spread)) => Some(spread.p95),
            ("_max", Some(spread)) => Some(spread.max),
            _ => None,
        }
    }
}
