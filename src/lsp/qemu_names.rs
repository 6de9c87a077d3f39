//! The names that QEMU knows: commands, events, capabilities and so on.

use std::sync::Arc;

use super::names::Kind;
use crate::qemu::binary::Binary;
use crate::qemu::releases;
use crate::runner::Binaries;

/// The names that a QEMU knows.
#[derive(Default)]
pub(super) struct QemuNames {
    binary: Option<Arc<Binary>>,
}

/// The QEMU without a name, else the first one; `None` if it cannot be asked.
pub(super) fn asked(binaries: &Binaries) -> Option<Arc<Binary>> {
    let name = binaries.names().find(|name| *name == "default").or_else(|| binaries.names().next())?;
    binaries.get(name, "x86_64").ok()
}

impl QemuNames {
    pub(super) fn of_binary(binary: Arc<Binary>) -> Self {
        Self { binary: Some(binary) }
    }

    /// The names of a kind; none if QEMU has no say in it. Without a QEMU, or until it has been asked, those of the newest
    /// release that is known.
    pub(super) fn of(&self, kind: Kind) -> Vec<String> {
        let binary = self.binary.as_ref().or_else(|| releases::all().last());
        binary.map(|binary| of_binary(binary, kind)).unwrap_or_default()
    }
}

fn of_binary(binary: &Binary, kind: Kind) -> Vec<String> {
    let set = match kind {
        Kind::Command => &binary.commands,
        Kind::Event => return binary.schema.events().map(str::to_owned).collect(),
        Kind::Capability => &binary.capabilities,
        Kind::Parameter => &binary.parameters,
        Kind::Machine => &binary.machines,
        Kind::Device => &binary.devices,
        Kind::Object => &binary.objects,
        Kind::BlockDriver => &binary.block_drivers,
        Kind::TraceEvent => &binary.trace_events,
        _ => return Vec::new(),
    };
    set.iter().cloned().collect()
}
