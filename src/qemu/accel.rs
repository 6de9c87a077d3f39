//! Accelerators and their properties.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::scalar::Scalar;

/// An accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The host's virtualisation, `/dev/kvm`.
    Kvm,
    /// Emulation; works everywhere.
    Tcg,
}

impl Accel {
    /// The name as `-accel` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl std::str::FromStr for Accel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            other => Err(format!("`{other}` is not an accelerator; use `kvm` or `tcg`")),
        }
    }
}

/// The accelerators that a VM may use, in the order of preference, with the properties of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerators(pub Vec<(Accel, Properties)>);

/// The properties for `-accel`.
pub(super) type Properties = BTreeMap<String, Scalar>;

impl Default for Accelerators {
    fn default() -> Self {
        Self(vec![(Accel::Kvm, Properties::new()), (Accel::Tcg, Properties::new())])
    }
}

impl Accelerators {
    /// Their names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<Accel> {
        self.0.iter().map(|(accel, _)| *accel).collect()
    }

    /// An accelerator as an `-accel` argument.
    #[must_use]
    pub fn option(&self, accel: Accel) -> String {
        let own = self.0.iter().find(|(known, _)| *known == accel);
        let properties = own.iter().flat_map(|(_, properties)| properties);
        properties.fold(accel.name().to_owned(), |text, (name, value)| {
            format!("{text},{name}={}", value.0.replace(',', ",,"))
        })
    }

    /// Whether the VM is meant for other accelerators: it has properties, but none for this one.
    #[must_use]
    pub fn excludes(&self, accel: Accel) -> bool {
        self.0.iter().any(|(_, properties)| !properties.is_empty()) && !self.names().contains(&accel)
    }
}

impl Serialize for Accelerators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |(accel, properties): &(Accel, Properties)| match properties.is_empty() {
            true => serde_json::json!(accel),
            false => serde_json::json!({accel.name(): properties}),
        };
        match self.0.as_slice() {
            [only] => one(only).serialize(serializer),
            many => serializer.collect_seq(many.iter().map(one)),
        }
    }
}

impl<'de> Deserialize<'de> for Accelerators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Some;
        impl<'de> Visitor<'de> for Some {
            type Value = Accelerators;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an accelerator, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Accelerators(One::deserialize(de::value::StrDeserializer::new(text))?.0))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(Accelerators(One::deserialize(de::value::MapAccessDeserializer::new(map))?.0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Option::Some(One(more)) = list.next_element()? {
                    all.extend(more);
                }
                if all.is_empty() {
                    return Err(de::Error::custom("the list is empty; name at least one"));
                }
                Ok(Accelerators(all))
            }
        }
        deserializer.deserialize_any(Some)
    }
}

/// An accelerator by name, or with its properties.
struct One(Vec<(Accel, Properties)>);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = One;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`kvm`, `tcg`, or one of them with its properties, as in `{kvm: {dirty-ring-size: 4096}}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<One, E> {
                let accel = Accel::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(One(vec![(accel, Properties::new())]))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<One, A::Error> {
                let mut all = Vec::new();
                while let Option::Some(entry) = map.next_entry::<Accel, Properties>()? {
                    all.push(entry);
                }
                if all.len() != 1 {
                    let message =
                        "an accelerator with its properties is a map of one key; make it a list of several";
                    return Err(de::Error::custom(message));
                }
                Ok(One(all))
            }
        }
        deserializer.deserialize_any(Named)
    }
}

impl JsonSchema for Accelerators {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Accelerators".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Accel>();
        let value = generator.subschema_for::<Scalar>();
        let properties = serde_json::json!({
            "type": "object", "additionalProperties": value,
            "description": "Its properties, as `-accel` takes them.",
        });
        let one = serde_json::json!({"anyOf": [name, {
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            "properties": {"kvm": properties, "tcg": properties},
        }]});
        json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<Accelerators, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn an_accelerator_has_a_name_and_may_have_properties() {
        assert_eq!(read(json!("tcg")).unwrap().option(Accel::Tcg), "tcg");
        let ring = read(json!({"kvm": {"dirty-ring-size": 4096}})).unwrap();
        assert_eq!(ring.option(Accel::Kvm), "kvm,dirty-ring-size=4096");
        let both = read(json!(["kvm", {"tcg": {"thread": "single", "tb-size": 32}}])).unwrap();
        assert_eq!(both.names(), [Accel::Kvm, Accel::Tcg]);
        assert_eq!(both.option(Accel::Tcg), "tcg,tb-size=32,thread=single");
        for value in [json!("tcg"), json!({"kvm": {"a": "b"}}), json!(["kvm", "tcg"])] {
            assert_eq!(serde_json::to_value(read(value.clone()).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn a_vm_with_properties_for_one_accelerator_does_not_use_another() {
        assert!(read(json!({"kvm": {"dirty-ring-size": 4096}})).unwrap().excludes(Accel::Tcg));
        assert!(!read(json!("kvm")).unwrap().excludes(Accel::Tcg));
        assert!(!read(json!([{"kvm": {"dirty-ring-size": 4096}}, "tcg"])).unwrap().excludes(Accel::Tcg));
    }

    #[test]
    fn invalid_accelerators_are_reported() {
        assert!(read(json!("xen")).unwrap_err().contains("`xen`"));
        assert!(read(json!([])).unwrap_err().contains("empty"));
        assert!(read(json!({"kvm": {}, "tcg": {}})).unwrap_err().contains("list of several"));
    }
}
