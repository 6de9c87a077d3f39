//! An axis that is a range: values in steps, or random values drawn by a seed.

use std::num::NonZeroU64;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::step::forms::{forms, read};
use crate::step::{Misfit, Read, Rule};
use crate::units::{Size, Span};

/// The maximum number of values.
const MAX: i128 = 10_000;

/// The message and the help for an invalid range.
pub(super) type Wrong = (String, &'static str);

const HELP: &str =
    "write `{from: 0ms, to: 300ms, step: 20ms}`, or `{random: {count: 5, from: 0ms, to: 300ms}}`";

/// The unit of a range.
#[derive(Debug, Clone, Copy)]
struct Unit {
    kind: Kind,
    /// It in the smallest unit of its kind: billionths, nanoseconds or bytes.
    size: i128,
    /// What a duration has after its number.
    suffix: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Time,
    Size,
}

/// The number 1 in billionths.
const ONE: i128 = 1_000_000_000;

const TIMES: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

forms! {
    /// A range.
    pub(super) enum Range;

    Stepped {
        /// The first value: a number, a duration or a size.
        from: Value,
        /// The last value, if a step reaches it.
        to: Value,
        /// The distance of the values.
        step: Value,
    }
    Random {
        /// Values drawn at random by `--seed`.
        random: Drawn,
    }
}

/// Values drawn at random.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drawn {
    /// The number of values, all different.
    count: NonZeroU64,
    /// The lowest possible value.
    from: Value,
    /// The highest possible value.
    to: Value,
}

impl Range {
    const RULES: &[Rule] = &[Rule::OneForm {
        forms: Self::FORMS,
        none: ("the range has no `from` and no `random`", HELP),
        both: "keep one of them",
    }];

    /// Whether an axis is a range, not a list.
    pub(super) fn is_range(value: &Value) -> bool {
        let is_key = |key: &String| Self::FORMS.iter().any(|form| form.keys().any(|own| own == key));
        value.as_object().is_some_and(|map| map.keys().any(is_key))
    }

    /// The values. `name` is the axis, so that two axes do not draw the same values.
    pub(super) fn values(&self, name: &str, seed: u64) -> Result<Vec<Value>, Wrong> {
        match self {
            Self::Stepped(range) => range.values(),
            Self::Random(Random { random }) => random.values(name, seed),
        }
    }
}

impl Read for Range {
    fn read(value: &Value) -> Result<Self, Misfit> {
        read(Self::FORMS, Self::READERS, Self::RULES, &[], value)
    }
}

impl Stepped {
    fn values(&self) -> Result<Vec<Value>, Wrong> {
        let given = [("from", &self.from), ("to", &self.to), ("step", &self.step)];
        let ([from, to, step], unit) = numbers(given)?;
        if step <= 0 {
            return Err(("the step of a range must be greater than zero".to_owned(), HELP));
        }
        if to < from {
            return Err(("the end of the range is below its start".to_owned(), HELP));
        }
        let count = (to - from) / step;
        if count >= MAX {
            return Err((format!("the range has more than {MAX} values"), "use a larger step"));
        }
        (0..=count).map(|number| unit.value(from + number * step)).collect()
    }
}

impl Drawn {
    fn values(&self, name: &str, seed: u64) -> Result<Vec<Value>, Wrong> {
        let count = self.count.get();
        let ([from, to], unit) = numbers([("from", &self.from), ("to", &self.to)])?;
        if to < from {
            return Err(("the end of the range is below its start".to_owned(), HELP));
        }
        let there = to - from + 1;
        if i128::from(count) > MAX || i128::from(count) > there {
            let message = format!("cannot draw {count} different values: the range has {there}");
            return Err((message, "draw fewer, or write its ends in a finer unit (`1000ms` for `1s`)"));
        }
        let mut random = crate::random::Random::new(name, seed);
        let mut values: Vec<i128> = Vec::new();
        while (values.len() as u64) < count {
            let value = from + i128::from(random.next()) % there;
            // Each case needs its own name, so no value is drawn twice.
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.sort_unstable();
        values.into_iter().map(|value| unit.value(value)).collect()
    }
}

/// The numbers under these keys, in the finest of their units.
fn numbers<const N: usize>(given: [(&str, &Value); N]) -> Result<([i128; N], Unit), Wrong> {
    let mut parsed = Vec::new();
    for (key, value) in given {
        parsed.push(parse(value).ok_or_else(|| {
            let help = "use numbers, durations (`20ms`) or sizes (`4M`), all of one kind";
            (format!("`{key}` is {value}, not a valid number, duration or size"), help)
        })?);
    }
    let (_, mut unit) = parsed[0];
    for (_, other) in &parsed {
        if other.kind != unit.kind {
            return Err(("the range mixes numbers, durations and sizes".to_owned(), HELP));
        }
        if other.size < unit.size {
            unit = *other;
        }
    }
    let mut numbers = [0; N];
    for ((number, (key, value)), (total, _)) in numbers.iter_mut().zip(given).zip(parsed) {
        if total % unit.size != 0 {
            return Err((format!("`{key}` is {value}, which is too large or too precise"), HELP));
        }
        *number = total / unit.size;
    }
    Ok((numbers, unit))
}

/// A value in the smallest unit of its kind, and its own unit.
fn parse(value: &Value) -> Option<(i128, Unit)> {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
            let size = 10_i128.pow(9_u32.checked_sub(decimals.len() as u32)?);
            let digits: i128 = format!("{whole}{decimals}").parse().ok()?;
            Some((digits * size, Unit { kind: Kind::Number, size, suffix: "" }))
        }
        Value::String(text) => {
            let suffix = text.trim().rsplit(|c: char| c.is_ascii_digit() || c.is_whitespace()).next()?;
            if let (Ok(Span(span)), Some((suffix, size))) =
                (text.parse(), TIMES.iter().find(|(name, _)| *name == suffix))
            {
                let unit = Unit { kind: Kind::Time, size: *size, suffix };
                return Some((i128::try_from(span.as_nanos()).ok()?, unit));
            }
            let Size(bytes) = text.parse().ok()?;
            Some((bytes.into(), Unit { kind: Kind::Size, size: 1, suffix: "" }))
        }
        _ => None,
    }
}

impl Unit {
    /// The value that is this number of it.
    fn value(self, number: i128) -> Result<Value, Wrong> {
        let value = match self.kind {
            Kind::Number if self.size == ONE => i64::try_from(number).ok().map(Value::from),
            Kind::Number => Number::from_f64(number as f64 / (ONE / self.size) as f64).map(Value::Number),
            Kind::Time => Some(Value::String(format!("{number}{}", self.suffix))),
            Kind::Size => u64::try_from(number).ok().map(|bytes| Value::String(Size(bytes).to_string())),
        };
        value.ok_or_else(|| ("a value of the range is too large".to_owned(), HELP))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(range: Value) -> Result<Value, String> {
        let range = Range::read(&range).map_err(|misfit| misfit.wrong.to_string())?;
        range.values("delay", 7).map(Value::Array).map_err(|(message, _)| message)
    }

    #[test]
    fn a_range_is_swept_in_steps_with_both_its_ends() {
        assert_eq!(
            of(json!({"from": "0ms", "to": "60ms", "step": "20ms"})).unwrap(),
            json!(["0ms", "20ms", "40ms", "60ms"])
        );
        assert_eq!(
            of(json!({"from": "1s", "to": "2s", "step": "400ms"})).unwrap(),
            json!(["1000ms", "1400ms", "1800ms"])
        );
        assert_eq!(of(json!({"from": 1, "to": 7, "step": 3})).unwrap(), json!([1, 4, 7]));
        assert_eq!(of(json!({"from": 0, "to": 0.3, "step": 0.1})).unwrap(), json!([0.0, 0.1, 0.2, 0.3]));
        assert_eq!(
            of(json!({"from": "64M", "to": "1G", "step": "480M"})).unwrap(),
            json!(["64M", "544M", "1G"])
        );
        assert_eq!(of(json!({"from": -1, "to": 1, "step": 2})).unwrap(), json!([-1, 1]));
    }

    #[test]
    fn random_values_depend_only_on_the_seed_and_the_axis() {
        let random = json!({"random": {"count": 5, "from": "0ms", "to": "300ms"}});
        let drawn = |name: &str, seed: u64| Range::read(&random).unwrap().values(name, seed).unwrap();
        assert_eq!(drawn("delay", 7), drawn("delay", 7));
        assert_ne!(drawn("delay", 7), drawn("delay", 8));
        assert_ne!(drawn("delay", 7), drawn("other", 7));
        let mut values = drawn("delay", 7);
        values.dedup();
        assert_eq!(values.len(), 5);
        let whole = json!({"random": {"count": 3, "from": 1, "to": 3}});
        assert_eq!(of(whole).unwrap(), json!([1, 2, 3]), "every value once");
    }

    #[test]
    fn an_invalid_range_is_an_error() {
        for (range, said) in [
            (json!({"from": 0, "to": 1}), "the key `step` is missing"),
            (json!({"from": 0, "to": 1, "step": 0}), "greater than zero"),
            (json!({"from": 2, "to": 1, "step": 1}), "below its start"),
            (json!({"from": 0, "to": "1s", "step": 1}), "mixes"),
            (json!({"from": 0, "to": 1e300, "step": 1}), "not a valid number"),
            (json!({"from": 0, "to": 1_000_000, "step": 1}), "more than 10000 values"),
            (json!({"from": 0, "to": 1, "step": 1, "by": 1}), "unknown key `by`"),
            (json!({"from": "soon", "to": "1s", "step": "1s"}), "not a valid number"),
            (json!({"random": {"count": 5, "from": 1, "to": 3}}), "the range has 3"),
            (json!({"random": {"count": 0, "from": 1, "to": 3}}), "of at least 1"),
            (json!({"random": 3}), "expected a map"),
            (json!({"random": {"count": 1, "from": 1, "to": 3}, "step": 1}), "`step` needs `from`"),
        ] {
            let message = of(range.clone()).unwrap_err();
            assert!(message.contains(said), "{range}: {message}");
        }
    }
}
