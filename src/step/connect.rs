//! `connect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Scene, listed};
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

impl Connect {
    pub(super) fn title(&self) -> String {
        format!("connect to {}", listed(&self.0))
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vms(scene, &[], &self.0);
    }

    pub(super) async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.0 {
            run.session.connect(vm, run.deadline).await?;
        }
        Ok(Value::Null)
    }
}
