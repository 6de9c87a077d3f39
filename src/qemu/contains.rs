//! The meaning of "contains": whether a reply or an event has the expected content.

use regex::Regex;
use serde_json::{Map, Value};

/// The keys of a condition on a value.
const CONDITIONS: [&str; 3] = ["matches", "above", "below"];

/// Whether a reply contains what is expected: every key of a map; for every entry of a list, some matching entry;
/// anything else must be equal, integers and fractions alike.
///
/// A map with only `matches`, `above` and `below` is a condition on a single value: a text that matches a regular
/// expression, or a number strictly within bounds.
#[must_use]
pub fn contains(reply: &Value, expected: &Value) -> bool {
    match (reply, expected) {
        (Value::Object(reply), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| reply.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(reply), Value::Array(expected)) => {
            expected.iter().all(|value| reply.iter().any(|found| contains(found, value)))
        }
        (Value::Number(reply), Value::Number(expected)) => {
            reply == expected || reply.as_f64() == expected.as_f64()
        }
        (reply, Value::Object(condition)) if is_condition(condition) => {
            condition.iter().all(|(key, value)| holds(reply, key, value))
        }
        (reply, expected) => reply == expected,
    }
}

/// Whether a map is a condition on a single value.
#[must_use]
pub fn is_condition(map: &Map<String, Value>) -> bool {
    !map.is_empty() && map.keys().all(|key| CONDITIONS.contains(&key.as_str()))
}

fn holds(reply: &Value, key: &str, value: &Value) -> bool {
    match (key, reply, value) {
        ("matches", Value::String(text), Value::String(expression)) => {
            Regex::new(expression).is_ok_and(|regex| regex.is_match(text))
        }
        ("above", Value::Number(number), Value::Number(bound)) => number.as_f64() > bound.as_f64(),
        ("below", Value::Number(number), Value::Number(bound)) => number.as_f64() < bound.as_f64(),
        _ => false,
    }
}

/// What a reply has instead of what is expected, key by key: `ram.transferred: 8654887, expected below 1000`.
#[must_use]
pub fn differences(reply: &Value, expected: &Value) -> String {
    fn look(path: &str, reply: Option<&Value>, expected: &Value, found: &mut Vec<String>) {
        match (reply, expected) {
            (Some(reply), expected) if contains(reply, expected) => {}
            (Some(reply @ Value::Object(_)), Value::Object(map)) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    look(&path, reply.get(key), value, found);
                }
            }
            (Some(Value::Array(items)), Value::Array(list)) => {
                let is_there = |value: &&Value| items.iter().any(|item| contains(item, value));
                let missing = list.iter().filter(|value| !is_there(value)).map(wanted).collect::<Vec<_>>();
                let items = Value::Array(items.clone());
                found.push(line(path, &format!("no item is {} in {}", missing.join(" or "), brief(&items))));
            }
            (reply, expected) => {
                let reply = reply.map_or_else(|| "missing".to_owned(), brief);
                found.push(line(path, &format!("{reply}, expected {}", wanted(expected))));
            }
        }
    }
    let mut found = Vec::new();
    look("", Some(reply), expected, &mut found);
    found.join("; ")
}

/// The values in a reply for which there are conditions, key by key: `ram.transferred: 8654887`.
#[must_use]
pub fn values(reply: &Value, expected: &Value) -> String {
    fn look(path: &str, reply: &Value, expected: &Value, found: &mut Vec<String>) {
        match (reply, expected) {
            (Value::Object(reply), Value::Object(map)) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    reply.get(key).into_iter().for_each(|reply| look(&path, reply, value, found));
                }
            }
            (Value::Array(items), Value::Array(list)) => list.iter().for_each(|value| {
                let item = items.iter().find(|item| contains(item, value));
                item.into_iter().for_each(|item| look(path, item, value, found));
            }),
            (reply, Value::Object(_)) => found.push(line(path, &brief(reply))),
            _ => {}
        }
    }
    let mut found = Vec::new();
    look("", reply, expected, &mut found);
    found.join("; ")
}

fn line(path: &str, text: &str) -> String {
    if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") }
}

/// An expected value in words.
fn wanted(expected: &Value) -> String {
    let Value::Object(condition) = expected else { return brief(expected) };
    if !is_condition(condition) {
        return brief(expected);
    }
    let words = condition.iter().map(|(key, value)| match value {
        Value::String(expression) if key == "matches" => format!("a match of /{expression}/"),
        bound => format!("{key} {bound}"),
    });
    words.collect::<Vec<_>>().join(" and ")
}

/// A value as JSON, cut after some words.
fn brief(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string();
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("…".chars()).collect() }
}

/// The errors in the conditions of an expected value, each with its path.
#[must_use]
pub fn faults(expected: &Value) -> Vec<(Vec<String>, Fault)> {
    fn look(value: &Value, path: &mut Vec<String>, faults: &mut Vec<(Vec<String>, Fault)>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    path.push(key.clone());
                    match (key.as_str(), inner) {
                        _ if !is_condition(map) => look(inner, path, faults),
                        ("matches", Value::String(expression)) => {
                            if Regex::new(expression).is_err() {
                                faults.push((path.clone(), Fault::Expression(expression.clone())));
                            }
                        }
                        ("matches", _) => {
                            let message = "`matches` takes a regular expression, a text".to_owned();
                            faults.push((path.clone(), Fault::Value(message)));
                        }
                        // A template is a text until the run.
                        (_, Value::Number(_)) => {}
                        (_, Value::String(text)) if text.contains("{{") => {}
                        (key, _) => {
                            let message = format!("`{key}` takes a number");
                            faults.push((path.clone(), Fault::Value(message)));
                        }
                    }
                    path.pop();
                }
            }
            Value::Array(list) => list.iter().for_each(|inner| look(inner, path, faults)),
            _ => {}
        }
    }
    let mut faults = Vec::new();
    look(expected, &mut Vec::new(), &mut faults);
    faults
}

/// An error in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This is not a valid regular expression.
    Expression(String),
    /// The value has the wrong type; this says which is expected.
    Value(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_the_key_the_value_and_what_was_expected() {
        let reply = json!({
            "status": "active", "total-time": 7, "ram": {"transferred": 8_654_887, "pages": 1},
            "list": [{"type": "chardev"}],
        });
        for (expected, difference) in [
            (
                json!({"ram": {"transferred": {"below": 1000}, "pages": 1}}),
                "ram.transferred: 8654887, expected below 1000",
            ),
            (
                json!({"status": "colo", "ram": {"x": {"above": 1, "below": 3}}}),
                r#"status: "active", expected "colo"; ram.x: missing, expected above 1 and below 3"#,
            ),
            (json!({"status": {"matches": "^c"}}), r#"status: "active", expected a match of /^c/"#),
            (
                json!({"list": [{"type": "migration"}]}),
                r#"list: no item is {"type":"migration"} in [{"type":"chardev"}]"#,
            ),
            (json!({"total-time": {"seconds": 7}}), r#"total-time: 7, expected {"seconds":7}"#),
            (json!({"status": "active"}), ""),
            (
                json!(3),
                r#"{"status":"active","total-time":7,"ram":{"transferred":8654887,"pages":1},"list":[{"type":"chardev"}]}, expected 3"#,
            ),
        ] {
            assert_eq!(differences(&reply, &expected), difference);
        }
        assert_eq!(
            differences(&json!("x".repeat(200)), &json!(1)),
            format!("\"{}…, expected 1", "x".repeat(119))
        );
    }

    #[test]
    fn the_values_that_meet_conditions_are_shown() {
        let reply = json!({"status": "active", "ram": {"pages": 7}, "list": [{"a": 1}, {"a": 5, "b": 1}]});
        let expected =
            json!({"status": "active", "ram": {"pages": {"above": 3}}, "list": [{"a": {"above": 2}}]});
        assert_eq!(values(&reply, &expected), "ram.pages: 7; list.a: 5");
        assert_eq!(values(&reply, &json!({"status": "active"})), "");
    }

    #[test]
    fn a_reply_may_contain_more_than_the_pattern() {
        let reply =
            json!({"status": "colo", "ram": {"mapped": 1, "x": 2}, "list": [{"a": 1, "b": 2}, {"a": 3}]});
        assert!(contains(&reply, &json!({"status": "colo", "ram": {"mapped": 1.0}})));
        assert!(contains(&reply, &json!({"list": [{"a": 3}, {"b": 2}]})));
        assert!(!contains(&reply, &json!({"list": [{"a": 4}]})));
        assert!(!contains(&reply, &json!({"missing": null})));
        assert!(!contains(&json!([]), &json!([{"type": "migration"}])));
    }

    #[test]
    fn a_condition_matches_values_within_its_bounds() {
        let reply =
            json!({"status": "failed", "error-desc": "TLS handshake failed: -5", "ram": {"bytes": 7}});
        for (expected, met) in [
            (json!({"error-desc": {"matches": "^TLS .* failed"}}), true),
            (json!({"error-desc": {"matches": "authz"}}), false),
            (json!({"ram": {"bytes": {"above": 6}}}), true),
            (json!({"ram": {"bytes": {"above": 7}}}), false),
            (json!({"ram": {"bytes": {"above": 6, "below": 7.5}}}), true),
            (json!({"ram": {"bytes": {"above": 6, "below": 7}}}), false),
            (json!({"ram": {"bytes": {"matches": "7"}}}), false),
            (json!({"missing": {"below": 7}}), false),
        ] {
            assert_eq!(contains(&reply, &expected), met, "{expected}");
        }
        // A reply that has such a key itself is looked into.
        assert!(contains(&json!({"above": 3}), &json!({"above": 3})));
        assert!(!contains(&json!({"above": 3}), &json!({"above": 2})));
    }

    #[test]
    fn a_condition_that_no_value_can_match_is_an_error() {
        assert!(faults(&json!({"a": [{"b": {"matches": "x+", "above": 3}}]})).is_empty());
        let found = faults(&json!({"a": {"matches": "(", "below": "much"}, "b": {"above": "{{x}}"}}));
        let path = |key: &str| vec!["a".to_owned(), key.to_owned()];
        let wrong = "`below` takes a number".to_owned();
        assert_eq!(
            found,
            [(path("matches"), Fault::Expression("(".to_owned())), (path("below"), Fault::Value(wrong))]
        );
    }
}
