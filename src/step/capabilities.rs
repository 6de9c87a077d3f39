//! `capabilities`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::{Complaints, Named, Needs, Rule, Scene, StepAction, listed};
use crate::qemu::contains::contains;
use crate::session::Failure;
use crate::units::OneOrMany;

/// Sets migration capabilities with one `migrate-set-capabilities` (QAPI `MigrationCapability`), and reads them back: the
/// step fails if one does not have the state.
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
        let on = self.on.iter().map(|name| (name, true));
        let all = || on.clone().chain(self.off.iter().map(|name| (name, false)));
        let capabilities: Vec<Value> =
            all().map(|(name, state)| json!({"capability": name, "state": state})).collect();
        for vm in &self.vm {
            let machine = run.session.machine(vm)?;
            let arguments = json!({"capabilities": capabilities});
            machine.qmp("migrate-set-capabilities", arguments, false, run.deadline).await?;
            let actual = machine.query("query-migrate-capabilities", run.deadline).await?;
            let wrong = capabilities.iter().position(|one| !contains(&actual, &json!([one])));
            if let Some((name, state)) = wrong.and_then(|at| all().nth(at)) {
                let state = if state { "on" } else { "off" };
                let message = format!("capability {name} of `{vm}` was set to {state}, but is not {state}");
                return Err(Failure::failed(message));
            }
        }
        Ok(Value::Null)
    }
}
