//! `connect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Named, Needs, StepAction, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Waits for the greeting of a VM's monitor and negotiates: of one that was started with `connect: false`, or of the QEMU
/// that has taken its place since (`execve` in the migration mode `cpr-exec`).
///
/// A VM or a list. The channels are the same as ever: monitor, serial port and qtest are sockets that the process has
/// inherited and that outlast an `execve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Connect(pub OneOrMany<String>);

impl StepAction for Connect {
    const EXAMPLE: &str = "NAME";

    fn title(&self) -> String {
        format!("connect to {}", listed(&self.0))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.0, &[], Needs::Process)
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.0 {
            run.session.connect(vm, run.deadline).await?;
        }
        Ok(Value::Null)
    }
}
