//! `record`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, brief, listed, number};
use crate::session::Failure;
use crate::session::metric::Metric;
use crate::session::metrics::METRICS;

/// Records numbers as metrics of the case: `{NAME: NUMBER}`. They are in all reports, `compare` compares them, and
/// `check: {metric: NAME}` checks them.
///
/// A name has letters, digits and `_`, and is not one of Lockstep's own [metrics](#metrics). A metric that is recorded
/// several times has each value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The unit of the numbers, such as `s` or `MiB/s`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The VM that they belong to. Default: the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// The numbers.
    #[serde(flatten)]
    pub values: Map<String, Value>,
}

impl StepAction for Record {
    const EXAMPLE: &str = "{NAME: NUMBER}";

    fn title(&self) -> String {
        format!("record {}", listed(self.values.keys()))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        self.vm.iter_mut().map(|vm| Named::one(vm, &["vm"], Needs::Logs)).collect()
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.values.is_empty() {
            complaints.add(&[], "no metric is named", "write `record: {NAME: NUMBER}`");
        }
        for (name, value) in &self.values {
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                let message = format!("`{name}` is not a valid name of a metric");
                complaints.add(&[name], message, "use letters, digits and `_`, with a letter first");
            } else if METRICS.iter().any(|(own, _)| own == name) {
                complaints.add(&[name], format!("`{name}` is one of Lockstep's metrics"), "use another name");
            }
            complaints.number(&[name], value);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        for (name, value) in &self.values {
            let wrong = || Failure::failed(format!("`{}` is not a number", brief(value)));
            let value = number(value).ok_or_else(wrong)?;
            run.session.record(Metric {
                name: Cow::Owned(name.clone()),
                value,
                unit: Cow::Owned(self.unit.clone().unwrap_or_default()),
                vm: self.vm.clone(),
                spread: None,
            });
        }
        Ok(Value::Object(self.values.clone()))
    }
}
