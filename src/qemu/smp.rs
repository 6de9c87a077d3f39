//! The CPUs of a VM and their topology.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The CPUs: a number of them, or a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smp(pub Topology);

/// The keys of `SMPConfiguration` in QEMU's QAPI schema. QEMU derives those that are not given, and rejects those that
/// the machine type does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The number of CPUs at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<NonZeroU64>,
    /// The maximum number of CPUs with those that are plugged later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxcpus: Option<NonZeroU64>,
    /// Drawers (`s390x`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawers: Option<NonZeroU64>,
    /// Books in each drawer (`s390x`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<NonZeroU64>,
    /// Sockets, or sockets in each book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<NonZeroU64>,
    /// Dies in each socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies: Option<NonZeroU64>,
    /// Clusters in each die.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<NonZeroU64>,
    /// Modules in each cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<NonZeroU64>,
    /// Cores in each module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<NonZeroU64>,
    /// Threads of each core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroU64>,
}

impl Smp {
    /// As an `-smp` argument.
    #[must_use]
    pub fn option(&self) -> String {
        let keys = serde_json::to_value(&self.0).unwrap_or_default();
        let keys = keys.as_object().into_iter().flatten();
        keys.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

impl Topology {
    fn checked(self) -> Result<Self, String> {
        if self == Self::default() {
            return Err("the map is empty; write `smp: 2`, or `smp: {cpus: 2}`".to_owned());
        }
        match (self.cpus, self.maxcpus) {
            (Some(cpus), Some(most)) if most < cpus => {
                Err(format!("`maxcpus` is {most}, which is less than `cpus`, {cpus}"))
            }
            _ => Ok(self),
        }
    }
}

impl Serialize for Smp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.cpus {
            Some(cpus) if self.0 == (Topology { cpus: Some(cpus), ..Topology::default() }) => {
                cpus.serialize(serializer)
            }
            _ => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Smp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrMap;
        impl<'de> Visitor<'de> for NumberOrMap {
            type Value = Smp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of CPUs of at least 1, or a map such as `{cpus: 2, maxcpus: 4}`")
            }

            fn visit_u64<E: de::Error>(self, cpus: u64) -> Result<Smp, E> {
                let wrong = || E::invalid_value(Unexpected::Unsigned(cpus), &self);
                let cpus = Some(NonZeroU64::new(cpus).ok_or_else(wrong)?);
                Ok(Smp(Topology { cpus, ..Topology::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Smp, A::Error> {
                let topology = Topology::deserialize(MapAccessDeserializer::new(map))?;
                topology.checked().map(Smp).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(NumberOrMap)
    }
}

impl JsonSchema for Smp {
    fn schema_name() -> Cow<'static, str> {
        "Smp".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let topology: Value = generator.subschema_for::<Topology>().to_value();
        json_schema!({"anyOf": [{"type": "integer", "minimum": 1}, topology]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Smp, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn the_cpus_are_a_number_or_a_topology() {
        assert_eq!(read(json!(2)).unwrap().option(), "cpus=2");
        let topology = json!({"threads": 2, "cpus": 2, "maxcpus": 8, "sockets": 2});
        assert_eq!(read(topology).unwrap().option(), "cpus=2,maxcpus=8,sockets=2,threads=2");
        assert_eq!(read(json!({"sockets": 2})).unwrap().option(), "sockets=2");
    }

    #[test]
    fn serialized_cpus_read_back_unchanged() {
        for value in [json!(2), json!({"cpus": 2, "cores": 2}), json!({"maxcpus": 2})] {
            assert_eq!(serde_json::to_value(read(value.clone()).unwrap()).unwrap(), value);
        }
        assert_eq!(serde_json::to_value(read(json!({"cpus": 3})).unwrap()).unwrap(), json!(3));
    }

    #[test]
    fn invalid_cpus_are_reported() {
        assert!(read(json!(0)).unwrap_err().contains("at least 1"));
        assert!(read(json!({})).unwrap_err().contains("empty"));
        assert!(read(json!({"cpus": 4, "maxcpus": 2})).unwrap_err().contains("less than `cpus`, 4"));
        assert!(read(json!({"core": 2})).unwrap_err().contains("unknown field `core`"));
    }
}
