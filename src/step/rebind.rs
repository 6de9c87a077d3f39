//! `rebind`, and the replacement of roles by VMs in an action.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::running::Running;
use super::{About, Action, Complaints, Named, Needs, Scene, StepAction, known};
use crate::session::Failure;

/// Assigns roles to other VMs from now on: `{primary: secondary, secondary: third}`.
///
/// A value is a VM or a role. All of them are looked up before any is changed, so two roles can be swapped. The result has
/// the VM of each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rebind(
    #[schemars(with = "std::collections::BTreeMap<String, String>")] pub IndexMap<String, String>,
);

impl StepAction for Rebind {
    const EXAMPLE: &str = "{ROLE: VM}";

    fn title(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(role, vm)| format!("{role} = {vm}")).collect();
        format!("rebind {}", parts.join(", "))
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if self.0.is_empty() {
            complaints.add(&[], "no role is named", "write `rebind: {ROLE: VM}`");
        }
        for role in self.0.keys() {
            if !scene.roles.contains_key(role) {
                let help = match scene.roles.is_empty() {
                    true => format!("declare it at the top of the file: `roles: {{{role}: VM}}`"),
                    false => known(role, scene.roles.keys()),
                };
                complaints.add_about(About::Name, &[role], format!("there is no role `{role}`"), help);
            }
        }
    }

    /// The step looks up the names itself, all at once.
    fn vms(&mut self) -> Vec<Named<'_>> {
        let unbound =
            |(role, vm)| Named { is_bound: false, ..Named::one(vm, &[String::as_str(role)], Needs::Logs) };
        self.0.iter_mut().map(unbound).collect()
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let roles = run.session.roles();
        let bound: Vec<(String, String)> =
            self.0.iter().map(|(role, vm)| (role.clone(), actual(&roles, vm).to_owned())).collect();
        run.session.bind(bound);
        let roles = run.session.roles();
        Ok(Value::Object(roles.iter().map(|(role, vm)| (role.clone(), json!(vm))).collect::<Map<_, _>>()))
    }
}

/// The VM of a role, or else the name itself.
#[must_use]
pub fn actual<'n>(roles: &'n IndexMap<String, String>, name: &'n str) -> &'n str {
    roles.get(name).map_or(name, String::as_str)
}

impl Action {
    /// The action with each role replaced by its VM.
    #[must_use]
    pub fn bound(&self, roles: &IndexMap<String, String>) -> Self {
        let mut action = self.clone();
        if !roles.is_empty() {
            for named in action.vms().into_iter().filter(|named| named.is_bound) {
                if let Some(vm) = roles.get(named.vm) {
                    named.vm.clone_from(vm);
                }
            }
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_replaced_by_its_vm_in_every_field() {
        let roles: IndexMap<String, String> =
            [("primary".to_owned(), "a".to_owned()), ("secondary".to_owned(), "b".to_owned())].into();
        let bound = |key: &str, value: Value| {
            let action = Action::read(key, &value).unwrap().bound(&roles);
            serde_json::to_value(action).unwrap()[key].take()
        };
        let wait = bound("wait", json!({"vm": ["primary", "c"], "ticks": 1}));
        assert_eq!(wait["vm"], json!(["a", "c"]));
        let migrate = bound("migrate", json!({"from": "primary", "to": "secondary"}));
        assert_eq!((&migrate["from"], &migrate["to"]), (&json!("a"), &json!("b")));
        let check = bound("check", json!({"stderr": {"vm": "secondary", "allow": []}}));
        assert_eq!(check["stderr"]["vm"], "b");
        assert_eq!(bound("start", json!("secondary")), "b");
    }
}
