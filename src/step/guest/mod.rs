//! `guest`, and what the other steps share that run commands in a guest.

mod agent;
mod agent_files;
mod command;
mod console;
mod files;
mod place;
mod request;
mod ssh;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use command::Command;
pub(super) use place::{Left, left};
pub use request::Agent;

use super::running::Running;
use super::{About, Complaints, Exit, Named, Needs, Rule, Scene, StepAction};
use crate::qemu::access::Access;
use crate::qemu::guests_dir;
use crate::qemu::process::Ended;
use crate::session::Failure;
use crate::session::log::serial_expression;
use crate::session::process::said;

/// The exit status of a program that cannot be started, as in a shell.
const NOT_STARTED: i32 = 127;

/// Runs a command in the guest of a VM that has `access` (see [Inside the guest](#inside-the-guest)), and waits for it to
/// exit; or copies a file into the guest or out of it.
///
/// The result of `run` is `{exit, stdout, stderr, seconds, vm}`: `seconds` is the time from sending it to having its result,
/// `vm` the VM in which it ended. That of `write` and `read` is `{bytes, sha256, seconds, vm}`. The SHA-256 of the file, with
/// the guest's own `sha256sum`, must be the same on both sides.
///
/// If the guest migrates meanwhile, the step goes on at the destination. If its VM ends or its vCPUs are stopped, the step
/// fails at once. At the step's timeout the command is left running by the agent and by SSH, and interrupted on the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// The VM that has the guest, or a role.
    pub vm: String,
    /// The program and its arguments, `[PROGRAM, ARGUMENT…]`; or a text for `/bin/sh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// With `run`: its standard input. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// With `run`: the expected exit: a status, `{signal: KILL}`, or `any`. A program that cannot be started has the status
    /// 127. On the console and by SSH the end by signal n is the status 128+n, as a shell shows it. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The path of the guest's file to write, with the content of `from`. Needs `access: agent` or `access: ssh`, as `read`
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
    /// With `write`: the path of the host's file, relative to the file in which it is written, else to the current
    /// directory. One that an earlier step makes is `{{case.dir}}/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The path of the guest's file to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// With `read`: the path of the host's file to write, relative to the case's private directory. `artifacts` keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ran {
    /// The VM in which it ended.
    vm: String,
    /// How it ended.
    pub(super) how: Ended,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    took: Duration,
}

impl Ran {
    /// Its standard output as text.
    pub(super) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines of its output: "saying: …"; empty if there are none.
    pub(super) fn said(&self) -> String {
        said(&self.stdout(), &String::from_utf8_lossy(&self.stderr))
    }

    /// How it ended, with the last lines of its output.
    pub(super) fn seen(&self) -> String {
        let said = self.said();
        if said.is_empty() { self.how.to_string() } else { format!("{}, {said}", self.how) }
    }

    /// Why it is not as a condition says: it must have exited with status 0, and its standard output must match.
    pub(super) fn unmet(&self, output: Option<&str>) -> Result<Option<Failure>, Failure> {
        let success = Exit::Status(0);
        if !success.matches(self.how) {
            return Ok(Some(success.mismatch("exit".to_owned(), self.how, self.said())));
        }
        let Some(output) = output else { return Ok(None) };
        let is_met = serial_expression(output)?.is_match(&self.stdout);
        let message = || format!("its output does not match /{output}/, {}", self.seen());
        Ok((!is_met).then(|| Failure::failed(message())))
    }

    /// The step's result.
    pub(super) fn result(&self) -> Value {
        let exit = match self.how {
            Ended::Status(status) => Some(status),
            Ended::Signal(_) => None,
        };
        json!({
            "exit": exit,
            "stdout": self.stdout(),
            "stderr": String::from_utf8_lossy(&self.stderr),
            "seconds": self.took.as_secs_f64(),
            "vm": self.vm,
        })
    }
}

/// Runs a command in the guest of a VM.
pub(super) async fn run_in(
    run: &Running<'_>,
    vm: &str,
    command: &Command,
    stdin: Option<&str>,
) -> Result<Ran, Failure> {
    let machine = run.session.machine(vm)?;
    place::fail_if_moved(run, vm, &format!("`{command}` in the guest of `{vm}`")).await?;
    let ran = async {
        match machine.plan.spec.guest.access() {
            Some(Access::Agent) => agent::run(run, vm, command, stdin).await,
            Some(Access::Console(console)) => console::run(run, vm, console, command, stdin).await,
            Some(Access::Ssh(_)) => ssh::run(run, vm, command, stdin).await,
            None => Err(Failure::error(format!("VM `{vm}` has no `access` to its guest")).about(vm)),
        }
    };
    run.session.elsewhere(ran).await
}

impl Complaints {
    /// Complains about a VM to whose guest there is no access.
    pub(super) fn access(&mut self, scene: &Scene<'_>, path: &[&str], vm: &str) {
        if scene.vms.get(vm).is_some_and(|spec| spec.guest.access().is_none()) {
            let message = format!("VM `{vm}` has no `access` to its guest");
            let help = "give it `guest: {linux: {access: agent}}`, or `guest: {image: {…, access: …}}`";
            self.add_about(About::Vm, path, message, help);
        }
    }

    /// Complains about the keys of a condition or a check that runs a command in the guests of VMs.
    pub(super) fn in_guest(
        &mut self,
        scene: &Scene<'_>,
        vms: &[String],
        command: &Command,
        output: Option<&str>,
    ) {
        command.check(&["guest"], self);
        if let Some(output) = output {
            self.regex(&["output"], output);
        }
        vms.iter().for_each(|vm| self.access(scene, &["guest"], vm));
    }
}

impl StepAction for Guest {
    const EXAMPLE: &str = "{vm: NAME, run: [PROGRAM, ARGUMENT]}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "run": ["$2"]}"#);
    const RULES: &[Rule] = &[
        Rule::ExactlyOne {
            keys: &["run", "write", "read"],
            none: (
                "the step does nothing in the guest",
                "add `run: […]`, `write: PATH` with `from`, or `read: PATH` with `to`",
            ),
            both: "write a `guest` step for each",
        },
        Rule::GoesWith { key: "stdin", owners: &["run"] },
        Rule::GoesWith { key: "exit", owners: &["run"] },
        Rule::GoesWith { key: "from", owners: &["write"] },
        Rule::GoesWith { key: "to", owners: &["read"] },
        Rule::Needs {
            key: "write",
            any: &["from"],
            none: ("`write` needs the host's file", "add `from: PATH`"),
        },
        Rule::Needs { key: "read", any: &["to"], none: ("`read` needs the host's file", "add `to: NAME`") },
    ];

    fn title(&self) -> String {
        let vm = &self.vm;
        match (&self.run, &self.write, &self.read) {
            (Some(command), ..) => format!("{vm}: run {command} in the guest"),
            (_, Some(path), _) => format!("{vm}: write {path} in the guest"),
            (_, _, path) => format!("{vm}: read {} in the guest", path.as_deref().unwrap_or_default()),
        }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.vm, &["vm"], Needs::Process)]
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if let Some(command) = &self.run {
            command.check(&["run"], complaints);
        }
        complaints.access(scene, &["vm"], &self.vm);
        let paths = [("write", &self.write), ("from", &self.from), ("read", &self.read), ("to", &self.to)];
        for (key, _) in paths.into_iter().filter(|(_, path)| path.as_deref() == Some("")) {
            complaints.add(&[key], "the path is empty", "");
        }
        if self.from.as_deref().is_some_and(guests_dir::is_inside) {
            let message = "a file of the guests directory cannot be copied into a guest";
            complaints.add(&["from"], message, "write its path without `guests:`");
        }
        let copies = paths.into_iter().find(|(key, path)| ["write", "read"].contains(key) && path.is_some());
        let vm = scene.roles.get(&self.vm).unwrap_or(&self.vm);
        let access = scene.vms.get(vm).and_then(|spec| spec.guest.access());
        if let (Some((key, _)), Some(Access::Console(_))) = (copies, access) {
            let message = format!("`{key}` cannot copy a file on the console of VM `{vm}`");
            complaints.add_about(About::Vm, &[key], message, "`access: agent` and `access: ssh` can");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let command = match (&self.run, &self.write, &self.read) {
            (Some(command), ..) => command,
            (_, Some(path), _) => {
                return files::write(run, &self.vm, path, self.from.as_deref().unwrap_or_default()).await;
            }
            (_, _, path) => {
                let path = path.as_deref().unwrap_or_default();
                return files::read(run, &self.vm, path, self.to.as_deref().unwrap_or_default()).await;
            }
        };
        let ran = run_in(run, &self.vm, command, self.stdin.as_deref()).await?;
        let expected = self.exit.unwrap_or(Exit::Status(0));
        if expected.matches(ran.how) {
            return Ok(ran.result());
        }
        let what = format!("`{command}` in the guest of `{}`", ran.vm);
        Err(expected.mismatch(what, ran.how, ran.said()).about(&ran.vm))
    }
}
