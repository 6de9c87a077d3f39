//! `capabilities`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::{Complaints, Named, Needs, Rule, Scene, StepAction, listed};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Sets migration capabilities with one `migrate-set-capabilities` (QAPI `MigrationCapability`).
///
/// `events` is always on: it is set once a VM is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// The VM or VMs.
    pub vm: OneOrMany<String>,
    /// The capabilities to turn on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The capabilities to turn off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
}

impl StepAction for Capabilities {
    const EXAMPLE: &str = "{vm: NAME, on: [events]}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "on": ["$2"]}"#);
    const RULES: &[Rule] = &[Rule::AtLeastOne {
        keys: &["on", "off"],
        none: ("no capability is named", "write `on: [x-colo]`, `off: […]` or both"),
    }];

    fn title(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.on.iter().map(|name| format!("+{name}")));
        words.extend(self.off.iter().map(|name| format!("-{name}")));
        format!("capabilities {} on {}", words.join(" "), listed(&self.vm))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.vm, &["vm"], Needs::Monitor)
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        for name in self.on.iter().filter(|name| self.off.contains(name)) {
            complaints.add(
                &["off"],
                format!("`{name}` is in `on` and in `off`"),
                "remove it from one of them",
            );
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let on = self.on.iter().map(|name| json!({"capability": name, "state": true}));
        let off = self.off.iter().map(|name| json!({"capability": name, "state": false}));
        let capabilities: Vec<Value> = on.chain(off).collect();
        for vm in &self.vm {
            let arguments = json!({"capabilities": capabilities});
            run.session.machine(vm)?.qmp("migrate-set-capabilities", arguments, false, run.deadline).await?;
        }
        Ok(Value::Null)
    }
}
