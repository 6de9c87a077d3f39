//! The names that QEMU knows: commands, events, capabilities and so on.

use std::sync::Arc;

use super::names::Kind;
use crate::qemu::binary::Binary;
use crate::runner::Binaries;

/// The names that a QEMU knows.
#[derive(Default)]
pub(super) struct QemuNames {
    binary: Option<Arc<Binary>>,
}

/// The names to offer if no QEMU is given, or it cannot be asked.
const BUILT_IN: &[(Kind, &[&str])] = &[];

/// The QEMU without a name, else the first one; `None` if it cannot be asked.
pub(super) fn asked(binaries: &Binaries) -> Option<Arc<Binary>> {
    let name = binaries.names().find(|name| *name == "default").or_else(|| binaries.names().next())?;
    binaries.get(name, "x86_64").ok()
}

impl QemuNames {
    pub(super) fn of_binary(binary: Arc<Binary>) -> Self {
        Self { binary: Some(binary) }
    }

    /// The names of a kind; none if QEMU has no say in it.
    pub(super) fn of(&self, kind: Kind) -> Vec<String> {
        self.binary.as_ref().map_or_else(|| built_in(kind), |binary| of_binary(binary, kind))
    }
}

fn built_in(kind: Kind) -> Vec<String> {
    let own = BUILT_IN.iter().filter(|(of, _)| *of == kind);
    own.flat_map(|(_, names)| *names).map(|name| (*name).to_owned()).collect()
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
        _ => return Vec::new(),
    };
    set.iter().cloned().collect()
}
