//! `parameters`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, brief, listed};
use crate::qemu::contains::contains;
use crate::session::Failure;
use crate::units::OneOrMany;

/// Sets migration parameters in one `migrate-set-parameters` (QAPI `MigrateSetParameters`, whose units apply), and
/// reads them back: a parameter that did not take the value fails the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// The VM or VMs.
    pub vm: OneOrMany<String>,
    /// The parameters and their values.
    pub set: Map<String, Value>,
}

impl StepAction for Parameters {
    const EXAMPLE: &str = "{vm: NAME, set: {max-bandwidth: 0}}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "set": {"$2": "$3"}}"#);

    fn title(&self) -> String {
        let set: Vec<_> = self.set.iter().map(|(name, value)| format!("{name}={}", brief(value))).collect();
        format!("parameters {} on {}", set.join(" "), listed(&self.vm))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.vm, &["vm"], Needs::Monitor)
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.set.is_empty() {
            complaints.add(&["set"], "no parameter is named", "write `set: {x-checkpoint-delay: 300}`");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.vm {
            let machine = run.session.machine(vm)?;
            let arguments = Value::Object(self.set.clone());
            machine.qmp("migrate-set-parameters", arguments, false, run.deadline).await?;
            let now = machine.query("query-migrate-parameters", run.deadline).await?;
            for (name, wanted) in &self.set {
                // A null means the default, which QEMU shows as an empty text or not at all.
                let found = now.get(name).filter(|_| !wanted.is_null());
                if let Some(found) = found.filter(|found| !contains(found, wanted)) {
                    let message = format!("parameter {name} of `{vm}` was set to {wanted} and is {found}");
                    return Err(Failure::failed(message));
                }
            }
        }
        Ok(Value::Null)
    }
}
