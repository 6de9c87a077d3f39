//! The types of plain scalars: the core schema of YAML 1.2.

use serde_json::{Number, Value};

/// The value of a plain scalar's text: null, a boolean, a number, else the text itself.
///
/// As in YAML 1.2, `yes`, `on` and so on are text. A number that JSON cannot represent (`.inf`, `.nan`, an integer of more
/// than 64 bits) stays text.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let valid = digits.chars().all(|digit| digit.is_digit(radix));
            return u64::from_str_radix(digits, radix).ok().filter(|_| valid).map(Number::from);
        }
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let positive = text.strip_prefix('+').unwrap_or(text);
        let small = positive.parse::<i64>().ok().map(Number::from);
        return small.or_else(|| positive.parse::<u64>().ok().map(Number::from));
    }
    // Rust's grammar of floating-point numbers, without `inf`, `nan` and `infinity`.
    let shaped = unsigned.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    text.parse().ok().filter(|_| shaped).and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("300", json!(300)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "yes",
            "on",
            "1.2.3",
            "150M",
            "300ms",
            ".",
            "-",
            "+",
            "1e",
            "0x",
            "0xg",
            "0x+1",
            ".inf",
            "nan",
            "99999999999999999999",
            "1_000",
            "q35",
            "::",
            "12:30",
        ] {
            assert_eq!(plain(text), json!(text), "{text}");
        }
    }
}
