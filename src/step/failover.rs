//! `failover`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::running::Running;
use super::wakes::Wakes;
use super::yank::{Instances, is_migration};
use super::{Complaints, Named, Needs, Scene, StepAction};
use crate::qemu::spec::Guest;
use crate::session::{Failure, Session};
use crate::units::Span;

/// The base of the default time limit for the takeover.
const WITHIN: Duration = Duration::from_secs(1);

/// Makes one side of a COLO pair take over: on the survivor, out of band, `yank`, then `x-colo-lost-heartbeat`.
///
/// `fence` is required: while the other side is alive it keeps running, and both would serve the same clients and write to
/// what they share (split brain).
///
/// The yank is first and out of band, because any connection to the lost peer can hang QEMU's main loop and in-band
/// commands (QEMU's `docs/COLO-FT.txt`; QAPI `yank`). If the migration is yanked, the step fails unless its connections are
/// cut before `x-colo-lost-heartbeat`, as in `yank`, and `query-yank` has no migration afterwards. The `failover` metric is
/// the time from the beginning of this step to the survivor's first new tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// The VM that takes over.
    pub survivor: String,
    /// What to yank: `true`, the migration (the default); `all`, everything in `query-yank` except the runner's own
    /// channels; `false`, nothing; or a list of QAPI `YankInstance`s.
    #[serde(default)]
    pub yank: Instances,
    /// Whether to kill the other side (SIGKILL): `true`, before `x-colo-lost-heartbeat`, as a cluster manager would;
    /// `after`, directly after it; `false`, not at all: it is dead already, or later steps stop it.
    pub fence: Fence,
    /// The maximum time without a tick of the survivor's guest, from the step's beginning to its first tick after the reply to
    /// `x-colo-lost-heartbeat`; for the built-in guest. `--slow` multiplies it. Default: `1s` plus twice the longest time
    /// between two of its ticks so far, to allow for the speed of guest and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// QMP commands to run on the survivor, in band, after the yank and before `x-colo-lost-heartbeat`, to detach it from
    /// the other side's disk and network. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
}

/// A QMP command of a failover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    /// Whether to run it; `""`, `false`, `0` and null mean no. Default: `true`.
    #[serde(default = "yes", skip_serializing_if = "Value::is_null")]
    pub when: Value,
}

const fn yes() -> Value {
    Value::Bool(true)
}

/// Whether and when a failover kills the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Before `x-colo-lost-heartbeat`.
    First,
    /// Directly after it.
    After,
    /// Not at all.
    Never,
}

impl Failover {
    /// Waits for the survivor's first tick after the reply, and fails if its guest prints no tick for too long before that.
    ///
    /// A tick before the reply does not count: it may have been printed before the failover and read after it.
    async fn wait_for_takeover(&self, run: &mut Running<'_>) -> Result<(), Failure> {
        let Some(mark) = run.session.failover() else { return Ok(()) };
        let replied = Instant::now();
        let usual = run.session.machine(&self.survivor)?.log.lock().longest_gap(mark.serial);
        let bound = self.within.map_or(WITHIN + 2 * usual, |within| within.0).mul_f64(run.session.slow());
        let ms = |span: Duration| format!("{:.0} ms", span.as_secs_f64() * 1e3);
        run.deadline = run.deadline.min(replied + bound);
        let awaited =
            format!("`{}` to take over: a tick within {} of the failover", self.survivor, ms(bound));
        let look = |session: &Session| {
            let machine = session.machine(&self.survivor)?;
            let log = machine.log.lock();
            let mut last = mark.at;
            for tick in log.ticks_from(mark.serial) {
                let gap = tick.seen.saturating_duration_since(last);
                if gap > bound {
                    return Err(Failure::failed(format!(
                        "`{}` took over too late: it gave no tick for {}, the limit is {}",
                        self.survivor,
                        ms(gap),
                        ms(bound)
                    )));
                }
                if tick.seen > replied {
                    return Ok(Some(()));
                }
                last = tick.seen;
            }
            Ok(None)
        };
        run.until(&awaited, look, |_| "none".to_owned()).await
    }

    /// Kills the other side of the migration, and waits until it has exited.
    async fn fence(&self, run: &Running<'_>) -> Result<(), Failure> {
        let pair = run.session.pair_of(&self.survivor);
        let other = pair.and_then(|pair| match pair.destination {
            Some(destination) if destination == self.survivor => Some(pair.source),
            destination if pair.source == self.survivor => destination,
            _ => None,
        });
        let Some(other) = &other else {
            let message = format!("nothing to fence: `{}` is not part of a migration", self.survivor);
            return Err(Failure::failed(message));
        };
        let machine = run.session.machine(other)?;
        run.session.board().expect_exit(other);
        machine.process.kill();
        match run.session.elsewhere(tokio::time::timeout_at(run.deadline, machine.gone())).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::late(format!("VM `{other}` was killed but did not exit")).about(other)),
        }
    }
}

impl StepAction for Failover {
    const EXAMPLE: &str = "{survivor: NAME, fence: true}";
    const SNIPPET: Option<&str> = Some(r#"{"survivor": "$1", "fence": "${2|true,after,false|}"}"#);

    fn title(&self) -> String {
        format!("failover to {}", self.survivor)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.survivor, &["survivor"], Needs::Monitor)]
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if self.within.is_some() {
            let help = "remove it, or give the VM `guest: ticker`";
            complaints.built_in_guest(scene, &["within"], "within", [&self.survivor], help);
        }
        self.yank.check("yank", complaints);
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        run.session.set_failover(run.session.failover_now(&self.survivor)?);
        // From now on the migration's failure is expected.
        run.session.board().forgive_migration(&self.survivor);
        if self.fence == Fence::First {
            self.fence(run).await?;
        }
        let survivor = run.session.machine(&self.survivor)?;
        let yanked = self.yank.yank(&survivor, run).await?;
        for command in self.commands.iter().filter(|command| crate::template::is_true(&command.when)) {
            let arguments = Value::Object(command.arguments.clone());
            survivor.qmp(&command.execute, arguments, false, run.deadline).await?;
        }
        let reply = survivor.query("x-colo-lost-heartbeat", run.deadline).await;
        if self.fence == Fence::After {
            self.fence(run).await?;
        }
        let reply = reply?;
        if yanked.iter().any(is_migration) {
            let awaited = format!("`query-yank` of `{}` to omit the yanked migration", self.survivor);
            let named = |known: &Value| known.as_array().into_iter().flatten().any(is_migration);
            let judge = |known: &Value| Ok((!named(known)).then_some(()));
            let query = ("query-yank", &Value::Null, survivor.has_oob());
            run.ask(&survivor, query, &Wakes::Interval, &awaited, judge, |known| format!("{known}")).await?;
        }
        if matches!(survivor.plan.spec.guest, Guest::Ticker(_)) {
            self.wait_for_takeover(run).await?;
        }
        Ok(reply)
    }
}

impl Serialize for Fence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::First => serializer.serialize_bool(true),
            Self::After => serializer.serialize_str("after"),
            Self::Never => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Fence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::First),
            Value::Bool(false) => Ok(Self::Never),
            Value::String(word) if word == "after" => Ok(Self::After),
            other => Err(de::Error::custom(format!(
                "{other} is not a valid `fence`; write `true`, `after` or `false`"
            ))),
        }
    }
}

impl JsonSchema for Fence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fence".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"enum": [true, false, "after"]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failover_without_fence_is_refused() {
        let error = serde_json::from_value::<Failover>(json!({"survivor": "a"})).unwrap_err();
        assert!(error.to_string().contains("missing field `fence`"), "{error}");
        let fence = |value| serde_json::from_value::<Fence>(value);
        assert_eq!(fence(json!("after")).unwrap(), Fence::After);
        assert!(fence(json!("first")).unwrap_err().to_string().contains("write `true`, `after` or `false`"));
    }
}
