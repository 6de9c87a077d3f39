//! The tree of a scenario file: values and keys with their places.

use std::sync::Arc;

use serde_json::Value;

use crate::diagnostic::Location;

/// A value with its place. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its place; for a list or map of several lines, the part on the first line.
    pub at: Location,
}

/// The kind of a [`Node`].
#[derive(Debug, Clone)]
pub enum Kind {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    /// A list.
    Seq(Arc<Vec<Node>>),
    /// A map, in file order.
    Map(Arc<Vec<(Key, Node)>>),
}

/// A map's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key. A number or boolean as a key is read as text.
    pub name: String,
    /// Its place.
    pub at: Location,
}

impl Node {
    /// A map.
    #[must_use]
    pub fn map(entries: Vec<(Key, Self)>, at: Location) -> Self {
        Self { kind: Kind::Map(Arc::new(entries)), at }
    }

    /// A JSON value, with the same place for all its parts.
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

    /// The value without its places.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Seq(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.name.clone(), value.to_value())).collect(),
            ),
        }
    }

    /// The entries of a map; empty for other kinds.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for other kinds.
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

    /// The text, if it is a text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether one of the texts in it meets a condition. Keys do not count.
    pub(crate) fn any_text(&self, condition: impl Fn(&str) -> bool + Copy) -> bool {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => condition(text),
            Kind::Scalar(_) => false,
            Kind::Seq(items) => items.iter().any(|item| item.any_text(condition)),
            Kind::Map(entries) => entries.iter().any(|(_, value)| value.any_text(condition)),
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    /// Its kind, for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Scalar(Value::Null) => "nothing",
            Kind::Scalar(Value::String(_)) => "a text",
            Kind::Scalar(Value::Bool(_)) => "a boolean",
            Kind::Scalar(_) => "a number",
        }
    }
}
