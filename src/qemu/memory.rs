//! The RAM of a VM.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::units::{ByteCount, Size};

/// The RAM: its size, or a map with what is needed to plug memory devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(pub Ram);

/// The RAM at the start, and the room for memory devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentRequired" = {"slots": ["maxmem"], "maxmem": ["slots"]}))]
pub struct Ram {
    /// The RAM at the start, at least `1M`.
    #[serde(deserialize_with = "size")]
    #[schemars(with = "ByteCount")]
    pub size: Size,
    /// The number of slots for devices such as `pc-dimm`; a `virtio-mem` takes none. Needs `maxmem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u64>,
    /// The maximum of `size` and all memory devices together; more than `size`. Needs `slots`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxmem: Option<Size>,
}

/// The least RAM of a VM: less is a size without its unit.
const LEAST: Size = Size::mib(1);

impl Memory {
    /// RAM without room for memory devices.
    #[must_use]
    pub const fn of(size: Size) -> Self {
        Self(Ram { size, slots: None, maxmem: None })
    }

    /// The size of the RAM at the start.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.0.size
    }

    /// As an `-m` argument.
    #[must_use]
    pub fn option(&self) -> String {
        match *self {
            Self(Ram { size, slots: Some(slots), maxmem: Some(most) }) => {
                format!("size={}B,slots={slots},maxmem={}B", size.0, most.0)
            }
            Self(Ram { size, .. }) => format!("{}B", size.0),
        }
    }
}

impl Ram {
    fn checked(self) -> Result<Self, String> {
        match self {
            Self { slots: Some(_), maxmem: None, .. } => {
                Err("`slots` needs `maxmem`; add the maximum, such as `maxmem: 4G`".to_owned())
            }
            Self { slots: None, maxmem: Some(_), .. } => Err(
                "`maxmem` needs `slots`; add their number, such as `slots: 2` (`slots: 0` for a `virtio-mem`)"
                    .to_owned(),
            ),
            Self { size, maxmem: Some(most), .. } if most <= size => {
                Err(format!("`maxmem` is {most}, which is not more than `size`, {size}"))
            }
            _ => Ok(self),
        }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    enough(ByteCount::deserialize(deserializer)?)
}

fn enough<E: de::Error>(bytes: ByteCount) -> Result<Size, E> {
    let size = Size(bytes.0);
    if size < LEAST {
        let unit = if size.0 < 1 << 16 { format!("{}M`", size.0) } else { "1M` or more".to_owned() };
        return Err(E::custom(format!("{} bytes are too little RAM for a VM; write `{unit}", size.0)));
    }
    Ok(size)
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::of(self.0.size) {
            return self.0.size.serialize(serializer);
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeOrMap;
        impl<'de> Visitor<'de> for SizeOrMap {
            type Value = Memory;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a size such as `150M` or `1G`, or a map such as `{size: 1G, slots: 2, maxmem: 4G}`",
                )
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Memory, E> {
                enough(ByteCount(bytes)).map(Memory::of)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Memory, E> {
                size(de::value::I64Deserializer::new(bytes)).map(Memory::of)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Memory, E> {
                size(de::value::StrDeserializer::new(text)).map(Memory::of)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Memory, A::Error> {
                let ram = Ram::deserialize(MapAccessDeserializer::new(map))?;
                ram.checked().map(Memory).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(SizeOrMap)
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> Cow<'static, str> {
        "VmMemory".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // Without its description, so that an editor shows that of the key.
        let mut size = ByteCount::json_schema(generator);
        size.remove("description");
        let ram: Value = generator.subschema_for::<Ram>().to_value();
        json_schema!({"anyOf": [size, ram]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Memory, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn ram_is_a_size_or_has_room_for_memory_devices() {
        assert_eq!(read(json!("64M")).unwrap().option(), "67108864B");
        assert_eq!(read(json!({"size": 67_108_864})).unwrap().option(), "67108864B");
        let room = read(json!({"size": "64M", "slots": 2, "maxmem": "1G"})).unwrap();
        assert_eq!(room.option(), "size=67108864B,slots=2,maxmem=1073741824B");
        assert_eq!(room.size(), Size::mib(64));
    }

    #[test]
    fn serialized_ram_reads_back_unchanged() {
        for value in [json!("64M"), json!({"size": "64M", "slots": 0, "maxmem": "1G"})] {
            assert_eq!(serde_json::to_value(read(value.clone()).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn invalid_ram_is_reported() {
        let error = |value| read(value).unwrap_err();
        assert!(error(json!(64)).contains("`64M"));
        assert!(error(json!({"size": 64})).contains("`64M"));
        assert!(error(json!({"size": "64M", "slots": 2})).contains("`slots` needs `maxmem`"));
        assert!(error(json!({"size": "64M", "maxmem": "1G"})).contains("`maxmem` needs `slots`"));
        assert!(error(json!({"size": "64M", "slots": 2, "maxmem": "64M"})).contains("not more than `size`"));
        assert!(error(json!({"slots": 2, "maxmem": "64M"})).contains("missing field `size`"));
        assert!(error(json!({"size": "64M", "slots": 2, "maxmem": 4})).contains("without a unit"));
    }
}
