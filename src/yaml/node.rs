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
    pub(crate) fn map(entries: Vec<(Key, Self)>, at: Location) -> Self {
        Self { kind: Kind::Map(Arc::new(entries)), at }
    }

    /// A list.
    pub(crate) fn seq(items: Vec<Self>, at: Location) -> Self {
        Self { kind: Kind::Seq(Arc::new(items)), at }
    }

    /// A JSON value, with the same place for all its parts.
    pub(crate) fn of_value(value: &Value, at: &Location) -> Self {
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
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Seq(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.name.clone(), value.to_value())).collect(),
            ),
        }
    }

    /// The entries of a map; empty for other kinds.
    pub(crate) fn entries(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for other kinds.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    /// The value of a key that may be left out, as a map.
    pub(crate) fn or_empty(&self, key: &Key) -> Self {
        if self.is_null() { Self::map(Vec::new(), key.at.clone()) } else { self.clone() }
    }

    /// The items of a list; any other value is one item.
    pub(crate) fn several(&self) -> &[Self] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The value of a map's key, with the key.
    pub(crate) fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(key, _)| key.name == name)
    }

    /// The value of a map's key.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The entries of the map that a map has under a key; empty if there is none.
    pub(crate) fn section(&self, name: &str) -> &[(Key, Self)] {
        self.get(name).map(Self::entries).unwrap_or_default()
    }

    /// The place of the value of a map's key, or its own if it does not have the key.
    pub(crate) fn place_of(&self, name: &str) -> &Location {
        self.get(name).map_or(&self.at, |value| &value.at)
    }

    /// The value under a key of a map with the key's place, or the item with this number of a list.
    pub(crate) fn child(&self, step: &str) -> Option<(&Location, &Self)> {
        match &self.kind {
            Kind::Map(_) => self.entry(step).map(|(key, value)| (&key.at, value)),
            Kind::Seq(items) => items.get(step.parse::<usize>().ok()?).map(|item| (&item.at, item)),
            Kind::Scalar(_) => None,
        }
    }

    /// A map without some of its keys; other kinds unchanged.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        let Kind::Map(entries) = &self.kind else {
            return self.clone();
        };
        let rest = entries.iter().filter(|(key, _)| !keys.contains(&key.name.as_str()));
        Self::map(rest.cloned().collect(), self.at.clone())
    }

    /// The same with each text in it changed. Keys stay as they are.
    pub(crate) fn map_texts(&self, change: &impl Fn(&str) -> String) -> Self {
        let kind = match &self.kind {
            Kind::Scalar(Value::String(text)) => Kind::Scalar(Value::String(change(text))),
            Kind::Scalar(_) => return self.clone(),
            Kind::Seq(items) => {
                Kind::Seq(Arc::new(items.iter().map(|item| item.map_texts(change)).collect()))
            }
            Kind::Map(entries) => {
                let entry = |(key, value): &(Key, Self)| (key.clone(), value.map_texts(change));
                Kind::Map(Arc::new(entries.iter().map(entry).collect()))
            }
        };
        Self { kind, at: self.at.clone() }
    }

    /// Whether it is a map.
    pub(crate) const fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// The text, if it is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Visits the value and all values in it, each with its key if it is in a map; `key` is its own.
    pub(crate) fn walk<'n>(
        &'n self,
        key: Option<&'n Key>,
        visit: &mut impl FnMut(Option<&'n Key>, &'n Self),
    ) {
        visit(key, self);
        self.items().iter().for_each(|item| item.walk(None, visit));
        self.entries().iter().for_each(|(key, value)| value.walk(Some(key), visit));
    }

    /// Whether one of the texts in it meets a condition. Keys do not count.
    pub(crate) fn any_text(&self, condition: impl Fn(&str) -> bool) -> bool {
        let mut found = false;
        self.walk(None, &mut |_, node| found = found || node.text().is_some_and(&condition));
        found
    }

    /// Whether it is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    /// Its kind, for messages.
    pub(crate) fn what(&self) -> &'static str {
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
