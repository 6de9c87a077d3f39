//! `qmp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::running::Running;
use super::{About, Complaints, Named, Needs, Scene, StepAction, listed};
use crate::qemu::hmp;
use crate::qemu::qmp::QmpError;
use crate::session::{Failure, Listening};
use crate::units::{OneOrMany, Span};

/// Runs a QMP command; the step's result is the reply. An error from QEMU fails the step, also an error in the text of
/// `human-monitor-command` (see `hmp`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Qmp {
    /// The VM, or several, one after the other; the result is then the last VM's reply.
    pub vm: OneOrMany<String>,
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    /// Whether to run it out of band, so that it works if the main loop hangs. Default: `false`.
    #[serde(default)]
    pub oob: bool,
    /// `hang`: no reply must come within `within`. QEMU may still run the command later; its reply is then ignored.
    /// Default: `reply`.
    #[serde(default, skip_serializing_if = "Expect::is_reply")]
    pub expect: Expect,
    /// The time limit for the reply; with `expect: hang`, the time without a reply. Default: the rest of the step's
    /// `timeout`; with `expect: hang` `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

/// What is expected of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// A reply comes in time.
    #[default]
    Reply,
    /// No reply comes in time: the monitor hangs.
    Hang,
}

impl Expect {
    const fn is_reply(&self) -> bool {
        matches!(self, Self::Reply)
    }
}

/// The default time without a reply for `expect: hang`.
const SILENCE: Span = Span::from_secs(2);

impl Qmp {
    /// The command that QEMU runs; for `human-monitor-command`, the human monitor's command.
    #[must_use]
    pub fn command(&self) -> &str {
        let line = self.arguments.get("command-line").filter(|_| self.execute == hmp::CARRIER);
        line.and_then(Value::as_str).map_or(&self.execute, hmp::word)
    }
}

impl StepAction for Qmp {
    const EXAMPLE: &str = "{vm: NAME, execute: query-status}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "execute": "$2"}"#);

    fn title(&self) -> String {
        let how = match (self.oob, self.expect) {
            (true, _) => " (out of band)",
            (false, Expect::Hang) => " (expects no reply)",
            (false, Expect::Reply) => "",
        };
        format!("{}: {}{how}", listed(&self.vm), self.execute)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.vm, &["vm"], Needs::Monitor)
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if self.within.is_some_and(|within| within.0.is_zero()) {
            let message = match self.expect {
                Expect::Hang => "a time limit of zero always passes",
                Expect::Reply => "a time limit of zero always fails",
            };
            complaints.add(&["within"], message, "write a duration such as `2s`");
        }
        for vm in &self.vm {
            if self.oob && scene.vms.get(vm).is_some_and(|spec| spec.oob == Some(false)) {
                let message = format!("VM `{vm}` has `oob: false`");
                complaints.add_about(About::Vm, &["oob"], message, "leave `oob` out of the VM");
            }
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let mut reply = Value::Null;
        for vm in &self.vm {
            match self.command() {
                "quit" | "q" => run.session.board().expect_exit(vm),
                // The guest shuts down because it was asked to.
                "system_powerdown" => run.session.board().allow(vm, "^SHUTDOWN "),
                // After a reset from outside, firmware may reset the machine again.
                "system_reset" => run.session.board().allow(vm, "^RESET "),
                // A cancelled migration ends as requested.
                "migrate_cancel" | "migrate-cancel" => run.session.board().forgive_migration(vm),
                _ => {}
            }
            let takes_over = self.execute == "x-colo-lost-heartbeat";
            let mark = takes_over.then(|| run.session.failover_now(vm)).transpose()?;
            let arguments = Value::Object(self.arguments.clone());
            let silence = (self.expect == Expect::Hang).then_some(SILENCE);
            let within = self.within.or(silence).map(|within| Instant::now() + within.0);
            let deadline = within.map_or(run.deadline, |within| within.min(run.deadline));
            let machine = run.session.machine(vm)?;
            let answer = machine.qmp_raw(&self.execute, arguments, self.oob, deadline).await;
            reply = match (self.expect, answer) {
                (Expect::Hang, Err(QmpError::Silent { .. })) if within.is_some_and(|end| end > deadline) => {
                    let message = format!(
                        "`{}` of `{vm}`: `within` is longer than the time left for the step; use a longer `timeout`",
                        self.execute
                    );
                    return Err(Failure::failed(message));
                }
                (Expect::Hang, Err(QmpError::Silent { .. })) => Value::Null,
                (Expect::Hang, Ok(_) | Err(QmpError::Refused { .. })) => {
                    let message = format!("`{}` of `{vm}`: expected no reply, but it answered", self.execute);
                    return Err(Failure::failed(message));
                }
                (_, answer) => machine.reply_or_failure(answer).await?,
            };
            if let Some(mark) = mark {
                run.session.set_failover(mark);
            }
            if matches!(self.command(), "migrate-incoming" | "migrate_incoming") {
                let exits = self.arguments.get("exit-on-error") != Some(&Value::Bool(false));
                machine.incoming().told_to_listen = Some(Listening { exits });
                // If the stream went to a file first, the destination is only known now.
                run.session.set_destination(vm);
            }
        }
        Ok(reply)
    }
}
