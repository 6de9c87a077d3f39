//! `set`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Complaints, Scene, listed};

/// Puts values into `run.captures`, one per key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Set(pub Map<String, Value>);

impl Set {
    pub(super) fn title(&self) -> String {
        format!("set {}", listed(self.0.keys()))
    }

    pub(super) fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.0.is_empty() {
            complaints.add(&[], "nothing is set", "write `set: {name: value}`");
        }
    }
}
