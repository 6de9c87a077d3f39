//! `parameters`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, brief, listed};
use crate::qemu::contains::contains;
use crate::session::Failure;
use crate::units::OneOrMany;

/// Sets migration parameters with one `migrate-set-parameters` (QAPI `MigrateSetParameters`, which has the units), and
/// reads them back: the step fails if a parameter does not have the value.
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
            complaints.add(&["set"], "`set` is empty", "write `set: {x-checkpoint-delay: 300}`");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for vm in &self.vm {
            let machine = run.session.machine(vm)?;
            let arguments = Value::Object(self.set.clone());
            machine.qmp("migrate-set-parameters", arguments, false, run.deadline).await?;
            let actual = machine.query("query-migrate-parameters", run.deadline).await?;
            for (name, expected) in &self.set {
                // Null means the default, which QEMU reports as an empty string or not at all.
                let found = actual.get(name);
                if !expected.is_null() && !found.is_some_and(|found| contains(found, expected)) {
                    let found = found.map_or_else(|| "not reported".to_owned(), ToString::to_string);
                    let message = format!("parameter {name} of `{vm}` was set to {expected}, but is {found}");
                    return Err(Failure::failed(message));
                }
            }
        }
        Ok(Value::Null)
    }
}
