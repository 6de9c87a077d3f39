//! `qmp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::running::Running;
use super::{Complaints, Scene, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Runs a QMP command; the step's result is the reply. An error of QEMU fails the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Qmp {
    /// The VM, or several, one after the other; with several the result is the last one's reply.
    pub vm: OneOrMany<String>,
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    /// Whether to run it out of band, past a main loop that hangs. Default: `false`.
    #[serde(default)]
    pub oob: bool,
}

impl Qmp {
    pub(super) fn title(&self) -> String {
        format!("{}: {}{}", listed(&self.vm), self.execute, if self.oob { " (out of band)" } else { "" })
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vms(scene, &["vm"], &self.vm);
        for vm in &self.vm {
            if self.oob && scene.vms.get(vm).is_some_and(|spec| spec.oob == Some(false)) {
                complaints.add(&["oob"], format!("VM `{vm}` has `oob: false`"), "leave `oob` out of the VM");
            }
        }
    }

    pub(super) async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let mut reply = Value::Null;
        for vm in &self.vm {
            match self.execute.as_str() {
                "quit" => run.session.board.expect_exit(vm),
                // Whoever cancels asks for a migration that ends.
                "migrate_cancel" | "migrate-cancel" => run.session.board.watch_migration(false),
                _ => {}
            }
            let arguments = Value::Object(self.arguments.clone());
            reply = run.session.machine(vm)?.qmp(&self.execute, arguments, self.oob, run.deadline).await?;
        }
        Ok(reply)
    }
}
