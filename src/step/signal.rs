//! `signal`.

use rustix::process::Signal as Number;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Named, Needs, StepAction, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Sends a signal to a VM's process. The VM's death by a fatal signal is then not a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The VM or VMs.
    pub vm: OneOrMany<String>,
    /// The signal.
    pub send: SignalName,
}

/// A signal by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignalName {
    /// Kills the process at once.
    Kill,
    /// Freezes the process.
    Stop,
    /// Continues a frozen process.
    Cont,
    /// Asks QEMU to exit.
    Term,
    /// Asks QEMU to exit.
    Int,
    /// Asks QEMU to exit.
    Hup,
    /// Aborts the process, with a core dump if enabled.
    Abrt,
    /// Kills the process like a crash.
    Segv,
}

impl std::fmt::Display for SignalName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

impl SignalName {
    const fn number(self) -> Number {
        match self {
            Self::Kill => Number::KILL,
            Self::Stop => Number::STOP,
            Self::Cont => Number::CONT,
            Self::Term => Number::TERM,
            Self::Int => Number::INT,
            Self::Hup => Number::HUP,
            Self::Abrt => Number::ABORT,
            Self::Segv => Number::SEGV,
        }
    }

    /// Whether a process was killed by this signal.
    #[must_use]
    pub fn ended(self, how: crate::qemu::process::Ended) -> bool {
        how == crate::qemu::process::Ended::Signal(self.number().as_raw())
    }
}

impl StepAction for Signal {
    const EXAMPLE: &str = "{vm: NAME, send: KILL}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "send": "${2:KILL}"}"#);

    fn title(&self) -> String {
        format!("SIG{} to {}", self.send, listed(&self.vm))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.vm, &["vm"], Needs::Process)
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.vm {
            let machine = run.session.machine(vm)?;
            if let Some(ended) = machine.process.ended() {
                return Err(Failure::ended(format!("VM `{vm}` has already ended"), ended).about(vm));
            }
            if !matches!(self.send, SignalName::Stop | SignalName::Cont) {
                run.session.board().expect_exit(vm);
            }
            machine.process.signal(self.send.number());
        }
        Ok(Value::Null)
    }
}
