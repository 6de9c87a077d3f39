//! `failover`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::running::Running;
use super::yank::{Instances, is_migration};
use super::{Complaints, Named, Needs, Scene, StepAction};
use crate::qemu::spec::Guest;
use crate::session::{Failure, Session};
use crate::units::Span;

/// How long a survivor may stand, beside what its own pace allows for.
const WITHIN: Duration = Duration::from_secs(1);

/// Makes one side of a COLO pair take over: on the survivor, out of band, `yank`, then `x-colo-lost-heartbeat`.
///
/// What becomes of the other side must be said: while it lives it runs on, and both would serve the same clients and
/// write to what they share (split brain). `fence` says it.
///
/// Yank comes first and out of band because every connection to the lost peer can hang QEMU's main loop, and an
/// in-band command with it (QEMU's `docs/COLO-FT.txt`; QAPI `yank`). Where the migration is yanked, the step fails unless its
/// connections are cut before the survivor is asked to take over, as in `yank`, and `query-yank` names no migration
/// afterwards. Marks the moment: the `failover` metric runs
/// from here to the survivor's first new tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// The VM that is to carry on.
    pub survivor: String,
    /// What to yank: `true`, the migration (the default); `all`, everything that `query-yank` names, but the runner's
    /// own channels; `false`, nothing; or a list of QAPI `YankInstance`s.
    #[serde(default)]
    pub yank: Instances,
    /// Whether to kill the other side (SIGKILL): `true`, before the survivor is asked to take over, as a cluster would;
    /// `after`, as soon as it was asked; `false`, not at all: it is dead already, or the steps that follow deal with
    /// it.
    pub fence: Fence,
    /// How long the survivor's guest may stand, from the step's beginning to its first tick after the reply to
    /// `x-colo-lost-heartbeat`; for the built-in guest. `--slow` stretches it. Default: `1s`, and twice the longest time
    /// between two of its ticks so far, which is the pace of guest and host in this very case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// QMP commands to run on the survivor, in band, after the yank and before `x-colo-lost-heartbeat`: what detaches
    /// it from the other side's disk and network. Default: none.
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
    /// Whether to run it: not where this is `""`, `false`, `0` or null. Default: `true`.
    #[serde(default = "yes", skip_serializing_if = "Value::is_null")]
    pub when: Value,
}

const fn yes() -> Value {
    Value::Bool(true)
}

/// Whether and when a failover kills the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Before the survivor is asked to take over.
    First,
    /// As soon as it was asked.
    After,
    /// Not at all.
    Never,
}

impl Failover {
    /// Waits for the survivor's first tick after the reply, and fails where its guest stands too long before that.
    ///
    /// A tick before the reply proves nothing: it may have been printed before the failover and read after it.
    async fn taken_over(&self, run: &mut Running<'_>) -> Result<(), Failure> {
        let Some(mark) = run.session.failover.clone() else { return Ok(()) };
        let replied = Instant::now();
        let usual = run.session.machine(&self.survivor)?.log.lock().longest_gap(mark.serial);
        let bound = self.within.map_or(WITHIN + 2 * usual, |within| within.0).mul_f64(run.session.slow);
        let ms = |span: Duration| format!("{:.0} ms", span.as_secs_f64() * 1e3);
        run.deadline = run.deadline.min(replied + bound);
        let awaited =
            format!("`{}` to take over: a tick within {} of the failover", self.survivor, ms(bound));
        let look = |session: &Session| {
            let log = session.machine(&self.survivor)?.log.lock();
            let mut last = mark.at;
            for tick in log.ticks_from(mark.serial) {
                let stood = tick.seen.saturating_duration_since(last);
                if stood > bound {
                    return Err(Failure::failed(format!(
                        "`{}` took over too late: it gave no tick for {}, the limit is {}",
                        self.survivor,
                        ms(stood),
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

    /// Kills the other side of the migration, and waits until it is gone.
    async fn fence(&self, run: &Running<'_>) -> Result<(), Failure> {
        let pair = run.session.pair.as_ref();
        let other = pair.and_then(|pair| match &pair.destination {
            Some(destination) if *destination == self.survivor => Some(pair.source.as_str()),
            destination if pair.source == self.survivor => destination.as_deref(),
            _ => None,
        });
        let Some(other) = other else {
            let message = format!("there is nobody to fence: `{}` is no side of a migration", self.survivor);
            return Err(Failure::failed(message));
        };
        let machine = run.session.machine(other)?;
        run.session.board.expect_exit(other);
        machine.process.kill();
        match tokio::time::timeout_at(run.deadline, machine.gone()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::failed(format!("VM `{other}` was killed and is still there"))),
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
        let other = scene.vms.get(&self.survivor).filter(|spec| !matches!(spec.guest, Guest::Ticker(_)));
        if self.within.is_some() && other.is_some() {
            let message =
                format!("VM `{}` does not run the built-in guest, so it has no ticks", self.survivor);
            complaints.add(&["within"], message, "leave it out, or give the VM `guest: ticker`");
        }
        self.yank.check("yank", complaints);
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        run.session.failover = Some(run.session.failover_now(&self.survivor)?);
        // What becomes of the migration from now on is our own doing.
        run.session.board.forgive_migration();
        if self.fence == Fence::First {
            self.fence(run).await?;
        }
        let survivor = run.session.machine(&self.survivor)?;
        let yanked = self.yank.yank(survivor, run).await?;
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
            let awaited = format!("`{}` to forget the migration that was yanked", self.survivor);
            let ask = || survivor.qmp("query-yank", Value::Null, survivor.has_oob(), run.patience());
            let named = |known: &Value| known.as_array().into_iter().flatten().any(is_migration);
            let judge = |known: &Value| Ok((!named(known)).then_some(()));
            run.repeat(ask, &awaited, judge, |known| format!("in query-yank {known}")).await?;
        }
        if matches!(survivor.plan.spec.guest, Guest::Ticker(_)) {
            self.taken_over(run).await?;
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
                "{other} does not say whether to fence; write `true`, `after` or `false`"
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
    fn a_failover_that_leaves_the_other_side_undecided_is_refused() {
        let error = serde_json::from_value::<Failover>(json!({"survivor": "a"})).unwrap_err();
        assert!(error.to_string().contains("missing field `fence`"), "{error}");
        let fence = |value| serde_json::from_value::<Fence>(value);
        assert_eq!(fence(json!("after")).unwrap(), Fence::After);
        assert!(fence(json!("first")).unwrap_err().to_string().contains("write `true`, `after` or `false`"));
    }
}
