//! `check`.

mod client;
mod disk;
mod file;
mod oracles;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use disk::Holds;
pub use file::BytesAt;

use super::{Complaints, Scene, alternatives, brief, listed};
use crate::diagnostic::suggest;
use crate::qemu::spec::Guest;
use crate::session::metrics::METRICS;
use crate::units::{OneOrMany, Size, Span};

/// Asserts one thing about now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The VM or VMs. Not for `metric`, `equal`, `client`, `disk` and `file`.
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
    /// With `metric`: its upper bound, exclusive; a duration, or a number in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Bound>,
    /// With `metric`: its lower bound, exclusive; a duration, or a number in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Bound>,
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
    /// What QEMU wrote to its standard error must be nothing but lines that match `allow`.
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

/// What a `check` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`memory`](field@Check::memory).
    Memory,
    /// See [`query`](field@Check::query).
    Query,
    /// See [`no_event`](field@Check::no_event).
    NoEvent,
    /// See [`metric`](field@Check::metric).
    Metric,
    /// See [`equal`](field@Check::equal).
    Equal,
    /// See [`progress`](field@Check::progress).
    Progress,
    /// See [`disk`](field@Check::disk).
    Disk,
    /// See [`file`](field@Check::file).
    File,
    /// See [`checkpoint`](field@Check::checkpoint).
    Checkpoint,
    /// See [`stderr`](field@Check::stderr).
    Stderr,
    /// See [`client`](field@Check::client).
    Client,
}

/// The keys of a check of which there must be one.
pub const CHECK_KINDS: &[&str] = &[
    "memory",
    "query",
    "no_event",
    "metric",
    "equal",
    "progress",
    "checkpoint",
    "disk",
    "file",
    "stderr",
    "client",
];

/// The keys of a check that belong to one of those.
pub const CHECK_BELONGS: &[(&str, &str)] = &[
    ("arguments", "query"),
    ("is", "query"),
    ("is_not", "query"),
    ("for", "no_event"),
    ("below", "metric"),
    ("above", "metric"),
    ("holds", "disk"),
    ("size", "file"),
    ("at_least", "file"),
    ("bytes_at", "file"),
    ("reconnects", "client"),
    ("longest_gap", "client"),
    ("lines", "client"),
    ("order", "client"),
];

/// The keys of which a check of a client has one or more.
pub const CLIENT_KEYS: &[&str] = &["reconnects", "longest_gap", "lines", "order"];

/// The keys of which a check of a file has one or more.
pub const FILE_KEYS: &[&str] = &["size", "at_least", "bytes_at"];

impl Check {
    /// The one thing the step asserts.
    ///
    /// # Errors
    /// The key at fault, what is wrong and what would be right.
    pub fn kind(&self) -> Result<Kind, (&'static str, String, String)> {
        let given: Vec<(&'static str, Kind)> = [
            ("memory", Kind::Memory, self.memory.is_some()),
            ("query", Kind::Query, self.query.is_some()),
            ("no_event", Kind::NoEvent, self.no_event.is_some()),
            ("metric", Kind::Metric, self.metric.is_some()),
            ("equal", Kind::Equal, self.equal.is_some()),
            ("progress", Kind::Progress, self.progress.is_some()),
            ("disk", Kind::Disk, self.disk.is_some()),
            ("file", Kind::File, self.file.is_some()),
            ("checkpoint", Kind::Checkpoint, self.checkpoint.is_some()),
            ("stderr", Kind::Stderr, self.stderr.is_some()),
            ("client", Kind::Client, self.client.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, kind, is_given)| is_given.then_some((key, kind)))
        .collect();
        let belonging = [
            ("arguments", self.arguments.is_some()),
            ("is", self.is.is_some()),
            ("is_not", self.is_not.is_some()),
            ("for", self.for_.is_some()),
            ("below", self.below.is_some()),
            ("above", self.above.is_some()),
            ("holds", self.holds.is_some()),
            ("size", self.size.is_some()),
            ("at_least", self.at_least.is_some()),
            ("bytes_at", self.bytes_at.is_some()),
            ("reconnects", self.reconnects.is_some()),
            ("longest_gap", self.longest_gap.is_some()),
            ("lines", self.lines.is_some()),
            ("order", self.order.is_some()),
        ];
        let (key, kind) = match given.as_slice() {
            [] => {
                let belongs = CHECK_BELONGS.iter().find(|(key, _)| belonging.contains(&(*key, true)));
                let help = match belongs {
                    Some((key, owner)) => format!("`{key}` goes with `{owner}`"),
                    None => format!("add one of {}", alternatives(CHECK_KINDS)),
                };
                return Err(("", "the check asserts nothing".to_owned(), help));
            }
            [one] => *one,
            [(first, _), (second, _), ..] => {
                return Err((
                    second,
                    format!("a check asserts one thing, not `{first}` and `{second}`"),
                    "write a `check` step for each".to_owned(),
                ));
            }
        };
        for &(other, owner) in CHECK_BELONGS {
            if belonging.contains(&(other, true)) && owner != key {
                return Err((
                    other,
                    format!("`{other}` does not go with `{key}`"),
                    format!("it goes with `{owner}`"),
                ));
            }
        }
        match kind {
            Kind::Metric | Kind::Equal | Kind::Disk | Kind::File | Kind::Client if self.vm.is_some() => {
                Err(("vm", format!("`vm` does not go with `{key}`"), "leave it out".to_owned()))
            }
            Kind::Metric if self.below.is_none() && self.above.is_none() => Err((
                "metric",
                "the metric has no bound".to_owned(),
                "add `below`, `above` or both".to_owned(),
            )),
            Kind::Disk => match &self.holds {
                Some(holds) => holds.check().map(|()| kind),
                None => {
                    // Not at `disk`, whose path is mostly known in the run alone.
                    let help = "say what it must hold, as in `holds: {client: NAME}`".to_owned();
                    Err(("", "`disk` without `holds`".to_owned(), help))
                }
            },
            Kind::Query if self.is.is_none() && self.is_not.is_none() => {
                Err(("query", "`query` without `is`".to_owned(), "add `is`, `is_not` or both".to_owned()))
            }
            Kind::Equal if self.equal.as_ref().is_some_and(|values| values.len() < 2) => Err((
                "equal",
                "one value is always equal to itself".to_owned(),
                "list two or more".to_owned(),
            )),
            Kind::Client if !CLIENT_KEYS.iter().any(|key| belonging.contains(&(*key, true))) => Err((
                "client",
                "nothing is asserted of the client".to_owned(),
                format!("add {}", alternatives(CLIENT_KEYS)),
            )),
            Kind::File if !FILE_KEYS.iter().any(|key| belonging.contains(&(*key, true))) => Err((
                "",
                "nothing is asserted of the file".to_owned(),
                format!("add {}", alternatives(FILE_KEYS)),
            )),
            Kind::Metric | Kind::Equal | Kind::Client | Kind::File => Ok(kind),
            _ if self.vms().is_empty() => {
                Err(("", "the check names no VM".to_owned(), "add `vm: NAME`".to_owned()))
            }
            _ => Ok(kind),
        }
    }

    /// The VMs it is about.
    #[must_use]
    pub fn vms(&self) -> &[String] {
        let own = self.vm.as_ref();
        own.or_else(|| self.stderr.as_ref().and_then(|stderr| stderr.vm.as_ref())).map_or(&[], |list| &list.0)
    }

    /// The same, to be changed.
    pub(in crate::step) fn vms_mut(&mut self) -> Vec<&mut String> {
        let own = self.vm.as_mut();
        let vms = own.or_else(|| self.stderr.as_mut().and_then(|stderr| stderr.vm.as_mut()));
        let held = self.holds.as_mut().and_then(|holds| holds.vm.as_mut());
        vms.into_iter().flat_map(|list| &mut list.0).chain(held).collect()
    }

    pub(super) fn title(&self) -> String {
        let who = self.vms().join(", ");
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
            Ok(Kind::Equal) => {
                format!("equal {}", self.equal.iter().flatten().map(brief).collect::<Vec<_>>().join(" = "))
            }
        };
        if who.is_empty() { format!("check {what}") } else { format!("check {who}: {what}") }
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        for vm in self.vms() {
            complaints.vm(scene, if self.vm.is_some() { &["vm"] } else { &["stderr", "vm"] }, vm);
        }
        if let Some(vm) = self.holds.as_ref().and_then(|holds| holds.vm.as_ref()) {
            complaints.vm(scene, &["holds", "vm"], vm);
        }
        if let Some(client) = self.holds.as_ref().and_then(|holds| holds.client.as_ref()) {
            complaints.client(scene, &["holds", "client"], client);
        }
        for expression in self.stderr.iter().flat_map(|stderr| &stderr.allow) {
            complaints.regex(&["stderr", "allow"], expression);
        }
        complaints.conditions("is", self.is.as_ref());
        complaints.conditions("is_not", self.is_not.as_ref());
        match self.kind() {
            Err((key, message, help)) => {
                let path: &[&str] = if key.is_empty() { &[] } else { &[key] };
                complaints.add(path, message, help);
            }
            Ok(kind @ (Kind::Memory | Kind::Progress)) => {
                for vm in self.vms() {
                    if scene.vms.get(vm).is_some_and(|spec| !matches!(spec.guest, Guest::Ticker(_))) {
                        let key = if kind == Kind::Memory { "memory" } else { "progress" };
                        let message = format!(
                            "VM `{vm}` does not run the built-in guest, so `{key}` knows nothing of it"
                        );
                        complaints.add(&[key], message, "give it `guest: ticker`");
                    }
                }
            }
            Ok(Kind::Metric) => {
                let name = self.metric.as_deref().unwrap_or_default();
                if !METRICS.iter().any(|(known, _)| *known == name) {
                    let help = suggest(name, METRICS.iter().map(|(known, _)| *known));
                    complaints.add(&["metric"], format!("there is no metric `{name}`"), help);
                }
            }
            Ok(Kind::Client) => {
                complaints.client(scene, &["client"], self.client.as_deref().unwrap_or_default());
            }
            Ok(Kind::File) => self.check_file(complaints),
            Ok(_) => {}
        }
        if self.vm.is_some() && self.stderr.as_ref().is_some_and(|stderr| stderr.vm.is_some()) {
            let vms = listed(self.vm.as_ref().unwrap_or(&OneOrMany(vec![])));
            complaints.add(
                &["stderr", "vm"],
                "`vm` is given twice",
                format!("keep `vm: {vms}` beside `stderr`"),
            );
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(value: Value) -> Result<Kind, (&'static str, String, String)> {
        serde_json::from_value::<Check>(value).unwrap().kind()
    }

    #[test]
    fn a_check_asserts_exactly_one_thing() {
        assert_eq!(kind(json!({"vm": "a", "memory": "consistent"})), Ok(Kind::Memory));
        assert!(kind(json!({"vm": "a"})).unwrap_err().1.contains("asserts nothing"));
        assert!(
            kind(json!({"vm": "a", "memory": "consistent", "progress": "kept"}))
                .unwrap_err()
                .1
                .contains("one thing")
        );
    }

    #[test]
    fn a_check_that_could_not_fail_is_refused() {
        assert!(kind(json!({"vm": "a", "query": "query-status"})).is_err());
        assert!(kind(json!({"metric": "failover"})).is_err());
        assert!(kind(json!({"equal": [1]})).is_err());
        assert!(kind(json!({"memory": "consistent"})).is_err());
    }

    #[test]
    fn the_vm_of_a_stderr_check_may_stand_inside() {
        let check: Check = serde_json::from_value(json!({"stderr": {"vm": "a", "allow": ["x"]}})).unwrap();
        assert_eq!(check.kind(), Ok(Kind::Stderr));
        assert_eq!(check.vms(), ["a"]);
    }
}
