//! Values that QEMU takes as text.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::has_schema;

/// A string, a number or a boolean, used as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(on) => Ok(Self(if on { "on" } else { "off" }.to_owned())),
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(de::Error::custom(format!("expected a single value, not {other}"))),
        }
    }
}

has_schema!(Scalar, {"type": ["string", "number", "boolean"]});
