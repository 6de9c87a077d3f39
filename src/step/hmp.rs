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
/// The human monitor answers with text whether a command worked or not. A reply that reports an error fails the step:
/// a line `Error: …`, `unknown command: …`, `Try "help …"`, or one of the texts with which single commands say that
/// something is invalid, unknown or not found (after `info` and `help` only the first three, since these print
/// anything). The same holds for a `human-monitor-command` of `qmp`. `qemu-io` prints to QEMU's standard output, not
/// to the monitor: its errors are not in the reply; `check: {stderr: …}` sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmp {
    /// The VM, or several, one after the other; with several the result is the last one's reply.
    pub vm: OneOrMany<String>,
    /// The command line, as it is typed at the `(qemu)` prompt.
    pub command: String,
}

impl Hmp {
    /// The command of QMP that carries it.
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
            complaints.add(&["command"], "there is no command", "write `info status`, say");
        }
        if self.command.trim().contains('\n') {
            complaints.add(&["command"], "more than one line", "write a step `hmp` for each command");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let reply = self.as_qmp().run(run).await?;
        let text = reply.as_str().unwrap_or_default().replace("\r\n", "\n");
        Ok(Value::from(text.trim_end_matches('\n')))
    }
}
