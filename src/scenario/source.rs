//! From text to a tree in which every value and every key knows its place.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::reader;
use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

/// Larger files are refused.
const MAX_BYTES: u64 = 8 << 20;

/// A value with its place. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands; for a list or map of several lines the part on its first line.
    pub at: Location,
}

/// What a [`Node`] is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Null, a truth value, a number or a text.
    Scalar(Value),
    /// A list.
    Seq(Arc<Vec<Node>>),
    /// A map, in the order it was written.
    Map(Arc<Vec<(Key, Node)>>),
}

/// A map's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key. Numbers and truth values as keys stand for their text.
    pub name: String,
    /// Where it stands.
    pub at: Location,
}

impl Node {
    /// A map.
    #[must_use]
    pub fn map(entries: Vec<(Key, Self)>, at: Location) -> Self {
        Self { kind: Kind::Map(Arc::new(entries)), at }
    }

    /// A JSON value, all of it at one place.
    #[must_use]
    pub fn of_value(value: &Value, at: &Location) -> Self {
        let kind = match value {
            Value::Array(list) => Kind::Seq(Arc::new(list.iter().map(|v| Self::of_value(v, at)).collect())),
            Value::Object(map) => {
                let entry = |(name, value): (&String, &Value)| {
                    let key = Key { name: name.clone(), at: at.clone() };
                    (key, Self::of_value(value, at))
                };
                Kind::Map(Arc::new(map.iter().map(entry).collect()))
            }
            single => Kind::Scalar(single.clone()),
        };
        Self { kind, at: at.clone() }
    }

    /// The entries of a map; none where it is no map.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none where it is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    /// The value of a map's key, with the key.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(key, _)| key.name == name)
    }

    /// The value of a map's key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The text of a scalar that is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    /// What it is, in a word.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Scalar(Value::Null) => "nothing",
            Kind::Scalar(Value::String(_)) => "a text",
            Kind::Scalar(Value::Bool(_)) => "a truth value",
            Kind::Scalar(_) => "a number",
        }
    }
}

/// Reads a scenario file.
///
/// # Errors
/// One diagnostic where the file cannot be read or is no YAML; one for each key that a map has twice.
pub fn read(path: &Path) -> Result<Node, Vec<Diagnostic>> {
    let unreadable = |message: String| {
        let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
        vec![Diagnostic::error(Code::Unreadable, &Location::top_of(&file), message)]
    };
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable("there is no such file".to_owned()),
        _ => unreadable(format!("the file cannot be read: {error}")),
    })?;
    if meta.is_dir() {
        return Err(unreadable("it is a directory, not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    // A device or a pipe has no length that could be looked at beforehand.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(format!("the file cannot be read: {error}")))?;
    from_bytes(path, bytes)
}

/// Reads the bytes of a file that goes by the name of `path`.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Node, Vec<Diagnostic>> {
    let file = |text: String| Arc::new(SourceFile { path: path.to_owned(), text });
    let too_large = bytes.len() as u64 > MAX_BYTES;
    if too_large {
        let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        let place = Location::top_of(&file(String::new()));
        return Err(vec![Diagnostic::error(Code::Unreadable, &place, message)]);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let file = file(String::from_utf8_lossy(error.as_bytes()).into_owned());
            let place = Location::of(&file, at, at + 1);
            let message = "the file is not UTF-8 text";
            return Err(vec![Diagnostic::error(Code::Unreadable, &place, message)]);
        }
    };
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    parse(&file(text))
}

/// Reads a text.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    reader::document(file)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
