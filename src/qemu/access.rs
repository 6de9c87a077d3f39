//! How the runner gets into a guest, to run commands there.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ssh::Ssh;

/// The name of the guest agent's port, by which the agent finds it.
pub const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// How to get into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// QEMU's guest agent.
    Agent,
    /// A shell on the serial port.
    Console(Console),
    /// The guest's SSH server.
    Ssh(Ssh),
}

impl Access {
    /// The SSH server, if that is the way.
    #[must_use]
    pub const fn ssh(&self) -> Option<&Ssh> {
        match self {
            Self::Ssh(ssh) => Some(ssh),
            Self::Agent | Self::Console(_) => None,
        }
    }
}

/// A shell on the serial port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// The user to log in as when the serial port shows `login:`. Default: none; then a shell must be on the serial port
    /// without a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password, sent when the serial port shows `Password:`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl Console {
    fn checked(self) -> Result<Self, &'static str> {
        if self.password.is_some() && self.user.is_none() {
            return Err("`password` needs `user`; add `user: root`");
        }
        Ok(self)
    }
}

const FORMS: &str = "`agent`, `console`, `ssh`, `{console: {user: …, password: …}}` or `{ssh: {user: …, key: …, address: …}}`";

/// The ways that have keys.
const WAYS: &[&str] = &["console", "ssh"];

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AccessVisitor;
        impl<'de> Visitor<'de> for AccessVisitor {
            type Value = Access;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(FORMS)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Access, E> {
                match word {
                    "agent" => Ok(Access::Agent),
                    "console" => Ok(Access::Console(Console::default())),
                    "ssh" => Ok(Access::Ssh(Ssh::default())),
                    other => Err(E::custom(format!("`{other}` is not a valid `access`; write {FORMS}"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Access, A::Error> {
                let access = match map.next_key::<String>()?.as_deref() {
                    Some("console") => map.next_value::<Console>()?.checked().map(Access::Console),
                    Some("ssh") => map.next_value::<Ssh>()?.checked().map(Access::Ssh),
                    Some("agent") => Err("the agent has no options; write `access: agent`"),
                    Some(other) => return Err(de::Error::unknown_field(other, WAYS)),
                    None => return Err(de::Error::custom(format!("an empty map; write {FORMS}"))),
                };
                let access = access.map_err(de::Error::custom)?;
                match map.next_key::<String>()? {
                    None => Ok(access),
                    Some(second) => Err(de::Error::custom(format!(
                        "`access` takes one way into the guest; remove `{second}`"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(AccessVisitor)
    }
}

impl JsonSchema for Access {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let console = generator.subschema_for::<Console>();
        let ssh = generator.subschema_for::<Ssh>();
        json_schema!({
            "description": "How to get into a guest: `agent`, `console`, `ssh`, or a console or SSH with its keys.",
            "anyOf": [
                {"enum": ["agent", "console", "ssh"]},
                {"type": "object", "properties": {"console": console, "ssh": ssh}, "additionalProperties": false,
                 "minProperties": 1, "maxProperties": 1},
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn access(value: Value) -> Result<Access, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn access_is_a_word_or_a_way_with_its_keys() {
        assert_eq!(access(json!("agent")), Ok(Access::Agent));
        assert_eq!(access(json!("console")), Ok(Access::Console(Console::default())));
        let console = Console { user: Some("root".into()), password: None };
        assert_eq!(access(json!({"console": {"user": "root"}})), Ok(Access::Console(console.clone())));
        let again = serde_json::to_value(Access::Console(console.clone())).unwrap();
        assert_eq!(access(again), Ok(Access::Console(console)));
        assert_eq!(access(json!("ssh")), Ok(Access::Ssh(Ssh::default())));
        let keys = json!({"ssh": {"user": "debian", "key": "id", "address": "127.0.0.1:{{port.ssh}}"}});
        assert_eq!(serde_json::to_value(access(keys.clone()).unwrap()).unwrap(), keys);
    }

    #[test]
    fn another_access_is_an_error() {
        let error = |value| access(value).unwrap_err();
        assert!(error(json!("vnc")).contains("`vnc` is not a valid `access`"));
        assert!(error(json!({"ssh": {"user": "debian"}})).contains("add `key: PATH`"));
        assert!(error(json!({"ssh": {"address": "10.77.0.2"}})).contains("not an address with a port"));
        assert!(error(json!({"agent": true})).contains("write `access: agent`"));
        assert!(error(json!({"console": {"password": "x"}})).contains("`password` needs `user`"));
        assert!(error(json!({})).contains("an empty map"));
    }
}
