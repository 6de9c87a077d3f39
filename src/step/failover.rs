//! `failover`.

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::running::Running;
use super::{Complaints, Scene};
use crate::session::Failure;

/// Makes one side of a COLO pair take over: on the survivor, out of band, `yank`, then `x-colo-lost-heartbeat`.
///
/// Yank comes first and out of band because every connection to the lost peer can hang QEMU's main loop, and an
/// in-band command with it (QEMU's `docs/COLO-FT.txt`; QAPI `yank`). Marks the moment: the `failover` metric runs
/// from here to the survivor's first new tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// The VM that is to carry on.
    pub survivor: String,
    /// What to yank: `true`, the migration (the default); `false`, nothing; or a list of QAPI `YankInstance`s.
    #[serde(default)]
    pub yank: Yank,
}

/// What a failover yanks.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(untagged)]
pub enum Yank {
    /// The migration's connections.
    #[default]
    #[serde(serialize_with = "as_true")]
    Migration,
    /// Nothing.
    #[serde(serialize_with = "as_false")]
    Nothing,
    /// These instances.
    Instances(Vec<Map<String, Value>>),
}

fn as_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

fn as_false<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(false)
}

impl Failover {
    pub(super) fn title(&self) -> String {
        format!("failover to {}", self.survivor)
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vm(scene, &["survivor"], &self.survivor);
    }

    pub(super) async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        run.session.mark_failover(&self.survivor)?;
        // What becomes of the migration from now on is our own doing.
        run.session.board.watch_migration(false);
        let survivor = run.session.machine(&self.survivor)?;
        let instances = self.yank.instances();
        if !instances.is_empty() {
            survivor.qmp("yank", json!({"instances": instances}), survivor.has_oob(), run.deadline).await?;
        }
        survivor.query("x-colo-lost-heartbeat", run.deadline).await
    }
}

impl Yank {
    /// The instances to name in QMP's `yank`; empty where nothing is yanked.
    #[must_use]
    pub fn instances(&self) -> Vec<Value> {
        match self {
            Self::Migration => vec![serde_json::json!({"type": "migration"})],
            Self::Nothing => Vec::new(),
            Self::Instances(list) => list.iter().cloned().map(Value::Object).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Yank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::Migration),
            Value::Bool(false) => Ok(Self::Nothing),
            list @ Value::Array(_) => {
                serde_json::from_value(list).map(Self::Instances).map_err(de::Error::custom)
            }
            other => Err(de::Error::custom(format!(
                "{other} is nothing to yank; write `true`, `false` or a list such as `[{{type: migration}}]`"
            ))),
        }
    }
}

impl JsonSchema for Yank {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Yank".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "boolean"},
            {"type": "array", "items": {"type": "object", "required": ["type"]}},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_migration_is_yanked_unless_the_scenario_says_otherwise() {
        let yank = |value| serde_json::from_value::<Failover>(value).unwrap().yank.instances();
        assert_eq!(yank(json!({"survivor": "a"})), [json!({"type": "migration"})]);
        assert_eq!(yank(json!({"survivor": "a", "yank": false})), [] as [Value; 0]);
        let nbd = json!({"type": "block-node", "node-name": "nbd0"});
        assert_eq!(yank(json!({"survivor": "a", "yank": [nbd]})), [nbd]);
    }
}
