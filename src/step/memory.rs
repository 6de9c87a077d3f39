//! `memory`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Named, Needs, Rule, Scene, StepAction};
use crate::guest::ticker::layout::Kind;
use crate::session::{Failure, Machine};
use crate::units::ByteCount;

/// Reads or writes guest RAM at a guest-physical address, through QEMU's qtest protocol (`docs/devel/testing/qtest`).
///
/// The number has the byte order of the architecture. The result of a read is the number.
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

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The guest-physical address, as a size (`1M`) or in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<ByteCount>,
    /// Instead of an address: the beginning of a page of the built-in guest, in the middle of the pages of this kind. See
    /// [the built-in guest](#the-built-in-guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Kind>,
    /// The width in bytes: 1, 2, 4 or 8. Default: 8.
    #[serde(default = "eight")]
    pub size: u8,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The guest-physical address, as a size (`1M`) or in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<ByteCount>,
    /// Instead of an address: the beginning of a page of the built-in guest, in the middle of the pages of this kind. See
    /// [the built-in guest](#the-built-in-guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Kind>,
    /// The width in bytes: 1, 2, 4 or 8. Default: 8.
    #[serde(default = "eight")]
    pub size: u8,
    /// The number, stored in the byte order of the architecture.
    pub value: u64,
}

const fn eight() -> u8 {
    8
}

impl StepAction for Memory {
    const EXAMPLE: &str = "{vm: NAME, read: {address: 1M}}";
    const RULES: &[Rule] = &[Rule::ExactlyOne {
        keys: &["read", "write"],
        none: ("the step reads and writes nothing", "add `read: {address: …}` or `write: …`"),
        both: "make it two steps",
    }];

    fn title(&self) -> String {
        match (&self.read, &self.write) {
            (Some(read), _) => format!("read memory of {} at {}", self.vm, at(read.address, read.page)),
            (_, Some(write)) => format!("write memory of {} at {}", self.vm, at(write.address, write.page)),
            (None, None) => format!("memory of {}", self.vm),
        }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.vm, &["vm"], Needs::Process)]
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        let places = [
            ("read", self.read.as_ref().map(|read| (read.address, read.page))),
            ("write", self.write.as_ref().map(|write| (write.address, write.page))),
        ];
        for (key, place) in places {
            match place {
                Some((None, None)) => {
                    complaints.add(&[key], "no address is given", "add `address: …`, or `page: live`");
                }
                Some((Some(_), Some(_))) => {
                    complaints.add(&[key, "page"], "`page` cannot be combined with `address`", "keep one");
                }
                Some((None, Some(_))) => {
                    complaints.built_in_guest(scene, &[key, "page"], "page", [&self.vm], "give an `address`");
                }
                _ => {}
            }
        }
        let widths =
            [("read", self.read.as_ref().map(|r| r.size)), ("write", self.write.as_ref().map(|w| w.size))];
        for (key, size) in widths {
            if size.is_some_and(|size| !matches!(size, 1 | 2 | 4 | 8)) {
                complaints.add(&[key, "size"], "the size must be 1, 2, 4 or 8 bytes", "");
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

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let machine = run.session.machine(&self.vm)?;
        let qtest = machine.qtest();
        if let Some(write) = &self.write {
            let address = address(&machine, write.address, write.page)?;
            let written = qtest.write(address, write.size, write.value, run.deadline);
            run.session.elsewhere(written).await?;
        }
        match &self.read {
            Some(read) => {
                let address = address(&machine, read.address, read.page)?;
                let read = qtest.read(address, read.size, run.deadline);
                Ok(run.session.elsewhere(read).await?.into())
            }
            None => Ok(Value::Null),
        }
    }
}

fn at(address: Option<ByteCount>, page: Option<Kind>) -> String {
    match (address, page) {
        (Some(address), _) => format!("{:#x}", address.0),
        (None, page) => format!("a page of the guest ({page:?})").to_lowercase(),
    }
}

/// The address, given directly or as a page of the built-in guest.
fn address(machine: &Machine, address: Option<ByteCount>, page: Option<Kind>) -> Result<u64, Failure> {
    let of_page = || page.and_then(|kind| machine.layout.as_ref()?.address(kind));
    address
        .map(|address| address.0)
        .or_else(of_page)
        .ok_or_else(|| Failure::error(format!("the guest of `{}` has no page of this kind", machine.name())))
}
