//! `wait`.

mod exit;
mod guest;
mod host;
mod impossible;
mod job;
mod job_history;
mod logs;
mod memory;
mod processes;
mod query;
mod watch;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

pub use exit::Exit;
pub use job_history::JobStatus;
pub(crate) use memory::Watched;

use super::forms::{forms, read, vms};
use super::guest::Command;
use super::misfit::Misfit;
use super::read::Read;
use super::running::Running;
use super::{About, Complaints, Exec, Named, Needs, Rule, Scene, StepAction, brief, listed};
use crate::qemu::spec::Scalar;
use crate::session::Failure;
use crate::units::OneOrMany;
use watch::{OfVm, Watch};

/// Waits for one condition of a VM, or of several VMs that must all meet it, or of a process, client, command or port.
///
/// Fails at once if the condition can no longer be met: a VM died, the guest panicked or found its memory wrong, the
/// migration failed. The message has the condition, the time waited and what was seen instead.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Wait {
    /// The VM or VMs. Not for `process`, `client`, `exec` and `port`.
    #[schemars(with = "Option<OneOrMany<String>>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vm: Vec<String>,
    /// The condition.
    #[serde(flatten)]
    pub condition: Condition,
}

forms! {
    /// The condition of a `wait`.
    pub enum Condition;

    Event {
        /// The name of a QMP event: the next one after the VM's cursor. Each wait for an event moves the cursor past
        /// the event that matched, so that no event between two steps is lost.
        event: String,
        /// With `event`: the number of events. Default: 1.
        #[serde(default = "one")]
        count: u64,
        /// With `event`: what the event's data must contain.
        data: Option<Value>,
        /// With `event`: `true` only uses events that arrive after this step began (default `false`). With `serial`:
        /// `false` searches from the last match on (default `true`).
        #[serde(default)]
        fresh: bool,
    }
    Checkpoints {
        /// The number of COLO checkpoints that this VM completes after the step began: it is stopped and resumes.
        checkpoints: u64,
    }
    Migration {
        /// A migration status of `query-migrate`, or a list (QAPI `MigrationStatus`). Another final status fails the
        /// step.
        migration: OneOrMany<String>,
        /// With `migration`: statuses that the migration must not have. If `query-migrate` or a `MIGRATION` event
        /// reports one after the step began, the step fails at once.
        never: Option<OneOrMany<String>>,
    }
    Status {
        /// The run state of `query-status` (QAPI `RunState`).
        status: OneOrMany<String>,
    }
    Ticks {
        /// The number of ticks that the built-in guest prints after the step began. Earlier ticks never count. The
        /// result has the `passes` that it has completed, those at the `first` of these ticks, and its `speed`, in
        /// passes per second from the first of these ticks to the last (null if there is only one).
        ticks: u64,
    }
    Serial {
        /// A regular expression for the serial output after the step began; `^` and `$` match at line boundaries.
        serial: String,
        /// See [`Event`].
        #[serde(default = "yes")]
        fresh: bool,
    }
    Memory {
        /// A number in guest RAM at a guest-physical address, that must have a value or must change. It is read through
        /// QEMU's qtest protocol while the guest runs. The step's result is the number.
        memory: Watched,
    }
    Query {
        /// A QMP query whose reply must contain `until`. The step's result is the reply.
        query: String,
        /// With `query`: its arguments.
        #[serde(default)]
        arguments: Map<String, Value>,
        /// With `query`: what the reply must contain.
        until: Value,
    }
    Job {
        /// The identifier of a job, such as the `job-id` of a `blockdev-mirror`, that must have the status `is`, or
        /// have had it since it was last created. If the job ends with an error or without that status, the step fails
        /// at once with its error. The step's result is the job's entry in `query-jobs`; for a job that no longer
        /// exists, its `id`, `status` and `error`.
        job: String,
        /// With `job`: the expected status (QAPI `JobStatus`).
        is: JobStatus,
    }
    InGuest {
        /// A command in the guest, a text for `/bin/sh` or `[PROGRAM, ARGUMENT…]`, that must exit with status 0. It is run
        /// again until it does. The step's result is that of `guest`. See [Inside the guest](#inside-the-guest).
        guest: Command,
        /// With `guest`: a regular expression that its standard output must match too.
        output: Option<String>,
    }
    VmExit {
        /// The expected exit of the VM's process, or with `process` of that process: a status, `{signal: KILL}`, or
        /// `any`.
        exit: Exit,
    }
    Process {
        /// The name of a background process (`exec: {background: NAME}`) that must exit, with status 0 unless `exit`
        /// says otherwise.
        process: String,
        /// See [`VmExit`].
        #[serde(default = "success")]
        exit: Exit,
    }
    HostCommand {
        /// A command on the host, as in the action `exec`, that is run again and again until it exits with status 0, or
        /// as its own `exit` says. The pause after each run is 100 ms. The step's result is that of the last run.
        exec: Exec,
    }
    Port {
        /// A port on the host that must accept a connection: a number, for `127.0.0.1`; `HOST:PORT`; or the path of a
        /// Unix-domain socket, relative to the case's directory.
        port: Scalar,
        /// With `port`: a regular expression for what the server sends first. A port that QEMU forwards to a guest
        /// accepts connections before the guest has started, so a guest's service needs it. Default: nothing needs to
        /// be sent. The step's result has the `greeting`.
        greeting: Option<String>,
    }
    Client {
        /// The name of a client that must get `lines` more lines acknowledged after the step began; a client of
        /// datagrams must send that many more.
        client: String,
        /// With `client`: the number of lines. Default: 1.
        #[serde(default = "one")]
        lines: u64,
    }
}

const fn one() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

const fn success() -> Exit {
    Exit::Status(0)
}

impl Read for Wait {
    fn read(value: &Value) -> Result<Self, Misfit> {
        let condition = read(Condition::FORMS, Condition::READERS, Self::RULES, &["vm"], value)?;
        Ok(Self { vm: vms(value)?, condition })
    }
}

impl Wait {
    /// What was logged after the cursor can still be waited for once the VM has exited.
    const fn needs(&self) -> Needs {
        match &self.condition {
            Condition::VmExit(_)
            | Condition::Process(_)
            | Condition::Client(_)
            | Condition::HostCommand(_)
            | Condition::Port(_)
            | Condition::Event(Event { fresh: false, .. })
            | Condition::Serial(Serial { fresh: false, .. }) => Needs::Logs,
            Condition::Serial(_) | Condition::Ticks(_) | Condition::Memory(_) | Condition::InGuest(_) => {
                Needs::Process
            }
            Condition::Event(_)
            | Condition::Checkpoints(_)
            | Condition::Migration(_)
            | Condition::Status(_)
            | Condition::Query(_)
            | Condition::Job(_) => Needs::Monitor,
        }
    }

    /// Waits until each VM meets the condition. To wait for one after the other is enough, because each counts from the
    /// step's beginning.
    async fn each(&self, run: &Running<'_>, wanted: &impl OfVm) -> Result<Value, Failure> {
        let mut result = Value::Null;
        for vm in &self.vm {
            run.session.machine(vm)?;
            let awaited = format!("{} of `{vm}`", self.condition);
            result = wanted
                .wait(Watch::new(run, vm, &awaited, &self.condition))
                .await
                .map_err(|failure| failure.about(vm))?;
        }
        Ok(result)
    }

    /// Allows the trouble that the step waits for, so that it does not end the step; for a loop, before its first round.
    pub fn expect(&self, run: &Running<'_>) {
        let board = run.session.board();
        let allow = |expression: &str| self.vm.iter().for_each(|vm| board.allow(vm, expression));
        let forgive = || self.vm.iter().for_each(|vm| board.forgive_migration(vm));
        match &self.condition {
            Condition::VmExit(_) => {
                self.vm.iter().for_each(|vm| board.expect_exit(vm));
                allow("^SHUTDOWN ");
                // If a VM exits, its migration fails, and the other side may report that first.
                forgive();
            }
            Condition::Migration(wanted) if wanted.migration.iter().any(|state| state == "failed") => {
                forgive();
            }
            Condition::Event(wanted) if wanted.is_failure() => forgive(),
            Condition::Event(wanted) => allow(&format!("^{}( |$)", regex::escape(&wanted.event))),
            Condition::Serial(wanted) => allow(&wanted.serial),
            _ => {}
        }
    }
}

impl StepAction for Wait {
    const EXAMPLE: &str = "{vm: NAME, ticks: 1}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1"}"#);
    const RULES: &[Rule] = &[
        Rule::OneForm {
            forms: Condition::FORMS,
            none: ("the wait has no condition", ""),
            both: "write a `wait` step for each",
        },
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
        Rule::Excludes { key: "exec", others: &["vm"], help: "remove `vm`" },
        Rule::Excludes { key: "port", others: &["vm"], help: "remove `vm`" },
        Rule::Unless {
            key: "vm",
            others: &["process", "client", "exec", "port"],
            none: ("the wait names no VM", "add `vm: NAME`"),
        },
    ];

    fn title(&self) -> String {
        let who = listed(&self.vm);
        format!("wait {who}{}{}", if who.is_empty() { "" } else { ": " }, self.condition)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let needs = self.needs();
        self.vm.iter_mut().map(|vm| Named::one(vm, &["vm"], needs)).collect()
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        match &self.condition {
            Condition::Event(wanted) => complaints.conditions("data", wanted.data.as_ref()),
            Condition::Query(wanted) => complaints.conditions("until", Some(&wanted.until)),
            Condition::Ticks(_) => {
                let help = "wait for its `serial` output, or give it `guest: ticker`";
                complaints.built_in_guest(scene, &["ticks"], "ticks", &self.vm, help);
            }
            Condition::Serial(wanted) => complaints.regex(&["serial"], &wanted.serial),
            Condition::Process(wanted) if !scene.processes.contains(&wanted.process) => {
                let name = &wanted.process;
                let help = super::known(name, scene.processes);
                let message = format!("there is no background process `{name}`");
                complaints.add_about(About::Name, &["process"], message, help);
            }
            Condition::Client(wanted) => complaints.client(scene, &["client"], &wanted.client),
            Condition::HostCommand(wanted) => wanted.check(scene, complaints),
            Condition::Port(wanted) => wanted.check(complaints),
            Condition::Memory(wanted) => wanted.memory.check(complaints),
            Condition::InGuest(wanted) => {
                complaints.in_guest(scene, &self.vm, &wanted.guest, wanted.output.as_deref());
            }
            Condition::Migration(wanted) => {
                let expected = |state: &&String| wanted.migration.0.contains(state);
                if let Some(both) = wanted.excluded().iter().find(expected) {
                    let message = format!("`{both}` is both expected and excluded");
                    complaints.add(&["never"], message, "remove it from one of them");
                }
            }
            _ => {}
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        self.expect(run);
        match &self.condition {
            Condition::Event(wanted) => self.each(run, wanted).await,
            Condition::Checkpoints(wanted) => self.each(run, wanted).await,
            Condition::Migration(wanted) => self.each(run, wanted).await,
            Condition::Status(wanted) => self.each(run, wanted).await,
            Condition::Ticks(wanted) => self.each(run, wanted).await,
            Condition::Serial(wanted) => self.each(run, wanted).await,
            Condition::Memory(wanted) => self.each(run, wanted).await,
            Condition::Query(wanted) => self.each(run, wanted).await,
            Condition::Job(wanted) => self.each(run, wanted).await,
            Condition::InGuest(wanted) => self.each(run, wanted).await,
            Condition::VmExit(wanted) => self.each(run, wanted).await,
            Condition::Process(wanted) => wanted.wait(run).await,
            Condition::Client(wanted) => wanted.wait(run).await,
            Condition::HostCommand(wanted) => wanted.wait(run).await,
            Condition::Port(wanted) => wanted.wait(run).await,
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(Event { event, count, data, fresh }) => {
                write!(f, "{}event {event}", if *fresh { "a fresh " } else { "" })?;
                if *count != 1 {
                    write!(f, " {count} times")?;
                }
                data.as_ref().map_or(Ok(()), |data| write!(f, " with {}", brief(data)))
            }
            Self::Checkpoints(Checkpoints { checkpoints: count }) => {
                write!(f, "{count} completed checkpoint{}", plural(*count))
            }
            Self::Migration(Migration { migration, never }) => {
                write!(f, "migration status {}", migration.0.join(" or "))?;
                never.as_ref().map_or(Ok(()), |never| write!(f, ", never {}", never.0.join(" or ")))
            }
            Self::Memory(wanted) => wanted.memory.fmt(f),
            Self::Status(wanted) => write!(f, "run state {}", wanted.status.0.join(" or ")),
            Self::Ticks(Ticks { ticks }) => write!(f, "{ticks} new tick{}", plural(*ticks)),
            Self::Serial(wanted) => write!(f, "serial output matching /{}/", wanted.serial),
            Self::Query(Query { query, until, .. }) => {
                write!(f, "{query} to contain {}", brief(until))
            }
            Self::Job(Job { job, is }) => write!(f, "job {job} to be {is}"),
            Self::InGuest(InGuest { guest, output }) => {
                write!(f, "`{guest}` to succeed")?;
                output.as_ref().map_or(Ok(()), |output| write!(f, " with output matching /{output}/"))?;
                f.write_str(" in the guest")
            }
            Self::VmExit(wanted) => write!(f, "exit ({})", wanted.exit),
            Self::HostCommand(HostCommand { exec }) => {
                write!(f, "`{}` to exit ({})", brief(&Value::String(exec.command())), exec.expected())
            }
            Self::Port(Port { port, greeting }) => {
                write!(f, "port {} to accept a connection", port.0)?;
                greeting.as_ref().map_or(Ok(()), |greeting| write!(f, " and send /{greeting}/"))
            }
            Self::Client(Client { client, lines }) => {
                write!(f, "{lines} more line{} of client {client}", plural(*lines))
            }
            Self::Process(Process { process, exit }) => {
                write!(f, "process {process} to exit ({exit})")
            }
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

    /// The first complaint about the keys: where, what, and the help.
    fn complaint(value: Value) -> (String, String, String) {
        let mut complaints = Complaints::default();
        complaints.rules(Wait::RULES, &value);
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
        assert_eq!(two.1, "`exit` cannot be combined with `ticks`");
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
    fn a_wait_that_lacks_a_part_or_has_a_key_too_many_is_not_read() {
        let wrong = |value: Value| Wait::read(&value).unwrap_err();
        assert!(wrong(json!({"vm": "a"})).is_rule() && wrong(json!({"vm": "a", "query": "q"})).is_rule());
        assert!(wrong(json!({"vm": "a", "ticks": 1, "event": null, "until": 1})).is_rule());
        assert_eq!(wrong(json!({"vm": "a", "tiks": null})).unknown_key(), Some("tiks"));
        let misfit = wrong(json!({"vm": "a", "memory": {"address": "1M", "size": "x"}}));
        assert_eq!((misfit.path.join("."), misfit.is_rule()), ("memory.size".to_owned(), false));
        // A key with the value null is not given.
        let wait = Wait::read(&json!({"vm": "a", "event": "STOP", "count": null, "ticks": null})).unwrap();
        assert_eq!(wait.title(), "wait a: event STOP");
    }

    #[test]
    fn a_process_must_exit_with_status_0_by_default() {
        let condition = Wait::read(&json!({"process": "load"})).unwrap().condition;
        assert_eq!(condition.to_string(), "process load to exit (status 0)");
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
