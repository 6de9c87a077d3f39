//! `witness`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, listed};
use crate::session::{Failure, witness};
use crate::units::OneOrMany;

/// Sends the built-in guest of a VM a unique number, and waits until the guest reports it.
///
/// A VM or a list. The guest keeps the number in a register and in pages of RAM. After a migration or a completed checkpoint
/// the other side must have it (`check: {progress: kept}` checks that). A number sent after the last completed checkpoint
/// must not be there, and one sent only to the secondary is lost with the next checkpoint. `migrate` automatically sends
/// the source's guest a number. The result is the number of the last VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Witness(pub OneOrMany<String>);

impl StepAction for Witness {
    const EXAMPLE: &str = "NAME";

    fn title(&self) -> String {
        format!("send {} a number", listed(&self.0))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        Named::all(&mut self.0, &[], Needs::Process)
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.built_in_guest(scene, &[], "witness", &self.0, "give it `guest: ticker`");
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let mut number = 0;
        for vm in &self.0 {
            number = witness::give(run.session, vm, run.deadline).await?;
        }
        Ok(json!(number))
    }
}
