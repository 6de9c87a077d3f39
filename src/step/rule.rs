//! Which keys of a value go together: stated once, beside the value's type. `check` and the JSON Schema read it.

use serde::Serialize;
use serde_json::Value;

use super::{Complaints, alternatives};

/// A rule about the keys of a value.
#[derive(Debug)]
pub(crate) enum Rule {
    /// One of the keys must be there, and no second one.
    ExactlyOne {
        /// The keys.
        keys: &'static [&'static str],
        /// What is wrong, and what would be right, where none is there.
        none: Words,
        /// What would be right where two are there.
        both: &'static str,
    },
    /// One of the keys or more must be there.
    AtLeastOne {
        /// The keys.
        keys: &'static [&'static str],
        /// What is wrong, and what would be right, where none is there.
        none: Words,
    },
    /// No two of the keys may be there.
    AtMostOne {
        /// The keys.
        keys: &'static [&'static str],
        /// What would be right where two are there.
        both: &'static str,
    },
    /// The key is allowed only where one of its owners is there.
    GoesWith {
        /// The key.
        key: &'static str,
        /// Its owners.
        owners: &'static [&'static str],
    },
    /// Where the key is there, one of the others must be there as well.
    Needs {
        /// The key.
        key: &'static str,
        /// The others.
        any: &'static [&'static str],
        /// What is wrong, and what would be right, where none of them is there.
        none: Words,
    },
    /// Where the key is there, the others must not be there.
    Excludes {
        /// The key.
        key: &'static str,
        /// The others.
        others: &'static [&'static str],
        /// What would be right where one of them is there.
        help: &'static str,
    },
}

/// What is wrong, and what would be right.
pub(crate) type Words = (&'static str, &'static str);

impl Rule {
    /// What would be right where a key is there without one of its owners.
    pub(crate) fn needs_owner(key: &str, owners: &[&str]) -> String {
        let owners: Vec<String> = owners.iter().map(|owner| format!("`{owner}`")).collect();
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        format!("`{key}` needs {}", alternatives(&owners))
    }
}

impl Complaints {
    /// Complains of each rule that the keys of a value break. That nothing of several keys is there is left out where there
    /// is more to say.
    pub(super) fn rules(&mut self, rules: &[Rule], value: &impl Serialize) {
        self.rules_at(&[], rules, value);
    }

    /// The same, for a value that these keys lead to.
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
