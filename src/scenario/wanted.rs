//! The migration parameters that a case needs.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::qemu::spec::Scalar;
use crate::units::OneOrMany;

/// Names of migration parameters, and the words that must be among the values of each; no words: any will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedParameters(pub BTreeMap<String, Vec<String>>);

impl WantedParameters {
    /// Whether none is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for WantedParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.values().all(Vec::is_empty) {
            return serializer.collect_seq(self.0.keys());
        }
        serializer.collect_map(
            self.0.iter().map(|(name, words)| (name, (!words.is_empty()).then(|| OneOrMany(words.clone())))),
        )
    }
}

impl<'de> Deserialize<'de> for WantedParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl<'de> Visitor<'de> for Wanted {
            type Value = WantedParameters;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name, a list of names, or a map from names to values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(WantedParameters([(text.to_owned(), Vec::new())].into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut wanted = BTreeMap::new();
                while let Some(name) = list.next_element::<String>()? {
                    wanted.insert(name, Vec::new());
                }
                Ok(WantedParameters(wanted))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut wanted = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Words>()? {
                    wanted.insert(name, value.0);
                }
                Ok(WantedParameters(wanted))
            }
        }
        deserializer.deserialize_any(Wanted)
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

impl JsonSchema for WantedParameters {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WantedParameters".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "object", "additionalProperties": {"anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
            ]}},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn parameters_are_names_or_names_with_values() {
        let read = |value: Value| serde_json::from_value::<WantedParameters>(value).unwrap();
        assert_eq!(read(json!("direct-io")), read(json!(["direct-io"])));
        let wanted = read(json!({"multifd-compression": ["zlib", "zstd"], "direct-io": true, "mode": null}));
        assert_eq!(wanted.0["multifd-compression"], ["zlib", "zstd"]);
        assert_eq!((wanted.0["direct-io"].as_slice(), wanted.0["mode"].len()), (&["on".to_owned()][..], 0));
        let again = serde_json::to_value(&wanted).unwrap();
        assert_eq!(read(again), wanted);
        assert!(serde_json::from_value::<WantedParameters>(json!({"mode": {}})).is_err());
    }
}
