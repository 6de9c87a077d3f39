//! The helpers that compute: with numbers, durations (`300ms`) and sizes (`64M`).

use std::time::Duration;

use serde_json::{Number, Value};

use super::helpers::Computed;
use crate::units::{Size, Span};

/// A value to compute with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    Whole(i64),
    Number(f64),
    Span(Duration),
    Size(u64),
}

use Amount::{Size as Bytes, Span as Time};

/// The sum of two or more values of one kind.
pub(super) fn add(values: &[&Value]) -> Computed {
    fold("add", values, |left, right| match (left, right) {
        (Amount::Whole(left), Amount::Whole(right)) => left.checked_add(right).map(Amount::Whole),
        (Time(left), Time(right)) => left.checked_add(right).map(Time),
        (Bytes(left), Bytes(right)) => left.checked_add(right).map(Bytes),
        (left, right) => Some(Amount::Number(left.number()? + right.number()?)),
    })
}

/// The difference of two values of one kind.
pub(super) fn sub(values: &[&Value]) -> Computed {
    fold("sub", values, |left, right| match (left, right) {
        (Amount::Whole(left), Amount::Whole(right)) => left.checked_sub(right).map(Amount::Whole),
        (Time(left), Time(right)) => left.checked_sub(right).map(Time),
        (Bytes(left), Bytes(right)) => left.checked_sub(right).map(Bytes),
        (left, right) => Some(Amount::Number(left.number()? - right.number()?)),
    })
}

/// The product of two or more values; at most one is a duration or a size.
pub(super) fn mul(values: &[&Value]) -> Computed {
    fold("mul", values, |left, right| match (left, right) {
        (Amount::Whole(left), Amount::Whole(right)) => left.checked_mul(right).map(Amount::Whole),
        (left, unit @ (Time(_) | Bytes(_))) => unit.scaled(left.number()?),
        (left, right) => left.scaled(right.number()?),
    })
}

/// The quotient of two values: of one kind, or the second is a number.
pub(super) fn div(values: &[&Value]) -> Computed {
    fold("div", values, |left, right| match (left, right) {
        (Amount::Whole(left), Amount::Whole(right)) if right != 0 && left % right == 0 => {
            left.checked_div(right).map(Amount::Whole)
        }
        (Time(left), Time(right)) => Some(Amount::Number(left.as_secs_f64() / right.as_secs_f64())),
        (Bytes(left), Bytes(right)) => Some(Amount::Number(left as f64 / right as f64)),
        (left, right) => left.scaled(1.0 / right.number()?),
    })
}

/// The nearest whole number; halves are rounded away from zero.
pub(super) fn round(values: &[&Value]) -> Computed {
    let number = match values {
        [one] => amount(one).and_then(Amount::number),
        _ => None,
    };
    let rounded = number.map(f64::round).filter(|number| number.abs() < 9e15);
    let rounded = rounded.map(|number| Value::from(number as i64));
    rounded.ok_or_else(|| format!("cannot compute `round {}`: it is not a number in range", shown(values)))
}

/// Computes from left to right.
fn fold(helper: &str, values: &[&Value], compute: impl Fn(Amount, Amount) -> Option<Amount>) -> Computed {
    let compute = || {
        let mut amounts = values.iter().map(|value| amount(value));
        let first = amounts.next()??;
        amounts.try_fold(first, |left, right| compute(left, right?))?.value()
    };
    compute().ok_or_else(|| format!("cannot compute `{helper} {}`: {}", shown(values), why(helper, values)))
}

/// Why a computation has no result.
fn why(helper: &str, values: &[&Value]) -> String {
    let kind = |value: &&Value| amount(value).map(|amount| std::mem::discriminant(&amount.of_kind()));
    let kinds: Vec<_> = values.iter().map(kind).collect();
    if let Some(at) = kinds.iter().position(Option::is_none) {
        return format!(
            "`{}` is not a number, a duration (`300ms`) or a size (`64M`)",
            shown(&values[at..=at])
        );
    }
    let number = Some(std::mem::discriminant(&Amount::Number(0.0)));
    let (with_unit, same) =
        (kinds.iter().filter(|kind| **kind != number).count(), kinds.windows(2).all(|two| two[0] == two[1]));
    let (fits, takes) = match helper {
        "mul" => (with_unit < 2, "`mul` takes at most one duration or size"),
        "div" => (
            same || kinds.last() == Some(&number),
            "`div` takes two values of one kind, or divides by a number",
        ),
        _ => (same, "the values must be all numbers, all durations or all sizes"),
    };
    match fits {
        true if helper == "div" => "division by zero, or a result out of range".to_owned(),
        true => "the result is negative or too large".to_owned(),
        false => takes.to_owned(),
    }
}

/// The values as in a template.
fn shown(values: &[&Value]) -> String {
    let shown = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    shown.collect::<Vec<_>>().join(" ")
}

fn amount(value: &Value) -> Option<Amount> {
    match value {
        Value::Number(number) => {
            number.as_i64().map(Amount::Whole).or_else(|| number.as_f64().map(Amount::Number))
        }
        // A value of `-D` or of the environment may be a number as a text.
        Value::String(text) => {
            let number = text.trim();
            let whole = number.parse().ok().map(Amount::Whole);
            let finite = || number.parse().ok().filter(|number: &f64| number.is_finite()).map(Amount::Number);
            // `64M` is a size; as a duration it would be 64 months. `2m` is two minutes.
            let span = || text.parse::<Span>().ok().filter(|_| !text.contains('M')).map(|span| Time(span.0));
            let size = || text.parse::<Size>().ok().map(|size| Bytes(size.0));
            whole.or_else(finite).or_else(span).or_else(size)
        }
        _ => None,
    }
}

impl Amount {
    /// The number; `None` for a duration or size.
    fn number(self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(number as f64),
            Self::Number(number) => Some(number),
            Time(_) | Bytes(_) => None,
        }
    }

    /// The same as a number if it is one.
    fn of_kind(self) -> Self {
        self.number().map_or(self, Self::Number)
    }

    /// The amount multiplied by a factor. A size is rounded to whole bytes.
    fn scaled(self, factor: f64) -> Option<Self> {
        match self {
            Self::Whole(_) | Self::Number(_) => Some(Self::Number(self.number()? * factor)),
            Time(span) => Duration::try_from_secs_f64(span.as_secs_f64() * factor).ok().map(Time),
            Bytes(bytes) => {
                let scaled = (bytes as f64 * factor).round();
                (0.0..9e15).contains(&scaled).then_some(Bytes(scaled as u64))
            }
        }
    }

    /// As a value of a file; `None` if it is not a number.
    fn value(self) -> Option<Value> {
        match self {
            Self::Whole(number) => Some(number.into()),
            Self::Number(number) => Number::from_f64(number).map(Value::Number),
            Time(span) => Some(Span(span).to_string().into()),
            Bytes(bytes) => serde_json::to_value(Size(bytes)).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Helper = fn(&[&Value]) -> Computed;

    fn of(helper: Helper, values: &Value) -> Computed {
        helper(&values.as_array().unwrap().iter().collect::<Vec<_>>())
    }

    #[test]
    fn whole_numbers_stay_whole_and_units_are_kept() {
        for (helper, values, result) in [
            (add as Helper, json!([1, 2, 3]), json!(6)),
            (add, json!(["2", 0.5]), json!(2.5)),
            (add, json!(["300ms", "1s"]), json!("1s 300ms")),
            (add, json!(["64M", "64M"]), json!("128M")),
            (sub, json!([1, 3]), json!(-2)),
            (sub, json!(["1G", "1K"]), json!("1048575K")),
            (mul, json!([2, 3, 4]), json!(24)),
            (mul, json!(["200ms", 3]), json!("600ms")),
            (mul, json!([3, "200ms"]), json!("600ms")),
            (mul, json!(["64M", 1.5]), json!("96M")),
            (div, json!([6, 3]), json!(2)),
            (div, json!([1, 4]), json!(0.25)),
            (div, json!(["2m", 4]), json!("30s")),
            (div, json!(["1G", "256M"]), json!(4.0)),
            (round, json!([2.5]), json!(3)),
            (round, json!([-2.4]), json!(-2)),
        ] {
            assert_eq!(of(helper, &values), Ok(result), "{values}");
        }
    }

    #[test]
    fn mixed_kinds_and_results_out_of_range_are_errors() {
        for (helper, values) in [
            (add as Helper, json!(["1s", "1M"])),
            (add, json!(["1s", 1])),
            (add, json!([i64::MAX, 1])),
            (add, json!([1, "x"])),
            (add, json!([1, null])),
            (add, json!([1, [2]])),
            (sub, json!(["1s", "2s"])),
            (sub, json!(["1M", "2M"])),
            (mul, json!(["1s", "2s"])),
            (mul, json!(["1s", -1])),
            (div, json!([1, 0])),
            (div, json!([1, 0.0])),
            (div, json!(["1s", "0s"])),
            (div, json!([1, "1s"])),
            (round, json!(["1s"])),
            (round, json!([1e300])),
        ] {
            let message = of(helper, &values).unwrap_err();
            assert!(message.starts_with("cannot compute `"), "{values}: {message}");
        }
    }
}
