//! `check`.

mod client;
mod clock;
mod disk;
mod file;
mod guest;
mod history;
mod memory;
mod numbers;
mod oracles;
mod serial;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

pub use disk::Holds;

use super::forms::{forms, read, vms};
use super::guest::Command;
use super::misfit::Misfit;
use super::read::Read;
use super::running::Running;
use super::{Complaints, Named, Needs, Rule, Scene, StepAction, brief, listed};
use crate::session::Failure;
use crate::units::{OneOrMany, Size, Span};
use client::{CheckpointsCheck, OrderCheck};
use file::BytesAt;
use history::HistoryCheck;
use memory::MemoryCheck;
use numbers::Bound;
use oracles::{CheckpointCheck, ProgressCheck, StderrCheck};

/// Asserts one thing at once, without waiting for it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Check {
    /// The VM or VMs. Not for `metric`, `value`, `equal`, `client`, `disk` and `file`.
    #[schemars(with = "Option<OneOrMany<String>>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vm: Vec<String>,
    /// What it asserts.
    #[serde(flatten)]
    pub kind: Kind,
}

forms! {
    /// What a `check` asserts.
    pub enum Kind;

    Memory {
        /// `consistent`: the built-in guest's memory is consistent and not older than its output. It is read from
        /// outside, all at once: every page must hold the same count, with at most one edge, where the current pass has
        /// got to. The VM is stopped for the read and continued if it ran.
        memory: MemoryCheck,
    }
    Query {
        /// A QMP query whose reply must contain `is`, or must not contain `is_not`.
        query: String,
        /// With `query`: its arguments.
        #[serde(default)]
        arguments: Map<String, Value>,
        /// With `query`: what the reply must contain.
        is: Option<Value>,
        /// With `query`: what the reply must not contain. A reply that is a map where this is a list, or the reverse, fails.
        is_not: Option<Value>,
    }
    NoEvent {
        /// The name of a QMP event that must not occur, neither after the VM's cursor nor within `for`.
        no_event: String,
        /// With `no_event`: how long to wait for it. Default: `0s`, only events that have arrived already.
        #[serde(default)]
        r#for: Span,
    }
    Metric {
        /// The name of a metric that must be below `below` and above `above`.
        metric: String,
        /// With `metric` or `value`: its upper bound, exclusive; a duration, or a number (of a metric, in its unit).
        below: Option<Bound>,
        /// With `metric` or `value`: its lower bound, exclusive; a duration, or a number (of a metric, in its unit).
        above: Option<Bound>,
    }
    Number {
        /// A number that must be below `below` and above `above`; with `of`, its ratio to that number. The result is
        /// the number or the ratio.
        value: Value,
        /// See [`Metric`].
        below: Option<Bound>,
        /// See [`Metric`].
        above: Option<Bound>,
        /// With `value`: the divisor.
        of: Option<Value>,
    }
    Equal {
        /// Two or more values that must be equal.
        equal: Vec<Value>,
    }
    Progress {
        /// `kept`: the survivor of a failover did not step back behind the last completed checkpoint, or the
        /// destination of a migration behind the source.
        progress: ProgressCheck,
    }
    Disk {
        /// The path of a disk image that must hold numbered lines, as the Linux guest's service writes them. A VM that
        /// has it open should have exited: data in its memory is not on the disk.
        disk: String,
        /// With `disk`: which lines.
        holds: Holds,
    }
    File {
        /// The path of a file that must be as the other keys say; at least one of them is needed. A relative path is
        /// relative to the case's private directory. The result is its size in bytes.
        file: String,
        /// With `file`: its expected size, including holes.
        size: Option<Size>,
        /// With `file`: its minimum size.
        at_least: Option<Size>,
        /// With `file`: bytes that it must have, each at an offset.
        bytes_at: Option<Vec<BytesAt>>,
    }
    Checkpoint {
        /// `none`: according to the VM's QMP events it was in COLO, and no checkpoint was in progress when the
        /// `failover` step began, or now if there was no failover: each `STOP` has its `RESUME`. And the lost side has
        /// not stopped since.
        checkpoint: CheckpointCheck,
    }
    Stderr {
        /// QEMU's standard error must have no lines except those that match `allow` or `has`.
        stderr: StderrCheck,
    }
    InGuest {
        /// A command in the guest, a text for `/bin/sh` or `[PROGRAM, ARGUMENT…]`, that must exit with status 0. The result
        /// is that of `guest`. See [Inside the guest](#inside-the-guest).
        guest: Command,
        /// With `guest`: a regular expression that its standard output must match too.
        output: Option<String>,
    }
    Clock {
        /// The most by which the clocks of the guest may have gone apart from the host's since the guest was last checked so,
        /// in whichever VM it ran then: its time since boot (`/proc/uptime`) and its time of day (`date +%s`). Neither may
        /// step back. The first check of a guest only reads both. See [Inside the guest](#inside-the-guest).
        clock: Span,
    }
    SerialCheck {
        /// A regular expression that must match in what the VM has printed on its serial port since it was started; `^` and
        /// `$` match at line boundaries. The result is the text that matched.
        serial: String,
        /// With `serial`: `true`, it must not match. Default: `false`.
        #[serde(default)]
        absent: bool,
    }
    Client {
        /// The name of a client (`client: {name: NAME, connect: …}`) whose record must be as the other keys say; at
        /// least one of them is needed.
        client: String,
        /// With `client`: the maximum number of reconnects.
        reconnects: Option<u64>,
        /// With `client`: an upper bound, exclusive, of the time between two acknowledgements, including the time since
        /// the last one.
        longest_gap: Option<Span>,
        /// With `client`: the minimum number of acknowledged lines.
        lines: Option<u64>,
        /// With `client`: `kept`, each answer was for the line that was sent last.
        order: Option<OrderCheck>,
        /// With `client`: `each`, the primary has begun a checkpoint between each line and its answer, as it must if
        /// the two guests answer differently; `none`, it has begun none since the first line, as if they answer the
        /// same. For use before a failover.
        checkpoints: Option<CheckpointsCheck>,
        /// With `client`, one that has `draws: true`: the address, `HOST:PORT`, of a service that must return the
        /// number that the client got for each line. It is sent `told N` over a new connection, and answers `ok N
        /// NUMBER`.
        known_at: Option<String>,
        /// With `client`, one that has `does: append`, `count` or `register`: `kept`, what the service holds fits all
        /// operations. It has lost none that it acknowledged. A list has them in order, once, and nothing else. A counter
        /// never went back. A register is linearizable: a read returns what was written last. An operation with an
        /// unknown outcome may have been done or not.
        history: Option<HistoryCheck>,
        /// With `history`: the address, `HOST:PORT`, at which the service is read. Default: that of the client.
        at: Option<String>,
    }
}

/// A check that is made of each VM.
trait OfVm {
    /// Makes it; returns the step's result.
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure>;
}

impl Read for Check {
    fn read(value: &Value) -> Result<Self, Misfit> {
        let kind = read(Kind::FORMS, Kind::READERS, Self::RULES, &["vm"], value)?;
        Ok(Self { vm: vms(value)?, kind })
    }
}

impl Check {
    /// The VMs it is about.
    #[must_use]
    pub fn about(&self) -> &[String] {
        match &self.kind {
            Kind::Stderr(stderr) if self.vm.is_empty() => stderr.stderr.vm.as_ref().map_or(&[], |vms| &vms.0),
            _ => &self.vm,
        }
    }

    async fn each(&self, run: &Running<'_>, check: &impl OfVm) -> Result<Value, Failure> {
        let mut result = Value::Null;
        for vm in self.about() {
            result = check.run(run, vm).await?;
        }
        Ok(result)
    }

    fn check_stderr(&self, expected: &StderrCheck, complaints: &mut Complaints) {
        for (key, expressions) in [("allow", &expected.allow), ("has", &expected.has)] {
            expressions.iter().for_each(|expression| complaints.regex(&["stderr", key], expression));
        }
        if self.about().is_empty() {
            complaints.add(&[], "the check names no VM", "add `vm: NAME`");
        }
        if !self.vm.is_empty() && expected.vm.is_some() {
            let help = format!("keep `vm: {}` beside `stderr`", listed(&self.vm));
            complaints.add(&["stderr", "vm"], "`vm` is given twice", help);
        }
    }
}

impl StepAction for Check {
    const EXAMPLE: &str = "{vm: NAME, memory: consistent}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1"}"#);
    const RULES: &[Rule] = &[
        Rule::OneForm {
            forms: Kind::FORMS,
            none: ("the check asserts nothing", ""),
            both: "write a `check` step for each",
        },
        Rule::Excludes { key: "metric", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "value", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "equal", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "disk", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "file", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "client", others: &["vm"], help: "remove `vm`" },
        Rule::Needs { key: "metric", any: &["below", "above"], none: ("the `metric` has no bound", "") },
        Rule::Needs { key: "value", any: &["below", "above"], none: ("the `value` has no bound", "") },
        Rule::Needs {
            key: "query",
            any: &["is", "is_not"],
            none: ("nothing is compared with the reply", ""),
        },
        Rule::Needs {
            key: "disk",
            any: &["holds"],
            none: ("`disk` needs `holds`", "add the expected lines, such as `holds: {client: NAME}`"),
        },
        Rule::Needs {
            key: "client",
            any: &["reconnects", "longest_gap", "lines", "order", "checkpoints", "known_at", "history"],
            none: ("the check asserts nothing about the `client`", ""),
        },
        Rule::GoesWith { key: "at", owners: &["history"] },
        Rule::Needs {
            key: "file",
            any: &["size", "at_least", "bytes_at"],
            none: ("the check asserts nothing about the `file`", ""),
        },
        Rule::Unless {
            key: "vm",
            others: &["metric", "value", "equal", "stderr", "client", "disk", "file"],
            none: ("the check names no VM", "add `vm: NAME`"),
        },
    ];

    fn title(&self) -> String {
        let what = match &self.kind {
            Kind::Memory(_) => "memory consistent".to_owned(),
            Kind::Progress(_) => "progress kept".to_owned(),
            Kind::Client(check) => check.title(),
            Kind::File(check) => check.title(),
            Kind::Checkpoint(_) => "no checkpoint in progress".to_owned(),
            Kind::Stderr(_) => "stderr".to_owned(),
            Kind::Disk(check) => check.title(),
            Kind::Query(check) => check.title(),
            Kind::NoEvent(check) => format!("no event {}", check.no_event),
            Kind::InGuest(check) => format!("`{}` in the guest", check.guest),
            Kind::SerialCheck(check) => check.title(),
            Kind::Clock(check) => format!("the guest's clocks, within {}", check.clock),
            Kind::Metric(check) => format!("metric {}", check.metric),
            Kind::Number(check) => check.title(),
            Kind::Equal(check) => {
                format!("equal {}", check.equal.iter().map(brief).collect::<Vec<_>>().join(" = "))
            }
        };
        let who = listed(self.about());
        if who.is_empty() { format!("check {what}") } else { format!("check {who}: {what}") }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let needs = match &self.kind {
            Kind::Memory(_) | Kind::Query(_) => Needs::Monitor,
            Kind::InGuest(_) | Kind::Clock(_) => Needs::Process,
            _ => Needs::Logs,
        };
        let inside = match &mut self.kind {
            Kind::Stderr(check) if self.vm.is_empty() => {
                let vms = check.stderr.vm.iter_mut().flat_map(|vms| &mut vms.0);
                vms.map(|vm| Named::one(vm, &["stderr", "vm"], needs)).collect()
            }
            // The lines that it wrote are in its log.
            Kind::Disk(check) => {
                check.holds.vm.iter_mut().map(|vm| Named::one(vm, &["holds", "vm"], needs)).collect()
            }
            _ => Vec::new(),
        };
        self.vm.iter_mut().map(|vm| Named::one(vm, &["vm"], needs)).chain(inside).collect()
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        match &self.kind {
            Kind::Memory(_) => {
                complaints.built_in_guest(scene, &["memory"], "memory", &self.vm, "give it `guest: ticker`");
            }
            Kind::Progress(_) => {
                complaints.built_in_guest(
                    scene,
                    &["progress"],
                    "progress",
                    &self.vm,
                    "give it `guest: ticker`",
                );
            }
            Kind::Query(check) => {
                complaints.conditions("is", check.is.as_ref());
                complaints.conditions("is_not", check.is_not.as_ref());
            }
            Kind::InGuest(check) => {
                complaints.in_guest(scene, &self.vm, &check.guest, check.output.as_deref());
            }
            Kind::Clock(_) => self.vm.iter().for_each(|vm| complaints.access(scene, &["clock"], vm)),
            Kind::SerialCheck(check) => complaints.regex(&["serial"], &check.serial),
            Kind::Metric(check) => check.check(scene, complaints),
            Kind::Number(check) => check.check(complaints),
            Kind::Client(check) => check.check(scene, complaints),
            Kind::Disk(check) => check.check(scene, complaints),
            Kind::File(check) => check.check(complaints),
            Kind::Stderr(check) => self.check_stderr(&check.stderr, complaints),
            Kind::Equal(check) if check.equal.len() < 2 => {
                complaints.add(&["equal"], "`equal` needs at least two values", "add another value");
            }
            Kind::Equal(_) | Kind::NoEvent(_) | Kind::Checkpoint(_) => {}
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        match &self.kind {
            Kind::Memory(check) => self.each(run, check).await,
            Kind::Query(check) => self.each(run, check).await,
            Kind::NoEvent(check) => self.each(run, check).await,
            Kind::InGuest(check) => self.each(run, check).await,
            Kind::Clock(check) => {
                let mut result = Value::Null;
                for vm in &self.vm {
                    result = check.run(run, vm).await?;
                }
                Ok(result)
            }
            Kind::SerialCheck(check) => self.each(run, check).await,
            Kind::Metric(check) => check.run(run.session),
            Kind::Number(check) => check.run(),
            Kind::Equal(check) => check.run(),
            Kind::Progress(check) => self.each(run, check).await,
            Kind::Disk(check) => check.run(run).await,
            Kind::File(check) => check.run(run.session.directory()),
            Kind::Checkpoint(check) => self.each(run, check).await,
            Kind::Stderr(check) => self.each(run, check).await,
            Kind::Client(check) => check.run(run).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first complaint about the keys, with its help.
    fn complaint(value: Value) -> String {
        let mut complaints = Complaints::default();
        complaints.rules(Check::RULES, &value);
        complaints.0.first().map_or_else(String::new, |first| {
            format!("{}: {}", first.message, first.help.as_deref().unwrap_or_default())
        })
    }

    #[test]
    fn a_check_asserts_exactly_one_thing() {
        assert_eq!(complaint(json!({"vm": "a", "memory": "consistent"})), "");
        assert!(complaint(json!({"vm": "a"})).contains("asserts nothing: add `memory`, `query`"));
        assert_eq!(
            complaint(json!({"vm": "a", "memory": "consistent", "progress": "kept"})),
            "`progress` cannot be combined with `memory`: write a `check` step for each"
        );
    }

    #[test]
    fn a_check_that_cannot_fail_is_refused() {
        assert_eq!(
            complaint(json!({"vm": "a", "query": "query-status"})),
            "nothing is compared with the reply: add `is` or `is_not`"
        );
        assert!(complaint(json!({"metric": "failover"})).contains("has no bound: add `below` or `above`"));
        assert!(complaint(json!({"value": 3, "of": 4})).contains("has no bound"));
        assert!(complaint(json!({"metric": "failover", "below": 1, "of": 4})).contains("`of` needs `value`"));
        assert!(complaint(json!({"client": "c"})).contains("add `reconnects`"));
        assert!(complaint(json!({"file": "f"})).contains("add `size`"));
        assert_eq!(complaint(json!({"memory": "consistent"})), "the check names no VM: add `vm: NAME`");
    }

    #[test]
    fn the_vm_of_a_stderr_check_can_be_inside() {
        let check = Check::read(&json!({"stderr": {"vm": "a", "allow": ["x"]}})).unwrap();
        assert!(matches!(check.kind, Kind::Stderr(_)));
        assert_eq!(check.about(), ["a"]);
    }
}
