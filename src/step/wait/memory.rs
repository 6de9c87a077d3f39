//! `wait: {memory: …}`: a number in guest RAM.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Memory;
use super::watch::{OfVm, Watch};
use crate::session::Failure;
use crate::step::{Complaints, Rule};
use crate::units::ByteCount;

/// A number in guest RAM, little endian, and its expected value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The guest-physical address, as a size (`1M`) or in bytes.
    pub address: ByteCount,
    /// The width in bytes: 1, 2, 4 or 8. Default: 8.
    #[serde(default = "eight")]
    pub size: u8,
    /// The expected number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<u64>,
    /// `true`: a different number from the one at the beginning of the step. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changes: bool,
}

const fn eight() -> u8 {
    8
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the memory at {:#x} ", self.address.0)?;
        match self.equals {
            Some(number) => write!(f, "to be {number:#x}"),
            None => f.write_str("to change"),
        }
    }
}

impl Watched {
    pub(crate) const RULES: &[Rule] = &[Rule::ExactlyOne {
        keys: &["equals", "changes"],
        none: ("the wait has no condition for the memory", "add `equals: NUMBER` or `changes: true`"),
        both: "keep one",
    }];

    pub(super) fn check(&self, complaints: &mut Complaints) {
        complaints.rules_at(&["memory"], Self::RULES, self);
        if !matches!(self.size, 1 | 2 | 4 | 8) {
            complaints.add(&["memory", "size"], "the size must be 1, 2, 4 or 8 bytes", "");
        } else if let Some(number) = self.equals
            && self.size < 8
            && number >> (u32::from(self.size) * 8) != 0
        {
            let plural = if self.size == 1 { "" } else { "s" };
            let message = format!("{number} does not fit into {} byte{plural}", self.size);
            complaints.add(&["memory", "equals"], message, "");
        }
    }
}

impl OfVm for Memory {
    async fn wait(&self, Watch { run, vm, awaited, .. }: Watch<'_>) -> Result<Value, Failure> {
        let Watched { address, size, equals, changes } = self.memory;
        let machine = run.session.machine(vm)?;
        let qtest = machine.qtest();
        let read = || async move { Ok(qtest.read(address.0, size, run.patience()).await?) };
        let mut first = None;
        let judge = |number: &u64| {
            let before = *first.get_or_insert(*number);
            let is_met = equals.map_or(*number != before, |expected| *number == expected);
            Ok(is_met.then(|| Value::from(*number)))
        };
        let seen = |number: &u64| format!("{number:#x}{}", if changes { " all along" } else { "" });
        run.repeat(read, awaited, judge, seen).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(value: Value) -> Vec<String> {
        let mut found = Complaints::default();
        serde_json::from_value::<Watched>(value).unwrap().check(&mut found);
        found
            .0
            .into_iter()
            .map(|complaint| format!("{}: {}", complaint.path.join("."), complaint.message))
            .collect()
    }

    #[test]
    fn a_wait_for_memory_expects_a_number_or_a_change() {
        assert_eq!(complaints(json!({"address": "1M", "changes": true})), [""; 0]);
        assert_eq!(complaints(json!({"address": "1M", "size": 1, "equals": 255})), [""; 0]);
        assert_eq!(
            complaints(json!({"address": "1M"})),
            ["memory: the wait has no condition for the memory"]
        );
        assert!(
            complaints(json!({"address": 0, "equals": 1, "changes": true}))[0].contains("cannot be combined")
        );
        assert_eq!(
            complaints(json!({"address": 0, "size": 1, "equals": 256})),
            ["memory.equals: 256 does not fit into 1 byte"]
        );
        assert_eq!(
            complaints(json!({"address": 0, "size": 3, "changes": true}))[0],
            "memory.size: the size must be 1, 2, 4 or 8 bytes"
        );
    }
}
