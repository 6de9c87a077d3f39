//! What each action says of itself, as data and code, in its own file.

use serde_json::Value;

use super::running::Running;
use super::{Complaints, Rule, Scene};
use crate::session::Failure;
use crate::units::OneOrMany;

/// An action: its data is the type that has this.
pub(super) trait StepAction {
    /// The action's value as an author writes it, for a message and for the reference.
    const EXAMPLE: &str;
    /// What an editor writes below the action's key, as JSON with placeholders. `None`: nothing.
    const SNIPPET: Option<&str> = None;
    /// Which keys go together. `check` and the JSON Schema hold a scenario to them.
    const RULES: &[Rule] = &[];

    /// One line on what it does.
    fn title(&self) -> String;

    /// Every VM that it names. Unknown names, the binding of roles and the order of steps are checked with them.
    fn vms(&mut self) -> Vec<Named<'_>> {
        Vec::new()
    }

    /// What can be known to be wrong before anything is started, beside the names of VMs and the rules.
    fn check(&self, _: &Scene<'_>, _: &mut Complaints) {}

    /// Does it, and gives the step's result.
    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure>;
}

/// A VM that an action names.
#[derive(Debug)]
pub struct Named<'a> {
    /// The name: a VM or a role.
    pub vm: &'a mut String,
    /// The keys that lead to it, from the action's value on.
    pub path: Vec<&'a str>,
    /// What of the VM the action needs.
    pub needs: Needs,
    /// Whether a role is replaced by its VM before the action runs.
    pub is_bound: bool,
}

/// What an action needs of a VM; each has what stands before it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// What it has logged, which outlives it.
    Logs,
    /// That it is alive.
    Process,
    /// That the runner is connected to its monitor.
    Monitor,
}

impl<'a> Named<'a> {
    /// Each VM of a list.
    pub(super) fn all(vms: &'a mut OneOrMany<String>, path: &[&'a str], needs: Needs) -> Vec<Self> {
        vms.0.iter_mut().map(|vm| Named::one(vm, path, needs)).collect()
    }

    /// One VM.
    pub(super) fn one(vm: &'a mut String, path: &[&'a str], needs: Needs) -> Self {
        Named { vm, path: path.to_vec(), needs, is_bound: true }
    }
}
