//! `yank`, and the yank of `failover`.

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction};
use crate::session::link::State;
use crate::session::sockets::open_connections;
use crate::session::{Failure, Machine, Session};

/// Cuts connections of a VM, out of band, so that a main loop that hangs on one of them continues (QAPI `yank`). The result
/// is the list of yanked instances.
///
/// If the migration is one of them, the step waits until none of the migration's connections is open at this VM's end, and
/// fails if one stays open. It looks at the sockets of the process in the kernel, and at the migration's link, if it has one.
/// Connections over a passed descriptor (`fd:`) are unknown and not checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Yank {
    /// The VM.
    pub vm: String,
    /// What to yank: `all`, everything in `query-yank` except the runner's own channels (the default); `true`, the
    /// migration; or a list of QAPI `YankInstance`s.
    #[serde(default = "all")]
    pub instances: Instances,
}

const fn all() -> Instances {
    Instances::All
}

/// What to yank.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Instances {
    /// The migration's connections.
    #[default]
    Migration,
    /// Everything in `query-yank` except the runner's own channels.
    All,
    /// Nothing.
    Nothing,
    /// These instances.
    These(Vec<Map<String, Value>>),
}

impl StepAction for Yank {
    const EXAMPLE: &str = "{vm: NAME}";

    fn title(&self) -> String {
        format!("yank {}", self.vm)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.vm, &["vm"], Needs::Monitor)]
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        let nothing = match &self.instances {
            Instances::These(list) => list.is_empty(),
            other => *other == Instances::Nothing,
        };
        if nothing {
            complaints.add(&["instances"], "the step yanks nothing", "write `all`, or leave the step out");
        }
        self.instances.check("instances", complaints);
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let machine = run.session.machine(&self.vm)?;
        self.instances.yank(&machine, run).await.map(Value::Array)
    }
}

impl Instances {
    /// The instances that are known before the run; empty for `all` and for nothing.
    #[must_use]
    pub fn named(&self) -> Vec<Value> {
        match self {
            Self::Migration => vec![json!({"type": "migration"})],
            Self::All | Self::Nothing => Vec::new(),
            Self::These(list) => list.iter().cloned().map(Value::Object).collect(),
        }
    }

    /// Complains about invalid instances under this key.
    pub(super) fn check(&self, key: &str, complaints: &mut Complaints) {
        let Self::These(list) = self else {
            return;
        };
        for (number, _) in list.iter().enumerate().filter(|(_, instance)| !instance.contains_key("type")) {
            let help =
                "add `type: migration`, `type: chardev` with `id`, or `type: block-node` with `node-name`";
            complaints.add(&[key, &number.to_string()], "an instance needs a `type`", help);
        }
    }

    /// Yanks them. Returns the yanked instances.
    pub(super) async fn yank(&self, machine: &Machine, run: &Running<'_>) -> Result<Vec<Value>, Failure> {
        let oob = machine.has_oob();
        let instances = match self {
            Self::All => not_our_own(&machine.qmp("query-yank", Value::Null, oob, run.deadline).await?),
            named => named.named(),
        };
        if !instances.is_empty() {
            machine.qmp("yank", json!({"instances": instances}), oob, run.deadline).await?;
        }
        if instances.iter().any(is_migration) {
            wait_until_cut(machine, run).await?;
        }
        Ok(instances)
    }
}

/// Whether it is the migration's instance.
pub(super) fn is_migration(instance: &Value) -> bool {
    instance["type"] == "migration"
}

/// Waits until none of the migration's connections is open at this VM's end, according to the kernel and the migration's link.
/// `query-yank` is of no use here: in COLO it has the instance until the failover.
async fn wait_until_cut(machine: &Machine, run: &Running<'_>) -> Result<(), Failure> {
    let Some(pair) = run.session.pair_of(machine.name()) else { return Ok(()) };
    let awaited = format!("the yank to cut the migration's connections of `{}`", machine.name());
    let failed = |error: std::io::Error| {
        Failure::error(format!("cannot list the connections of `{}`: {error}", machine.name()))
    };
    let look = async || open_connections(machine.process.pid(), &pair.addresses).map_err(failed);
    let judge = |open: &Vec<String>| Ok(open.is_empty().then_some(()));
    run.repeat(look, &awaited, judge, |open| format!("still open: {}", open.join("; "))).await?;
    // A link that is a black hole or full does not read, so it cannot see a closed connection.
    let of = |session: &Session| {
        pair.link
            .as_ref()
            .and_then(|name| session.links().get(name))
            .map(|link| (link.setting().state, link.intact()))
    };
    let look = |session: &Session| {
        Ok(match of(session) {
            Some((State::Open, 1..)) => None,
            _ => Some(()),
        })
    };
    let seen =
        |session: &Session| format!("{} open on the link", of(session).map_or(0, |(_, intact)| intact));
    run.until(&awaited, look, seen).await
}

/// The instances of `query-yank` except the runner's own channels.
fn not_our_own(known: &Value) -> Vec<Value> {
    let ours = |instance: &&Value| {
        instance["id"].as_str().is_some_and(|id| id.starts_with(crate::qemu::argv::OWN_CHARDEVS))
    };
    known.as_array().into_iter().flatten().filter(|instance| !ours(instance)).cloned().collect()
}

impl Serialize for Instances {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Migration => serializer.serialize_bool(true),
            Self::All => serializer.serialize_str("all"),
            Self::Nothing => serializer.serialize_bool(false),
            Self::These(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::Migration),
            Value::Bool(false) => Ok(Self::Nothing),
            Value::String(word) if word == "all" => Ok(Self::All),
            Value::Array(list) => {
                let instance = |instance| match instance {
                    Value::Object(instance) => Ok(instance),
                    other => {
                        let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                        Err(de::Error::invalid_type(de::Unexpected::Str(&text), &"a map"))
                    }
                };
                list.into_iter().map(instance).collect::<Result<_, _>>().map(Self::These)
            }
            other => Err(de::Error::custom(format!(
                "{other} is not a valid yank; write `true`, `all`, `false` or a list such as `[{{type: migration}}]`"
            ))),
        }
    }
}

impl JsonSchema for Instances {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "YankInstances".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"enum": [true, false, "all"]},
            {"type": "array", "items": {"type": "object", "required": ["type"]}},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yank_takes_a_word_or_a_list() {
        let read = |value: Value| serde_json::from_value::<Instances>(value);
        assert_eq!(read(json!(true)).unwrap(), Instances::Migration);
        assert_eq!(read(json!("all")).unwrap(), Instances::All);
        assert_eq!(read(json!(false)).unwrap(), Instances::Nothing);
        let list = json!([{"type": "block-node", "node-name": "nbd0"}]);
        assert_eq!(serde_json::to_value(read(list.clone()).unwrap()).unwrap(), list);
        assert!(read(json!("migration")).unwrap_err().to_string().contains("write `true`, `all`"));
    }

    #[test]
    fn all_excludes_the_channels_of_the_runner() {
        let known = json!([{"type": "chardev", "id": "lockstep-qmp"}, {"type": "chardev", "id": "mirror0"},
            {"type": "migration"}]);
        assert_eq!(
            not_our_own(&known),
            [json!({"type": "chardev", "id": "mirror0"}), json!({"type": "migration"})]
        );
    }
}
