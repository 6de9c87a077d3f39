//! `agent`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent;
use crate::qemu::access::Access;
use crate::session::Failure;
use crate::step::running::Running;
use crate::step::{About, Complaints, Named, Needs, Scene, StepAction};

/// Runs a command of QEMU's guest agent itself, such as `guest-fsfreeze-freeze`, in the guest of a VM that has `access: agent`.
/// The step's result is the reply. An error from the agent fails the step.
///
/// The step fails if the guest moves before the agent has replied. A command without a reply, such as `guest-shutdown`, cannot
/// be used; `guest` runs `poweroff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The VM that has the guest, or a role.
    pub vm: String,
    /// The command's name (the agent's QAPI schema; `guest-info` lists the commands).
    pub execute: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
}

impl StepAction for Agent {
    const EXAMPLE: &str = "{vm: NAME, execute: guest-info}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "execute": "$2"}"#);

    fn title(&self) -> String {
        format!("{}: {} by the guest agent", self.vm, self.execute)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.vm, &["vm"], Needs::Process)]
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if self.execute.trim().is_empty() {
            complaints.add(&["execute"], "the command is empty", "write a command such as `guest-info`");
        }
        let lacks = |spec: &crate::qemu::spec::VmSpec| spec.guest.access() != Some(&Access::Agent);
        if scene.vms.get(&self.vm).is_some_and(lacks) {
            let message = format!("VM `{}` has no guest agent", self.vm);
            let help = "give it `guest: {linux: {access: agent}}`, or `guest: {image: {…, access: agent}}`";
            complaints.add_about(About::Vm, &["vm"], message, help);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        agent::execute(run, &self.vm, &self.execute, &Value::Object(self.arguments.clone())).await
    }
}
