//! What is wrong with a value that does not match its type.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};
use serde_json::Value;

use super::alternatives;

/// A value that does not match its type.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wrong {
    /// It is of another kind, or out of range. A list or map may lack its content.
    Kind {
        /// The value.
        given: Value,
        /// What it should be.
        expected: String,
    },
    /// It has an unknown key.
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that it may have.
        known: Vec<String>,
    },
    /// It is none of the known words.
    UnknownWord {
        /// The word.
        word: String,
        /// The known words.
        known: Vec<String>,
    },
    /// It lacks this key.
    MissingKey(String),
    /// Its keys break a rule: the message and the help.
    Rule(String, String),
    /// It is an empty map. The message has the help after `; `.
    Empty(String),
    /// Another message, with the help after `; `.
    Other(String),
}

impl Misfit {
    pub(crate) const fn new(path: Vec<String>, wrong: Wrong) -> Self {
        Self { path, wrong }
    }

    /// The same for the value with this key.
    pub(crate) fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// The unknown key.
    pub(crate) fn unknown_key(&self) -> Option<&str> {
        match &self.wrong {
            Wrong::UnknownKey { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The keys that lead to it, and its unknown key.
    pub(crate) fn full_path(&self) -> Vec<&str> {
        let unknown = self.unknown_key().filter(|key| self.path.last().is_none_or(|last| last != key));
        self.path.iter().map(String::as_str).chain(unknown).collect()
    }

    /// Whether the keys break a rule.
    pub(crate) const fn is_rule(&self) -> bool {
        matches!(self.wrong, Wrong::Rule(..))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        self.wrong.fmt(f)
    }
}

impl Wrong {
    /// What was expected, in the words of the language.
    pub(crate) fn kind(expected: &str) -> &str {
        match expected {
            "a string" | "a borrowed string" => "a text",
            "a boolean" => "`true` or `false`",
            "a sequence" => "a list",
            "u8" => "a whole number from 0 to 255",
            "u64" | "u32" | "u16" | "usize" => "a whole number of at least 0",
            "a nonzero u64" => "a whole number of at least 1",
            "i64" | "i32" => "a whole number",
            "f64" => "a number",
            other if other.starts_with("struct ") || other == "map" => "a map",
            other => other,
        }
    }

    /// What was given, in the words of the language.
    pub(crate) fn given(value: &Value) -> String {
        match value {
            Value::Null => "nothing".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a map".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        }
    }

    /// What a type expects and what it was given.
    fn of(given: &Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = match *given {
            Unexpected::Bool(value) => value.into(),
            Unexpected::Unsigned(value) => value.into(),
            Unexpected::Signed(value) => value.into(),
            Unexpected::Float(value) => value.into(),
            Unexpected::Str(text) => text.into(),
            Unexpected::Unit | Unexpected::Option => Value::Null,
            Unexpected::Seq => Value::Array(Vec::new()),
            Unexpected::Map => Value::Object(serde_json::Map::new()),
            ref other => other.to_string().into(),
        };
        Self::Kind { given, expected: expected.to_string() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { given, expected } => {
                write!(f, "expected {}, not {}", Self::kind(expected), Self::given(given))
            }
            Self::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            Self::UnknownWord { word, known } => {
                let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                write!(f, "expected {}, not `{word}`", alternatives(&known))
            }
            Self::MissingKey(key) => write!(f, "the key `{key}` is missing"),
            Self::Rule(message, help) if help.is_empty() => f.write_str(message),
            Self::Rule(message, help) => write!(f, "{message}; {help}"),
            Self::Empty(message) | Self::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(&given, expected)
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(&given, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownWord { word: word.to_owned(), known: owned(known) }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), known: owned(known) }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key.to_owned())
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
