//! Addresses and offsets: a size, or a plain number of bytes.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::{Size, has_schema};

/// A number of bytes: like [`Size`], or a plain number (`4096`, `0x1000`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Size(self.0).fmt(f)
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByteCountVisitor;
        impl Visitor<'_> for ByteCountVisitor {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `4K`, `150M` or `1G`, or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteCount, E> {
                u64::try_from(bytes)
                    .map(ByteCount)
                    .map_err(|_| E::custom("a number of bytes cannot be negative"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteCount, E> {
                text.parse::<Size>().map(|size| ByteCount(size.0)).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(ByteCountVisitor)
    }
}

has_schema!(ByteCount, {
    "type": ["string", "integer"],
    "minimum": 0,
    "pattern": r"^\s*(\+?[0-9]+\s*[BKMGTbkmgt]?|0x[0-9A-Fa-f]+)\s*$|\{\{",
    "patternErrorMessage": "A size is a whole number with K, M, G or T, such as `4K` or `150M`, or bytes.",
    "description": "A size (`4K`, `150M`, `1G`, in powers of 1024), or a number of bytes.",
});
