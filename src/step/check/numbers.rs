//! Checks of metrics and values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Equal, Metric, Number};
use crate::diagnostic::suggest;
use crate::qemu::contains::contains;
use crate::session::metrics::{METRICS, measure};
use crate::session::{Failure, Session};
use crate::step::{About, Complaints, Scene, brief, number};
use crate::units::Span;

/// A bound of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Bound {
    /// A number in the metric's unit.
    Number(f64),
    /// A duration, for metrics whose unit is the second.
    Span(Span),
}

impl Metric {
    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        let own = METRICS.iter().map(|(name, _)| *name);
        let known: Vec<&str> = own.chain(scene.metrics.iter().map(String::as_str)).collect();
        if !known.contains(&self.metric.as_str()) {
            let message = format!("there is no metric `{}`", self.metric);
            complaints.add_about(About::Name, &["metric"], message, suggest(&self.metric, known));
        }
    }

    pub(super) fn run(&self, session: &Session) -> Result<Value, Failure> {
        let name = &self.metric;
        // Of several VMs the worst value counts.
        let values: Vec<f64> = measure(session).iter().filter_map(|metric| metric.named(name)).collect();
        let (Some(largest), Some(smallest)) =
            (values.iter().copied().reduce(f64::max), values.iter().copied().reduce(f64::min))
        else {
            return Err(Failure::failed(format!("metric `{name}` has no value")));
        };
        within(self.below, self.above, &format!("metric `{name}`"), (smallest, largest))
    }
}

impl Number {
    pub(super) fn title(&self) -> String {
        let of = self.of.as_ref().map(|of| format!(" of {}", brief(of))).unwrap_or_default();
        let bound =
            |word: &str, bound: Option<Bound>| bound.map(|bound| format!(" {word} {}", bound.number()));
        let bounds = [bound("above", self.above), bound("below", self.below)];
        let bounds: String = bounds.into_iter().flatten().collect();
        format!("value {}{of}{bounds}", brief(&self.value))
    }

    pub(super) fn check(&self, complaints: &mut Complaints) {
        for (key, value) in [("value", Some(&self.value)), ("of", self.of.as_ref())] {
            value.inspect(|value| complaints.number(&[key], value));
        }
    }

    pub(super) fn run(&self) -> Result<Value, Failure> {
        let read = |value: &Value| {
            number(value).ok_or_else(|| Failure::failed(format!("`{}` is not a number", brief(value))))
        };
        let value = read(&self.value)?;
        let (what, value) = match self.of.as_ref().map(read).transpose()? {
            Some(of) => (format!("the ratio of {value} to {of}"), value / of),
            None => ("the value".to_owned(), value),
        };
        within(self.below, self.above, &what, (value, value))
    }
}

impl Equal {
    pub(super) fn run(&self) -> Result<Value, Failure> {
        let first = self.equal.first().cloned().unwrap_or_default();
        match self.equal.iter().find(|value| !(contains(value, &first) && contains(&first, value))) {
            None => Ok(first),
            Some(other) => Err(Failure::failed(format!("{first} is not equal to {other}"))),
        }
    }
}

/// Checks a range of numbers against the bounds; NaN is out of bounds. Returns the largest.
fn within(
    below: Option<Bound>,
    above: Option<Bound>,
    what: &str,
    (smallest, largest): (f64, f64),
) -> Result<Value, Failure> {
    let above = above.map(Bound::number).filter(|above| smallest <= *above || smallest.is_nan());
    let below = below.map(Bound::number).filter(|below| largest >= *below || largest.is_nan());
    match (below, above) {
        (Some(below), _) => Err(Failure::failed(format!("{what} is {largest}, not below {below}"))),
        (None, Some(above)) => Err(Failure::failed(format!("{what} is {smallest}, not above {above}"))),
        (None, None) => Ok(json!(largest)),
    }
}

impl Bound {
    fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Span(span) => span.0.as_secs_f64(),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self::Number(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => text.parse().map(Self::Span).map_err(serde::de::Error::custom),
            other => Err(serde::de::Error::custom(format!(
                "{other} is not a valid bound; write `500ms` or a number"
            ))),
        }
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["number", "string"]})
    }
}
