//! `hmp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::qmp::{Expect, Qmp};
use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, listed};
use crate::qemu::hmp::CARRIER;
use crate::session::Failure;
use crate::units::OneOrMany;

/// Runs a command of the human monitor (HMP), such as `savevm one`; the step's result is the text that it prints, without
/// the last line break.
///
/// The human monitor answers with text, also for an error. A reply with an error fails the step: a line `Error: …`,
/// `unknown command: …`, `Try "help …"`, or a text by which some commands report that something is invalid, unknown or
/// not found (for `info` and `help` only the first three, because they can print anything). The same applies to
/// `human-monitor-command` in `qmp`. `qemu-io` prints to QEMU's standard output, not to the monitor: its errors are not in
/// the reply; use `check: {stderr: …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmp {
    /// The VM, or several, one after the other; the result is then the last VM's reply.
    pub vm: OneOrMany<String>,
    /// The command line, as typed at the `(qemu)` prompt.
    pub command: String,
}

impl Hmp {
    /// The equivalent QMP command.
    #[must_use]
    pub fn as_qmp(&self) -> Qmp {
        Qmp {
            vm: self.vm.clone(),
            execute: CARRIER.to_owned(),
            arguments: [("command-line".to_owned(), Value::from(self.command.as_str()))]
                .into_iter()
                .collect(),
            oob: false,
            expect: Expect::Reply,
            within: None,
        }
    }
}

impl StepAction for Hmp {
    const EXAMPLE: &str = "{vm: NAME, command: info status}";

    fn title(&self) -> String {
        format!("{}: {}", listed(&self.vm), self.command)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.vm, &["vm"], Needs::Monitor)
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.command.trim().is_empty() {
            complaints.add(&["command"], "the command is empty", "write a command such as `info status`");
        }
        if self.command.trim().contains('\n') {
            complaints.add(
                &["command"],
                "the command has more than one line",
                "write an `hmp` step for each command",
            );
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let reply = self.as_qmp().run(run).await?;
        let text = reply.as_str().unwrap_or_default().replace("\r\n", "\n");
        Ok(Value::from(text.trim_end_matches('\n')))
    }
}
