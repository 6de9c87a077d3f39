//! `wait`.

mod conditions;
mod exit;
mod impossible;
mod job;
mod memory;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use exit::Exit;
pub use job::JobStatus;
pub(crate) use memory::Watched;

use super::running::Running;
use super::{About, Complaints, Named, Needs, Rule, Scene, StepAction, brief, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Waits for one condition of a VM, or of several VMs that must all meet it, or of a process or client.
///
/// Fails at once if the condition can no longer be met: a VM died, the guest panicked or found its memory wrong, the
/// migration failed. The message has the condition, the time waited and what was seen instead.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The VM or VMs. Not for `process` and `client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// The name of a QMP event: the next one after the VM's cursor. Each wait for an event moves the cursor past the event
    /// that matched, so that no event between two steps is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// With `event`: the number of events. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// With `event`: what the event's data must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// With `event`: `true` only uses events that arrive after this step began (default `false`). With `serial`:
    /// `false` searches from the last match on (default `true`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
    /// The number of COLO checkpoints that this VM completes after the step began: it is stopped and resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<u64>,
    /// A migration status of `query-migrate`, or a list (QAPI `MigrationStatus`). Another final status fails the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<OneOrMany<String>>,
    /// With `migration`: statuses that the migration must not have. If `query-migrate` or a `MIGRATION` event reports one
    /// after the step began, the step fails at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never: Option<OneOrMany<String>>,
    /// The run state of `query-status` (QAPI `RunState`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OneOrMany<String>>,
    /// The number of ticks that the built-in guest prints after the step began. Earlier ticks never count. The result has
    /// the `passes` that it has completed and its `speed`, in passes per second from the first of these ticks to the last
    /// (null if there is only one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
    /// A regular expression for the serial output after the step began; `^` and `$` match at line boundaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// A number in guest RAM at a guest-physical address, that must have a value or must change. It is read through QEMU's
    /// qtest protocol while the guest runs. The step's result is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Watched>,
    /// A QMP query whose reply must contain `until`. The step's result is the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// With `query`: its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// With `query`: what the reply must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Value>,
    /// The identifier of a job, such as the `job-id` of a `blockdev-mirror`, that must have the status `is`, or have had it
    /// since it was last created. If the job ends with an error or without that status, the step fails at once with its
    /// error. The step's result is the job's entry in `query-jobs`; for a job that no longer exists, its `id`, `status` and
    /// `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// With `job`: the expected status (QAPI `JobStatus`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<JobStatus>,
    /// The expected exit of the VM's process, or with `process` of that process: a status, `{signal: KILL}`, or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The name of a background process (`exec: {background: NAME}`) that must exit, with status 0 unless `exit` says
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The name of a client that must get `lines` more lines acknowledged after the step began; a client of datagrams must
    /// send that many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// With `client`: the number of lines. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

/// The condition of a `wait`, with its options.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// See [`Wait::event`].
    Event {
        /// The event's name.
        name: String,
        /// The number of events.
        count: u64,
        /// What its data must contain.
        data: Option<Value>,
        /// Only use what arrives after the step began.
        fresh: bool,
    },
    /// See [`Wait::checkpoints`].
    Checkpoints(u64),
    /// See [`Wait::migration`].
    Migration {
        /// The expected statuses.
        states: Vec<String>,
        /// The statuses that it must not have.
        never: Vec<String>,
    },
    /// See [`Wait::memory`](field@Wait::memory).
    Memory(Watched),
    /// See [`Wait::status`].
    Status(Vec<String>),
    /// See [`Wait::ticks`].
    Ticks(u64),
    /// See [`Wait::serial`].
    Serial {
        /// The regular expression.
        expression: String,
        /// Only use what arrives after the step began.
        fresh: bool,
    },
    /// See [`Wait::query`].
    Query {
        /// The command.
        command: String,
        /// Its arguments.
        arguments: Map<String, Value>,
        /// What the reply must contain.
        until: Value,
    },
    /// See [`Wait::job`].
    Job {
        /// The job.
        id: String,
        /// The expected status.
        is: JobStatus,
    },
    /// See [`Wait::exit`].
    Exit(Exit),
    /// See [`Wait::process`].
    Process {
        /// The background process.
        name: String,
        /// The expected exit.
        exit: Exit,
    },
    /// See [`Wait::client`].
    Client {
        /// The client.
        name: String,
        /// The number of lines.
        lines: u64,
    },
}

/// The keys of a wait of which exactly one must be given; only `exit` can be combined, with `process`.
pub const WAIT_CONDITIONS: &[&str] = &[
    "event",
    "checkpoints",
    "migration",
    "status",
    "ticks",
    "serial",
    "memory",
    "query",
    "job",
    "client",
    "process",
    "exit",
];

const ONE_EACH: &str = "write a `wait` step for each";

impl Wait {
    /// The condition of the step; `None` if it has none or lacks a part of it.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        let list = |list: &OneOrMany<String>| list.0.clone();
        Some(if let Some(name) = self.event.clone() {
            let (count, fresh) = (self.count.unwrap_or(1), self.fresh.unwrap_or(false));
            Condition::Event { name, count, data: self.data.clone(), fresh }
        } else if let Some(count) = self.checkpoints {
            Condition::Checkpoints(count)
        } else if let Some(states) = &self.migration {
            let never = self.never.as_ref().map(list).unwrap_or_default();
            Condition::Migration { states: list(states), never }
        } else if let Some(watched) = self.memory.clone() {
            Condition::Memory(watched)
        } else if let Some(states) = &self.status {
            Condition::Status(list(states))
        } else if let Some(count) = self.ticks {
            Condition::Ticks(count)
        } else if let Some(expression) = self.serial.clone() {
            Condition::Serial { expression, fresh: self.fresh.unwrap_or(true) }
        } else if let Some(command) = self.query.clone() {
            let arguments = self.arguments.clone().unwrap_or_default();
            Condition::Query { command, arguments, until: self.until.clone()? }
        } else if let Some(id) = self.job.clone() {
            Condition::Job { id, is: self.is? }
        } else if let Some(name) = self.process.clone() {
            Condition::Process { name, exit: self.exit.unwrap_or(Exit::Status(0)) }
        } else if let Some(name) = self.client.clone() {
            Condition::Client { name, lines: self.lines.unwrap_or(1) }
        } else {
            Condition::Exit(self.exit?)
        })
    }

    /// What was logged after the cursor can still be waited for once the VM has exited.
    fn needs(&self) -> Needs {
        match self.condition() {
            None
            | Some(
                Condition::Exit(_)
                | Condition::Process { .. }
                | Condition::Client { .. }
                | Condition::Event { fresh: false, .. }
                | Condition::Serial { fresh: false, .. },
            ) => Needs::Logs,
            Some(Condition::Serial { .. } | Condition::Ticks(_) | Condition::Memory(_)) => Needs::Process,
            Some(
                Condition::Event { .. }
                | Condition::Checkpoints(_)
                | Condition::Migration { .. }
                | Condition::Status(_)
                | Condition::Query { .. }
                | Condition::Job { .. },
            ) => Needs::Monitor,
        }
    }

    /// Allows the trouble that the step waits for; for a loop, before its first round.
    pub fn expect(&self, run: &Running<'_>) {
        if let Some(condition) = self.condition() {
            condition.allow_expected(run, self);
        }
    }
}

impl StepAction for Wait {
    const EXAMPLE: &str = "{vm: NAME, ticks: 1}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1"}"#);
    const RULES: &[Rule] = &[
        Rule::AtLeastOne { keys: WAIT_CONDITIONS, none: ("the wait has no condition", "") },
        Rule::AtMostOne { keys: WAIT_CONDITIONS.split_at(WAIT_CONDITIONS.len() - 1).0, both: ONE_EACH },
        // With `process`, `exit` is a part of that condition.
        Rule::Excludes {
            key: "exit",
            others: WAIT_CONDITIONS.split_at(WAIT_CONDITIONS.len() - 2).0,
            help: ONE_EACH,
        },
        Rule::GoesWith { key: "count", owners: &["event"] },
        Rule::GoesWith { key: "data", owners: &["event"] },
        Rule::GoesWith { key: "fresh", owners: &["event", "serial"] },
        Rule::GoesWith { key: "never", owners: &["migration"] },
        Rule::GoesWith { key: "arguments", owners: &["query"] },
        Rule::GoesWith { key: "until", owners: &["query"] },
        Rule::GoesWith { key: "is", owners: &["job"] },
        Rule::GoesWith { key: "lines", owners: &["client"] },
        Rule::Needs {
            key: "query",
            any: &["until"],
            none: ("`query` needs `until`", "add what the reply must contain"),
        },
        Rule::Needs {
            key: "job",
            any: &["is"],
            none: ("`job` needs `is`", "add the expected status, such as `is: ready` or `is: \"null\"`"),
        },
        Rule::Excludes { key: "process", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "client", others: &["vm"], help: "remove `vm`" },
        Rule::Unless {
            key: "vm",
            others: &["process", "client"],
            none: ("the wait names no VM", "add `vm: NAME`"),
        },
    ];

    fn title(&self) -> String {
        let who = self.vm.as_ref().map(listed).unwrap_or_default();
        match self.condition() {
            Some(condition) => format!("wait {who}{}{condition}", if who.is_empty() { "" } else { ": " }),
            None => format!("wait {who}"),
        }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let needs = self.needs();
        self.vm.iter_mut().flat_map(|vms| Named::all(vms, &["vm"], needs)).collect()
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.conditions("data", self.data.as_ref());
        complaints.conditions("until", self.until.as_ref());
        let Some(condition) = self.condition() else { return };
        match condition {
            Condition::Ticks(_) => {
                let help = "wait for its `serial` output, or give it `guest: ticker`";
                complaints.built_in_guest(scene, &["ticks"], "ticks", self.vm.iter().flatten(), help);
            }
            Condition::Serial { expression, .. } => complaints.regex(&["serial"], &expression),
            Condition::Process { name, .. } if !scene.processes.contains(&name) => {
                let help = super::known(&name, scene.processes);
                let message = format!("there is no background process `{name}`");
                complaints.add_about(About::Name, &["process"], message, help);
            }
            Condition::Client { name, .. } => complaints.client(scene, &["client"], &name),
            Condition::Memory(watched) => watched.check(complaints),
            Condition::Migration { states, never } => {
                if let Some(both) = never.iter().find(|state| states.contains(state)) {
                    let message = format!("`{both}` is both expected and excluded");
                    complaints.add(&["never"], message, "remove it from one of them");
                }
            }
            _ => {}
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        self.wait(run).await
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event { name, count, data, fresh } => {
                write!(f, "{}event {name}", if *fresh { "a fresh " } else { "" })?;
                if *count != 1 {
                    write!(f, " {count} times")?;
                }
                data.as_ref().map_or(Ok(()), |data| write!(f, " with {}", brief(data)))
            }
            Self::Checkpoints(count) => write!(f, "{count} completed checkpoint{}", plural(*count)),
            Self::Migration { states, never } => {
                write!(f, "migration status {}", states.join(" or "))?;
                if never.is_empty() { Ok(()) } else { write!(f, ", never {}", never.join(" or ")) }
            }
            Self::Memory(watched) => watched.fmt(f),
            Self::Status(states) => write!(f, "run state {}", states.join(" or ")),
            Self::Ticks(count) => write!(f, "{count} new tick{}", plural(*count)),
            Self::Serial { expression, .. } => write!(f, "serial output matching /{expression}/"),
            Self::Query { command, until, .. } => write!(f, "{command} to contain {}", brief(until)),
            Self::Job { id, is } => write!(f, "job {id} to be {is}"),
            Self::Exit(exit) => write!(f, "exit ({exit})"),
            Self::Client { name, lines } => write!(f, "{lines} more line{} of client {name}", plural(*lines)),
            Self::Process { name, exit } => write!(f, "process {name} to exit ({exit})"),
        }
    }
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::step::SignalName;

    use super::*;

    fn wait(value: Value) -> Wait {
        serde_json::from_value(value).unwrap()
    }

    /// The first complaint about the keys: where, what, and the help.
    fn complaint(value: Value) -> (String, String, String) {
        let mut complaints = Complaints::default();
        complaints.rules(Wait::RULES, &wait(value));
        let first = complaints.0.remove(0);
        (first.path.join("."), first.message, first.help.unwrap_or_default())
    }

    #[test]
    fn a_wait_has_exactly_one_condition() {
        let none = complaint(json!({"vm": "a"}));
        assert!(none.1.contains("no condition") && none.2.contains("`checkpoints`"), "{none:?}");
        let two = complaint(json!({"vm": "a", "ticks": 1, "event": "STOP"}));
        assert_eq!(two.1, "`ticks` cannot be combined with `event`");
        let two = complaint(json!({"vm": "a", "ticks": 1, "exit": 0}));
        assert_eq!(two.1, "`ticks` cannot be combined with `exit`");
        let two = complaint(json!({"client": "a", "exit": 0}));
        assert_eq!(two.1, "`client` cannot be combined with `exit`");
        assert_eq!(complaint(json!({"ticks": 1})).1, "the wait names no VM");
    }

    #[test]
    fn a_key_of_another_condition_is_refused() {
        let (key, message, _) = complaint(json!({"vm": "a", "ticks": 1, "count": 2}));
        assert_eq!((key.as_str(), message.as_str()), ("count", "`count` needs `event`"));
        assert_eq!(
            complaint(json!({"vm": "a", "ticks": 1, "fresh": false})).1,
            "`fresh` needs `event` or `serial`"
        );
        assert!(complaint(json!({"vm": "a", "query": "query-status"})).1.contains("until"));
    }

    #[test]
    fn a_process_must_exit_with_status_0_by_default() {
        let condition = wait(json!({"process": "load"})).condition().unwrap();
        assert_eq!(condition, Condition::Process { name: "load".into(), exit: Exit::Status(0) });
    }

    #[test]
    fn an_exit_is_a_status_a_signal_or_any() {
        let exit = |value| serde_json::from_value::<Exit>(value);
        assert_eq!(exit(json!(0)).unwrap(), Exit::Status(0));
        assert_eq!(exit(json!({"signal": "KILL"})).unwrap(), Exit::Signal(SignalName::Kill));
        assert_eq!(exit(json!("any")).unwrap(), Exit::Any);
        assert!(
            exit(json!("some")).is_err() && exit(json!(300)).is_err() && exit(json!({"signal": 9})).is_err()
        );
    }
}
