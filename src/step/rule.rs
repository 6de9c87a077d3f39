//! Rules about which keys of a value may or must be combined. `check` and the JSON Schema use them.

use serde::Serialize;
use serde_json::Value;

use super::{About, Complaints, alternatives};

/// A rule about the keys of a value.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Exactly one of the keys must be given.
    ExactlyOne {
        /// The keys.
        keys: &'static [&'static str],
        /// The message and the help if none is given.
        none: Words,
        /// The help if two are given.
        both: &'static str,
    },
    /// At least one of the keys must be given.
    AtLeastOne {
        /// The keys.
        keys: &'static [&'static str],
        /// The message and the help if none is given.
        none: Words,
    },
    /// At most one of the keys may be given.
    AtMostOne {
        /// The keys.
        keys: &'static [&'static str],
        /// The help if two are given.
        both: &'static str,
    },
    /// The key is allowed only together with one of its owners.
    GoesWith {
        /// The key.
        key: &'static str,
        /// Its owners.
        owners: &'static [&'static str],
    },
    /// If the key is given, at least one of the others must be given.
    Needs {
        /// The key.
        key: &'static str,
        /// The others.
        any: &'static [&'static str],
        /// The message and the help if none of the others is given.
        none: Words,
    },
    /// If the key is given, none of the others may be given.
    Excludes {
        /// The key.
        key: &'static str,
        /// The others.
        others: &'static [&'static str],
        /// The help if one of the others is given.
        help: &'static str,
    },
    /// The key must be given unless one of the others is.
    Unless {
        /// The key.
        key: &'static str,
        /// The others.
        others: &'static [&'static str],
        /// The message and the help if none of them is given.
        none: Words,
    },
}

/// A message and its help. An empty help lists the keys to add.
pub(crate) type Words = (&'static str, &'static str);

impl Rule {
    /// The message for a key without one of its owners.
    pub(crate) fn needs_owner(key: &str, owners: &[&str]) -> String {
        format!("`{key}` needs {}", quoted(owners))
    }

    /// The help for a rule that needs one of these keys.
    pub(crate) fn help((_, help): &Words, keys: &[&str]) -> String {
        if help.is_empty() { format!("add {}", quoted(keys)) } else { (*help).to_owned() }
    }
}

/// Keys in backticks: `a`, `b` or `c`.
fn quoted(keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    alternatives(&keys.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Complaints {
    /// Complains about each rule that the keys of a value break. A missing key is only reported if nothing else is wrong.
    pub(super) fn rules(&mut self, rules: &[Rule], value: &impl Serialize) {
        self.rules_at(&[], rules, value);
    }

    /// The same for the value at this path.
    pub(super) fn rules_at(&mut self, path: &[&str], rules: &[Rule], value: &impl Serialize) {
        if rules.is_empty() {
            return;
        }
        let value = serde_json::to_value(value).unwrap_or_default();
        let is_given = |key: &str| !matches!(value.get(key), None | Some(Value::Null));
        let given = |keys: &[&'static str]| -> Vec<&'static str> {
            keys.iter().copied().filter(|key| is_given(key)).collect()
        };
        let mut missing = None;
        let before = self.0.len();
        let mut at = |key: &str, message: String, help: String| {
            self.add_about(About::Keys, &[path, &[key]].concat(), message, help);
        };
        for rule in rules {
            match rule {
                Rule::ExactlyOne { keys, none, .. } | Rule::AtLeastOne { keys, none }
                    if given(keys).is_empty() =>
                {
                    missing = missing.or_else(|| Some((none.0, Rule::help(none, keys))));
                }
                Rule::ExactlyOne { keys, both, .. } | Rule::AtMostOne { keys, both } => {
                    if let [first, second, ..] = given(keys)[..] {
                        at(
                            second,
                            format!("`{second}` cannot be combined with `{first}`"),
                            (*both).to_owned(),
                        );
                    }
                }
                Rule::AtLeastOne { .. } => {}
                Rule::GoesWith { key, owners } => {
                    if is_given(key) && given(owners).is_empty() {
                        // What stands in the place of an owner.
                        let other = rules.iter().find_map(|rule| match rule {
                            Rule::ExactlyOne { keys, .. } | Rule::AtLeastOne { keys, .. } => {
                                given(keys).first().copied().filter(|_| keys.contains(&owners[0]))
                            }
                            _ => None,
                        });
                        let it = if owners.len() > 1 { "one" } else { "it" };
                        let help = other.map_or_else(
                            || format!("add {it}, or remove `{key}`"),
                            |other| format!("remove `{key}`; this step has `{other}`"),
                        );
                        at(key, Rule::needs_owner(key, owners), help);
                    }
                }
                Rule::Needs { key, any, none } => {
                    if is_given(key) && given(any).is_empty() {
                        at(key, none.0.to_owned(), Rule::help(none, any));
                    }
                }
                Rule::Unless { key, others, none } => {
                    if !is_given(key) && given(others).is_empty() {
                        missing = missing.or_else(|| Some((none.0, Rule::help(none, &[key]))));
                    }
                }
                Rule::Excludes { key, others, help } => {
                    if let Some(other) = given(others).first().filter(|_| is_given(key)) {
                        at(other, format!("`{other}` cannot be combined with `{key}`"), (*help).to_owned());
                    }
                }
            }
        }
        if let Some((message, help)) = missing.filter(|_| self.0.len() == before) {
            self.add_about(About::Keys, path, message, help);
        }
    }
}
