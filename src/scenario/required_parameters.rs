//! The migration parameters that a case requires.

use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::qemu::spec::Scalar;
use crate::units::{OneOrMany, has_schema};

/// Names of migration parameters, each with the values that it must allow; no values: any parameter of that name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequiredParameters(pub BTreeMap<String, Vec<String>>);

impl RequiredParameters {
    /// Whether none is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for RequiredParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.values().all(Vec::is_empty) {
            return serializer.collect_seq(self.0.keys());
        }
        serializer.collect_map(
            self.0.iter().map(|(name, words)| (name, (!words.is_empty()).then(|| OneOrMany(words.clone())))),
        )
    }
}

impl<'de> Deserialize<'de> for RequiredParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parameters;
        impl<'de> Visitor<'de> for Parameters {
            type Value = RequiredParameters;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name, a list of names, or a map from names to values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RequiredParameters([(text.to_owned(), Vec::new())].into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                let names = Vec::<String>::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(RequiredParameters(names.into_iter().map(|name| (name, Vec::new())).collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let words = BTreeMap::<String, Words>::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RequiredParameters(words.into_iter().map(|(name, words)| (name, words.0)).collect()))
            }
        }
        deserializer.deserialize_any(Parameters)
    }
}

/// A value, or a list of them, or null.
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;
        let scalar = |value: Value| {
            serde_json::from_value::<Scalar>(value).map(|scalar| scalar.0).map_err(de::Error::custom)
        };
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::Array(list) => list.into_iter().map(scalar).collect::<Result<_, _>>()?,
            one => vec![scalar(one)?],
        }))
    }
}

has_schema!(RequiredParameters, {"anyOf": [
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    {"type": "object", "additionalProperties": {"anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
    ]}},
]});

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn parameters_are_names_or_names_with_values() {
        let read = |value: Value| serde_json::from_value::<RequiredParameters>(value).unwrap();
        assert_eq!(read(json!("direct-io")), read(json!(["direct-io"])));
        let required =
            read(json!({"multifd-compression": ["zlib", "zstd"], "direct-io": true, "mode": null}));
        assert_eq!(required.0["multifd-compression"], ["zlib", "zstd"]);
        assert_eq!(
            (required.0["direct-io"].as_slice(), required.0["mode"].len()),
            (&["on".to_owned()][..], 0)
        );
        let again = serde_json::to_value(&required).unwrap();
        assert_eq!(read(again), required);
        assert!(serde_json::from_value::<RequiredParameters>(json!({"mode": {}})).is_err());
    }
}
