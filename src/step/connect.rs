//! `connect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Named, Needs, StepAction, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Waits for the greeting of a VM's monitor and negotiates capabilities: for a VM that was started with `connect: false`, or
/// for the QEMU that replaced it (`execve` in the migration mode `cpr-exec`).
///
/// A VM or a list. The channels do not change: monitor, serial port and qtest are sockets that the process inherited and
/// that are kept across `execve`.
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
