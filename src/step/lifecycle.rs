//! `start` and `quit`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Exit, Named, Needs, StepAction, listed};
use crate::qemu::process::Ended;
use crate::session::Failure;
use crate::units::OneOrMany;

/// Starts VMs that have `start: false` (or that have exited) and connects to them, concurrently.
///
/// A VM that loads a state at its start (an `incoming` other than `defer`) can exit at any moment if that fails. Its exit never
/// fails this step: the next step can expect it (`wait: {exit: …}`), otherwise it fails that step.
///
/// Values of the run in the VM's specification are read when it is started. So one that boots the first time can be a
/// destination the next time: `set` changes the value between the starts.
///
/// A VM or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Start(pub OneOrMany<String>);

impl StepAction for Start {
    const EXAMPLE: &str = "NAME";

    fn title(&self) -> String {
        format!("start {}", listed(&self.0))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.0, &[], Needs::Logs)
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        run.session.start(&self.0.0, run.deadline).await?;
        Ok(Value::Null)
    }
}

/// Ends VMs with QMP `quit` and waits until each has exited with status 0.
///
/// A VM or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Quit(pub OneOrMany<String>);

impl StepAction for Quit {
    const EXAMPLE: &str = "NAME";

    fn title(&self) -> String {
        format!("quit {}", listed(&self.0))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.0, &[], Needs::Monitor)
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.0 {
            let machine = run.session.machine(vm)?;
            run.session.board().expect_exit(vm);
            machine.query("quit", run.deadline).await?;
            let gone = tokio::time::timeout_at(run.deadline, machine.gone());
            let ended = run.session.elsewhere(gone).await;
            match ended {
                Ok(Ended::Status(0)) => {}
                Ok(ended) => {
                    let what = format!("VM `{vm}` after `quit`");
                    return Err(Exit::Status(0).mismatch(what, ended, String::new()).about(vm));
                }
                Err(_) => {
                    return Err(Failure::late(format!("VM `{vm}` did not exit after `quit`")).about(vm));
                }
            }
        }
        Ok(Value::Null)
    }
}
