//! `start` and `quit`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Complaints, Scene, listed};
use crate::units::OneOrMany;

/// Spawns VMs that have `start: false` (or that have exited) and connects to them, concurrently.
///
/// A VM or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Start(pub OneOrMany<String>);

impl Start {
    pub(super) fn title(&self) -> String {
        format!("start {}", listed(&self.0))
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vms(scene, &[], &self.0);
    }
}

/// Ends VMs by QMP `quit` and waits until each has exited with status 0.
///
/// A VM or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Quit(pub OneOrMany<String>);

impl Quit {
    pub(super) fn title(&self) -> String {
        format!("quit {}", listed(&self.0))
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vms(scene, &[], &self.0);
    }
}
