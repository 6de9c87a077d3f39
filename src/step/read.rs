//! Reads the value of an action, and reports where it does not fit.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// A value that does not match its type: its path of keys, and the message, with the help after a `;`.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub path: Vec<String>,
    pub message: String,
    /// Whether it breaks one of the rules about keys; otherwise the message is serde's.
    pub is_rule: bool,
}

impl Misfit {
    pub(crate) fn new(path: Vec<String>, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), is_rule: false }
    }

    /// The same for the value with this key.
    pub(crate) fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// The names between backticks in the message.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.message.split('`').skip(1).step_by(2).collect()
    }

    /// The unknown key.
    pub(crate) fn unknown_key(&self) -> Option<&str> {
        self.names().first().copied().filter(|_| self.message.starts_with("unknown field"))
    }
}

/// Deserializes a value.
pub(crate) fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| Misfit::new(keys(error.path()), error.inner().to_string()))
}

fn keys(path: &Path) -> Vec<String> {
    let keys = path.iter().map_while(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    });
    keys.collect()
}

/// A type that can be read. Most are deserialized; those with several forms are in [`forms`](super::forms).
pub(crate) trait Read: Sized {
    fn read(value: &Value) -> Result<Self, Misfit>;
}

impl<T: DeserializeOwned> Read for T {
    fn read(value: &Value) -> Result<Self, Misfit> {
        fit(value)
    }
}
