//! `memory`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Scene};
use crate::session::Failure;
use crate::units::Size;

/// Reads or writes guest RAM at a guest-physical address, through QEMU's qtest protocol (`docs/devel/testing/qtest`).
///
/// The result of a read is the number, little endian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The VM.
    pub vm: String,
    /// Reads a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// Writes a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Write>,
}

/// Where to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The guest-physical address, as a size (`1M`) or in bytes.
    pub address: Size,
    /// The width in bytes: 1, 2, 4 or 8. Default: 8.
    #[serde(default = "eight")]
    pub size: u8,
}

/// Where and what to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The guest-physical address, as a size (`1M`) or in bytes.
    pub address: Size,
    /// The width in bytes: 1, 2, 4 or 8. Default: 8.
    #[serde(default = "eight")]
    pub size: u8,
    /// The number, stored little endian.
    pub value: u64,
}

const fn eight() -> u8 {
    8
}

impl Memory {
    pub(super) fn title(&self) -> String {
        match (&self.read, &self.write) {
            (Some(read), _) => format!("read memory of {} at {:#x}", self.vm, read.address.0),
            (_, Some(write)) => format!("write memory of {} at {:#x}", self.vm, write.address.0),
            (None, None) => format!("memory of {}", self.vm),
        }
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vm(scene, &["vm"], &self.vm);
        match (&self.read, &self.write) {
            (None, None) => {
                complaints.add(&[], "nothing is read or written", "add `read: {address: …}` or `write: …`")
            }
            (Some(_), Some(_)) => {
                complaints.add(&["write"], "a step reads or writes, not both", "make it two steps")
            }
            _ => {}
        }
        let widths =
            [("read", self.read.as_ref().map(|r| r.size)), ("write", self.write.as_ref().map(|w| w.size))];
        for (key, size) in widths {
            if size.is_some_and(|size| !matches!(size, 1 | 2 | 4 | 8)) {
                complaints.add(&[key, "size"], "a width is 1, 2, 4 or 8 bytes", "");
            }
        }
        if let Some(write) = &self.write
            && write.size < 8
            && write.value >> (u32::from(write.size) * 8) != 0
        {
            let plural = if write.size == 1 { "" } else { "s" };
            let message = format!("{} does not fit into {} byte{plural}", write.value, write.size);
            complaints.add(&["write", "value"], message, "");
        }
    }

    pub(super) async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let qtest = run.session.machine(&self.vm)?.qtest();
        if let Some(write) = &self.write {
            qtest.write(write.address.0, write.size, write.value, run.deadline).await?;
        }
        match &self.read {
            Some(read) => Ok(qtest.read(read.address.0, read.size, run.deadline).await?.into()),
            None => Ok(Value::Null),
        }
    }
}
