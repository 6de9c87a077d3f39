//! `needs`: what a case takes of the machine.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::units::Size;

/// What a case takes of the machine, for `-j auto`. What is not given is estimated from the VMs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// How many CPUs the case keeps busy, such as `2` or `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "cpus")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cpus: Option<f64>,
    /// How much memory the case uses, its QEMUs and processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let cpus = Option::<f64>::deserialize(deserializer)?;
    match cpus.filter(|cpus| !(*cpus > 0.0 && cpus.is_finite())) {
        None => Ok(cpus),
        Some(wrong) => Err(D::Error::custom(format!(
            "a case cannot keep {wrong} CPUs busy; write a number above 0, such as `2` or `0.5`"
        ))),
    }
}
