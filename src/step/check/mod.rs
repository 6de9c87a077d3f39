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
pub use rules::{CHECK_KINDS, Kind};

use super::running::Running;
use super::{Complaints, Named, Needs, Rule, Scene, StepAction, brief};
use crate::session::Failure;
use crate::units::{OneOrMany, Size, Span};

/// Asserts one thing at once, without waiting for it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The VM or VMs. Not for `metric`, `value`, `equal`, `client`, `disk` and `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// `consistent`: the built-in guest's memory is consistent and not older than its output. It is read from outside, all at
    /// once: every page must hold the same count, with at most one edge, where the current pass has got to. The VM is
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
    /// The name of a QMP event that must not occur, neither after the VM's cursor nor within `for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_event: Option<String>,
    /// With `no_event`: how long to wait for it. Default: `0s`, only events that have arrived already.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<Span>,
    /// The name of a metric that must be below `below` and above `above`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// With `metric` or `value`: its upper bound, exclusive; a duration, or a number (of a metric, in its unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Bound>,
    /// With `metric` or `value`: its lower bound, exclusive; a duration, or a number (of a metric, in its unit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Bound>,
    /// A number that must be below `below` and above `above`; with `of`, its ratio to that number. The result is the number
    /// or the ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<Value>>,
    /// With `value`: the divisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Box<Value>>,
    /// Two or more values that must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<Vec<Value>>,
    /// `kept`: the survivor of a failover did not step back behind the last completed checkpoint, or the destination of a
    /// migration behind the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressCheck>,
    /// The path of a disk image that must hold numbered lines, as the Linux guest's service writes them. A VM that has
    /// it open should have exited: data in its memory is not on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// With `disk`: which lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holds>,
    /// The path of a file that must be as the other keys say; at least one of them is needed. A relative path is relative to
    /// the case's private directory. The result is its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// With `file`: its expected size, including holes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// With `file`: its minimum size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Size>,
    /// With `file`: bytes that it must have, each at an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_at: Option<Vec<BytesAt>>,
    /// `none`: according to the VM's QMP events it was in COLO, and no checkpoint was in progress when the `failover` step
    /// began, or now if there was no failover: each `STOP` has its `RESUME`. And the lost side has not stopped since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointCheck>,
    /// QEMU's standard error must have no lines except those that match `allow` or `has`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<StderrCheck>,
    /// The name of a client (`client: {name: NAME, connect: …}`) whose record must be as the other keys say; at least one of
    /// them is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// With `client`: the maximum number of reconnects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u64>,
    /// With `client`: an upper bound, exclusive, of the time between two acknowledgements, including the time since the last
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_gap: Option<Span>,
    /// With `client`: the minimum number of acknowledged lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// With `client`: `kept`, each answer was for the line that was sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderCheck>,
    /// With `client`: `each`, the primary has begun a checkpoint between each line and its answer, as it must if the two
    /// guests answer differently; `none`, it has begun none since the first line, as if they answer the same. For use
    /// before a failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointsCheck>,
    /// With `client`, one that has `draws: true`: the address, `HOST:PORT`, of a service that must return the number that
    /// the client got for each line. It is sent `told N` over a new connection, and answers `ok N NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
}

/// What `check: {client: …, checkpoints: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointsCheck {
    /// At least one for each line.
    Each,
    /// None.
    None,
}

/// What `check: {client: …, order: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderCheck {
    /// No answer was wrong, missing or extra.
    Kept,
}

/// What `check: {memory: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryCheck {
    /// At most one edge, from a count to the count before it.
    Consistent,
}

/// What `check: {progress: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgressCheck {
    /// Nothing from before the last completed checkpoint was lost.
    Kept,
}

/// What `check: {checkpoint: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointCheck {
    /// Every stop for a checkpoint has its resume.
    None,
}

/// What `check: {stderr: …}` asserts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StderrCheck {
    /// The VM or VMs; can be given beside `stderr` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// Regular expressions; lines that match one of them are allowed. Default: none.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Regular expressions; each must match at least one line. Default: none.
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
    const RULES: &[Rule] = rules::RULES;

    fn title(&self) -> String {
        let who = self.about().join(", ");
        let what = match self.kind() {
            None => return format!("check {who}"),
            Some(Kind::Memory) => "memory consistent".to_owned(),
            Some(Kind::Progress) => "progress kept".to_owned(),
            Some(Kind::Client) => self.client_title(),
            Some(Kind::File) => self.file_title(),
            Some(Kind::Checkpoint) => "no checkpoint in progress".to_owned(),
            Some(Kind::Stderr) => "stderr".to_owned(),
            Some(Kind::Disk) => {
                let path = self.disk.as_deref().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                let holds = self.holds.as_ref().map(Holds::words).unwrap_or_default();
                format!("{name} holds {holds}")
            }
            Some(Kind::Query) => {
                let command = self.query.as_deref().unwrap_or_default();
                match (&self.is, &self.is_not) {
                    (Some(is), _) => format!("{command} contains {}", brief(is)),
                    (None, Some(is_not)) => format!("{command} does not contain {}", brief(is_not)),
                    (None, None) => command.to_owned(),
                }
            }
            Some(Kind::NoEvent) => format!("no event {}", self.no_event.as_deref().unwrap_or_default()),
            Some(Kind::Metric) => format!("metric {}", self.metric.as_deref().unwrap_or_default()),
            Some(Kind::Value) => self.value_title(),
            Some(Kind::Equal) => {
                format!("equal {}", self.equal.iter().flatten().map(brief).collect::<Vec<_>>().join(" = "))
            }
        };
        if who.is_empty() { format!("check {what}") } else { format!("check {who}: {what}") }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let needs = match self.kind() {
            Some(Kind::Memory | Kind::Query) => Needs::Monitor,
            _ => Needs::Logs,
        };
        let path: &[&str] = if self.vm.is_some() { &["vm"] } else { &["stderr", "vm"] };
        let own = self.vm.as_mut();
        let vms = own.or_else(|| self.stderr.as_mut().and_then(|stderr| stderr.vm.as_mut()));
        // The lines that it wrote are in its log.
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
            other => Err(serde::de::Error::custom(format!(
                "{other} is not a valid bound; write `500ms` or a number"
            ))),
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
