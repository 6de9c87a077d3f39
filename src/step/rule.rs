//! Rules about which keys of a value may or must be combined. `check` and the JSON Schema use them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::forms::{Form, companion, selecting};
use super::{About, Complaints, alternatives};

/// A rule about the keys of a value.
#[derive(Debug)]
pub(crate) enum Rule {
    /// The keys must be those of one of the forms.
    OneForm {
        /// The forms.
        forms: &'static [Form],
        /// The message and the help if there is none.
        none: Words,
        /// The help if there are two.
        both: &'static str,
    },
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

/// What is wrong with the keys that are given: the key at fault, or `None` if one is missing; the message; the help.
type Broken = (Option<&'static str>, String, String);

impl Rule {
    /// The message for a key without one of its owners.
    pub(crate) fn needs_owner(key: &str, owners: &[&str]) -> String {
        format!("`{key}` needs {}", quoted(owners))
    }

    /// The help for a rule that needs one of these keys.
    pub(crate) fn help((_, help): &Words, keys: &[&str]) -> String {
        if help.is_empty() { format!("add {}", quoted(keys)) } else { (*help).to_owned() }
    }

    fn broken(&self, rules: &[Self], given: &Given<'_>) -> Option<Broken> {
        let missing = |none: &Words, keys: &[&str]| Some((None, none.0.to_owned(), Self::help(none, keys)));
        let combined = |key: &'static str, other: &str, help: &str| {
            Some((Some(key), format!("`{key}` cannot be combined with `{other}`"), help.to_owned()))
        };
        match self {
            Self::OneForm { forms, none, both } => {
                let first = forms.iter().find(|form| given.has(form.key()));
                let other =
                    |form: &&Form| given.has(form.key()) && first.is_some_and(|first| !form.goes_with(first));
                let alone = |(_, owners): &(&'static str, Vec<&'static str>)| given.no(owners);
                let companions = given.keys().filter_map(|key| companion(forms, key));
                match (first, forms.iter().find(other), companions.into_iter().find(alone)) {
                    (Some(first), Some(second), _) => combined(second.key(), first.key(), both),
                    (first, _, Some((key, owners))) => {
                        Some(without_owner(key, &owners, first.map(Form::key)))
                    }
                    (None, ..) => missing(none, &selecting(forms)),
                    _ => None,
                }
            }
            Self::ExactlyOne { keys, none, .. } | Self::AtLeastOne { keys, none } if given.no(keys) => {
                missing(none, keys)
            }
            Self::ExactlyOne { keys, both, .. } | Self::AtMostOne { keys, both } => {
                let mut given = given.of(keys);
                let first = given.next()?;
                given.next().and_then(|second| combined(second, first, both))
            }
            Self::GoesWith { key, owners } if given.has(key) && given.no(owners) => {
                Some(without_owner(key, owners, in_place_of(owners[0], rules, given)))
            }
            Self::Needs { key, any, none } if given.has(key) && given.no(any) => {
                Some((Some(*key), none.0.to_owned(), Self::help(none, any)))
            }
            Self::Excludes { key, others, help } if given.has(key) => {
                given.of(others).next().and_then(|other| combined(other, key, help))
            }
            Self::Unless { key, others, none } if !given.has(key) && given.no(others) => {
                missing(none, &[key])
            }
            _ => None,
        }
    }
}

/// What is wrong with a key without one of its owners. If another key is in the owner's place, the key must go.
fn without_owner(key: &'static str, owners: &[&str], other: Option<&str>) -> Broken {
    let help = match other {
        Some(other) => format!("remove `{key}`; this step has `{other}`"),
        None => format!("add {}, or remove `{key}`", if owners.len() > 1 { "one" } else { "it" }),
    };
    (Some(key), Rule::needs_owner(key, owners), help)
}

/// The key that is given in place of an owner.
fn in_place_of(owner: &str, rules: &[Rule], given: &Given<'_>) -> Option<&'static str> {
    rules.iter().find_map(|rule| match rule {
        Rule::ExactlyOne { keys, .. } | Rule::AtLeastOne { keys, .. } if keys.contains(&owner) => {
            given.of(keys).next()
        }
        _ => None,
    })
}

/// The keys of a value that are given.
struct Given<'v>(&'v Value);

impl Given<'_> {
    fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.0.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        keys.filter(|key| self.has(key))
    }

    fn has(&self, key: &str) -> bool {
        !matches!(self.0.get(key), None | Some(Value::Null))
    }

    fn of(&self, keys: &[&'static str]) -> impl Iterator<Item = &'static str> {
        keys.iter().copied().filter(|key| self.has(key))
    }

    fn no(&self, keys: &[&'static str]) -> bool {
        self.of(keys).next().is_none()
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
        let given = Given(&value);
        let broken = rules.iter().filter_map(|rule| rule.broken(rules, &given));
        let (at_keys, missing): (Vec<_>, Vec<_>) = broken.partition(|(key, ..)| key.is_some());
        let missing = missing.into_iter().take(usize::from(at_keys.is_empty()));
        for (key, message, help) in at_keys.into_iter().chain(missing) {
            let path: Vec<&str> = path.iter().copied().chain(key).collect();
            self.add_about(About::Keys, &path, message, help);
        }
    }
}
