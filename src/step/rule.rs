//! Rules about which keys of a value may or must be combined. `check` and the JSON Schema use them.

use serde::Serialize;
use serde_json::Value;

use super::{Complaints, alternatives};

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
}

/// A message and its help.
pub(crate) type Words = (&'static str, &'static str);

impl Rule {
    /// The message for a key without one of its owners.
    pub(crate) fn needs_owner(key: &str, owners: &[&str]) -> String {
        let owners: Vec<String> = owners.iter().map(|owner| format!("`{owner}`")).collect();
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        format!("`{key}` needs {}", alternatives(&owners))
    }

    /// A key in a step of a kind that does not take it: the key, the message and the help.
    pub(super) fn misplaced(
        key: &'static str,
        owners: &[&str],
        kind: &str,
    ) -> (&'static str, String, String) {
        (key, Self::needs_owner(key, owners), format!("remove `{key}`; this step has `{kind}`"))
    }
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
        let is_given = |key: &str| !matches!(value.get(key), None | Some(Value::Null | Value::Bool(false)));
        let given = |keys: &[&'static str]| -> Vec<&'static str> {
            keys.iter().copied().filter(|key| is_given(key)).collect()
        };
        let mut missing = None;
        let before = self.0.len();
        let mut at = |key: &str, message: String, help: String| {
            self.add(&[path, &[key]].concat(), message, help);
        };
        for rule in rules {
            match rule {
                Rule::ExactlyOne { keys, none, .. } | Rule::AtLeastOne { keys, none }
                    if given(keys).is_empty() =>
                {
                    missing = missing.or(Some(*none));
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
                        let help =
                            format!("add {}, or remove `{key}`", if owners.len() > 1 { "one" } else { "it" });
                        at(key, Rule::needs_owner(key, owners), help);
                    }
                }
                Rule::Needs { key, any, none: (message, help) } => {
                    if is_given(key) && given(any).is_empty() {
                        at(key, (*message).to_owned(), (*help).to_owned());
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
            self.add(path, message, help);
        }
    }
}
