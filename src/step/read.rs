//! Reads a value into its type, and reports where it does not match.

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::misfit::{Misfit, Wrong};

/// Deserializes a value.
pub(crate) fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(Tree(value)).map_err(|error| {
        let path = keys(error.path());
        Misfit::new(path, error.into_inner())
    })
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

/// A JSON value, whose deserializer has our own error: serde_json's would be a text.
struct Tree<'v>(&'v Value);

impl<'v> Tree<'v> {
    fn entries(
        map: &'v Map<String, Value>,
    ) -> MapDeserializer<'v, impl Iterator<Item = (&'v str, Self)>, Wrong> {
        MapDeserializer::new(map.iter().map(|(key, value)| (key.as_str(), Self(value))))
    }
}

impl<'v> IntoDeserializer<'v, Wrong> for Tree<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Tree));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(map) => {
                let mut entries = Self::entries(map);
                let value = visitor.visit_map(&mut entries).map_err(|wrong| match wrong {
                    Wrong::Other(message) if map.is_empty() => Wrong::Empty(message),
                    wrong => wrong,
                })?;
                entries.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            Value::Object(map) if map.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Self::entries(map)))
            }
            other => {
                let expected = if other.is_object() { "a map with one key" } else { "a word" };
                Err(Wrong::Kind { given: other.clone(), expected: expected.to_owned() })
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}
