//! The interface of an action.

use serde_json::Value;

use super::running::Running;
use super::{Complaints, Rule, Scene};
use crate::session::Failure;
use crate::units::OneOrMany;

/// An action. The type that implements this holds its data.
pub(super) trait StepAction {
    /// An example of the action's value, for messages and the reference.
    const EXAMPLE: &str;
    /// What an editor inserts below the action's key, as JSON with placeholders.
    const SNIPPET: Option<&str> = None;
    /// The rules about its keys, for `check` and the JSON Schema.
    const RULES: &[Rule] = &[];

    /// A one-line description.
    fn title(&self) -> String;

    /// Every VM that it names, to check names and the order of steps, and to bind roles.
    fn vms(&mut self) -> Vec<Named<'_>> {
        Vec::new()
    }

    /// Checks it before anything is started; the VMs' names and the rules are checked elsewhere.
    fn check(&self, _: &Scene<'_>, _: &mut Complaints) {}

    /// Runs it and returns the step's result.
    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure>;
}

/// A VM that an action names.
#[derive(Debug)]
pub(super) struct Named<'a> {
    /// The name: a VM or a role.
    pub vm: &'a mut String,
    /// The path to it within the action's value.
    pub path: Vec<&'a str>,
    /// What the action needs of the VM.
    pub needs: Needs,
    /// Whether a role is replaced by its VM before the action runs.
    pub is_bound: bool,
}

/// A VM that an action names, apart from the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmName {
    /// The name: a VM or a role.
    pub vm: String,
    /// The path to it within the action's value.
    pub path: Vec<String>,
    /// What the action needs of the VM.
    pub needs: Needs,
}

impl From<Named<'_>> for VmName {
    fn from(named: Named<'_>) -> Self {
        let path = named.path.into_iter().map(str::to_owned).collect();
        Self { vm: named.vm.clone(), path, needs: named.needs }
    }
}

/// What an action needs of a VM. Each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Its logs, which are kept after it has exited.
    Logs,
    /// A running process.
    Process,
    /// A connection to its monitor.
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
