//! `set`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::running::Running;
use super::{Complaints, Scene, StepAction, listed};
use crate::session::Failure;

/// Sets values in `run.captures`, one per key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Set(pub Map<String, Value>);

impl StepAction for Set {
    const EXAMPLE: &str = "{NAME: …}";

    fn title(&self) -> String {
        format!("set {}", listed(self.0.keys()))
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.0.is_empty() {
            complaints.add(&[], "`set` is empty", "write `set: {name: value}`");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        run.session.capture(self.0.clone());
        Ok(Value::Object(self.0.clone()))
    }
}
