//! The expected exit of a process.

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::qemu::process::Ended;
use crate::session::{Cause, Failure};
use crate::step::signal::SignalName;

/// The expected exit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// Any exit.
    Any,
    /// Killed by this signal.
    Signal(SignalName),
    /// With this status.
    #[serde(untagged)]
    Status(i32),
}

impl Exit {
    /// Whether a process ended as expected.
    #[must_use]
    pub fn matches(self, how: Ended) -> bool {
        match self {
            Self::Any => true,
            Self::Signal(signal) => signal.ended(how),
            Self::Status(status) => how == Ended::Status(status),
        }
    }

    /// The failure of a process that ended in another way; `said` is its last output.
    #[must_use]
    pub fn mismatch(self, what: String, how: Ended, said: String) -> Failure {
        let expected = match self {
            Self::Status(_) => format!("exit {self}"),
            Self::Signal(_) | Self::Any => self.to_string(),
        };
        Cause::Exit { what, expected: Some(expected), how, said }.into()
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl<'de> Deserialize<'de> for Exit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExitVisitor;
        impl<'de> Visitor<'de> for ExitVisitor {
            type Value = Exit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an exit status, `{signal: KILL}` or `any`")
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Exit, E> {
                match i32::try_from(status) {
                    Ok(status @ 0..=255) => Ok(Exit::Status(status)),
                    _ => Err(E::custom("an exit status must be a number from 0 to 255")),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Exit, E> {
                match text {
                    "any" => Ok(Exit::Any),
                    other => Err(E::custom(format!(
                        "`{other}` is not a valid exit; write a status such as 0, `{{signal: KILL}}` or `any`"
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Exit, A::Error> {
                let exit = match map.next_key::<String>()?.as_deref() {
                    Some("signal") => Exit::Signal(map.next_value()?),
                    Some(other) => return Err(de::Error::unknown_field(other, &["signal"])),
                    None => return Err(de::Error::missing_field("signal")),
                };
                match map.next_key::<String>()? {
                    None => Ok(exit),
                    Some(other) => Err(de::Error::unknown_field(&other, &["signal"])),
                }
            }
        }
        deserializer.deserialize_any(ExitVisitor)
    }
}

impl JsonSchema for Exit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exit".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let signal = generator.subschema_for::<SignalName>();
        schemars::json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 255},
            {"const": "any"},
            {"type": "object", "properties": {"signal": signal}, "required": ["signal"], "additionalProperties": false},
        ]})
    }
}
