//! `check`.

mod client;
mod disk;
mod file;
mod memory;
mod oracles;
mod rules;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use disk::Holds;
pub(super) use file::BytesAt;
pub use rules::{CHECK_BELONGS, CHECK_KINDS, CLIENT_KEYS, FILE_KEYS, Kind};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, brief};
use crate::session::Failure;
use crate::units::{OneOrMany, Size, Span};

/// Asserts one thing about now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The VM or VMs. Not for `metric`, `value`, `equal`, `client`, `disk` and `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// `consistent`: the built-in guest's memory, read from outside in one go, is whole and not older than what the
    /// guest has printed: every page holds the same count, but for one edge, where a pass had got to. The VM is
    /// stopped for the read and continued if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryCheck>,
    /// A QMP query whose reply must contain `is`, or must not contain `is_not`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// With `query`: its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// With `query`: what the reply must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<Value>,
    /// With `query`: what the reply must not contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_not: Option<Value>,
    /// The name of a QMP event that must not come: not from the VM's cursor on, and not within `for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_event: Option<String>,
    /// With `no_event`: for how long to look. Default: `0s`, only what has come already.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<Span>,
    /// The name of a metric that must lie below `below` and above `above`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// With `metric` or `value`: its upper bound, exclusive; a duration, or a number (of a metric, in its unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Bound>,
    /// With `metric` or `value`: its lower bound, exclusive; a duration, or a number (of a metric, in its unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Bound>,
    /// A number that must lie below `below` and above `above`, or with `of` its ratio to that one. The result is the number,
    /// or the ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<Value>>,
    /// With `value`: the number that it is divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Box<Value>>,
    /// Two values or more that must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<Vec<Value>>,
    /// `kept`: the survivor of a failover did not step back behind the last completed checkpoint; the destination of a
    /// migration did not step back behind the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressCheck>,
    /// The path of a disk image that must hold numbered lines, as the Linux guest's service writes them. A VM that has
    /// it open should have ended: what it keeps in its memory is not on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// With `disk`: which lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holds>,
    /// The path of a file that must be what the other keys say, at least one of them; a relative one is relative to the
    /// case's private directory. The result is its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// With `file`: how long it must be, holes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// With `file`: how long it must be at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Size>,
    /// With `file`: bytes that must stand in it, each at its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_at: Option<Vec<BytesAt>>,
    /// `none`: by the VM's QMP events it was in COLO and no checkpoint was under way when the `failover` was asked for,
    /// or is now where there was none: each `STOP` had its `RESUME`. And the side that was lost has not stopped since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointCheck>,
    /// What QEMU wrote to its standard error must be nothing but lines that match `allow` or `has`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<StderrCheck>,
    /// The name of a client (`client: {name: NAME, connect: …}`) that saw of its service what the other keys say; at
    /// least one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// With `client`: how often it may have had to connect again, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u64>,
    /// With `client`: what the longest time from one acknowledgement to the next must be below, the one that is still
    /// open included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_gap: Option<Span>,
    /// With `client`: how many of its lines must have been acknowledged, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// With `client`: `kept`, each answer was the one to the line that had been sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderCheck>,
    /// With `client`: `each`, between each line and its answer the primary of the pair has begun a checkpoint, as it must
    /// where the two guests answer differently; `none`, it has begun none since the first line, as where they answer alike.
    /// Before a failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointsCheck>,
    /// With `client`, one that has `draws: true`: the address, `HOST:PORT`, of a service that must know for each line what
    /// the client was told. It is asked `told N`, over a connection of its own, and answers `ok N NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
}

/// What `check: {client: …, checkpoints: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointsCheck {
    /// One for each line, at least.
    Each,
    /// None at all.
    None,
}

/// What `check: {client: …, order: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderCheck {
    /// No answer was wrong, missing or one too many.
    Kept,
}

/// What `check: {memory: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryCheck {
    /// One edge at most, from a count to the count before it.
    Consistent,
}

/// What `check: {progress: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgressCheck {
    /// Nothing done before the last completed checkpoint was undone.
    Kept,
}

/// What `check: {checkpoint: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointCheck {
    /// Every stop for a checkpoint had its resume.
    None,
}

/// What `check: {stderr: …}` asserts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StderrCheck {
    /// The VM or VMs; may stand beside `stderr` as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// Regular expressions; a line that matches one of them is allowed. Default: none.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Regular expressions; for each of them there must be a line that matches it. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<String>,
}

/// A bound of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Bound {
    /// A number in the metric's unit.
    Number(f64),
    /// A duration, for metrics whose unit is the second.
    Span(Span),
}

impl Check {
    /// The VMs it is about.
    #[must_use]
    pub fn about(&self) -> &[String] {
        let own = self.vm.as_ref();
        own.or_else(|| self.stderr.as_ref().and_then(|stderr| stderr.vm.as_ref())).map_or(&[], |list| &list.0)
    }
}

impl StepAction for Check {
    const EXAMPLE: &str = "{vm: NAME, memory: consistent}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1"}"#);

    fn title(&self) -> String {
        let who = self.about().join(", ");
        let what = match self.kind() {
            Err(_) => return format!("check {who}"),
            Ok(Kind::Memory) => "memory consistent".to_owned(),
            Ok(Kind::Progress) => "progress kept".to_owned(),
            Ok(Kind::Client) => self.told_of_client(),
            Ok(Kind::File) => self.told_of_file(),
            Ok(Kind::Checkpoint) => "no checkpoint under way".to_owned(),
            Ok(Kind::Stderr) => "stderr".to_owned(),
            Ok(Kind::Disk) => {
                let path = self.disk.as_deref().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                let holds = self.holds.as_ref().map(Holds::words).unwrap_or_default();
                format!("{name} holds {holds}")
            }
            Ok(Kind::Query) => {
                let command = self.query.as_deref().unwrap_or_default();
                match (&self.is, &self.is_not) {
                    (Some(is), _) => format!("{command} contains {}", brief(is)),
                    (None, Some(is_not)) => format!("{command} does not contain {}", brief(is_not)),
                    (None, None) => command.to_owned(),
                }
            }
            Ok(Kind::NoEvent) => format!("no event {}", self.no_event.as_deref().unwrap_or_default()),
            Ok(Kind::Metric) => format!("metric {}", self.metric.as_deref().unwrap_or_default()),
            Ok(Kind::Value) => self.told_of_value(),
            Ok(Kind::Equal) => {
                format!("equal {}", self.equal.iter().flatten().map(brief).collect::<Vec<_>>().join(" = "))
            }
        };
        if who.is_empty() { format!("check {what}") } else { format!("check {who}: {what}") }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let needs = match self.kind() {
            Ok(Kind::Memory | Kind::Query) => Needs::Monitor,
            _ => Needs::Logs,
        };
        let path: &[&str] = if self.vm.is_some() { &["vm"] } else { &["stderr", "vm"] };
        let own = self.vm.as_mut();
        let vms = own.or_else(|| self.stderr.as_mut().and_then(|stderr| stderr.vm.as_mut()));
        // What it said it wrote is in its log.
        let held = self.holds.as_mut().and_then(|holds| holds.vm.as_mut());
        let held = held.map(|vm| Named::one(vm, &["holds", "vm"], Needs::Logs));
        vms.into_iter().flat_map(|vms| Named::all(vms, path, needs)).chain(held).collect()
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        self.check_keys(scene, complaints);
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        self.assert(run).await
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self::Number(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => text.parse().map(Self::Span).map_err(serde::de::Error::custom),
            other => Err(serde::de::Error::custom(format!("{other} is no bound; write `500ms` or a number"))),
        }
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bound".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["number", "string"]})
    }
}
