//! How to start a VM.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::attach_socket;
use crate::guest::ticker::Layout;
use crate::guest::ticker::layout::Ram;
use crate::qemu::access::Access;
use crate::qemu::arch::Arch;
use crate::qemu::argv::{Channels, Surroundings, command_line};
use crate::qemu::binary::Binary;
use crate::qemu::spec::{Accel, Guest, VmSpec};

/// How to start a VM.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its specification.
    pub spec: VmSpec,
    /// The QEMU it runs.
    pub binary: Arc<Binary>,
    /// The selected accelerator.
    pub accel: Accel,
    /// If it is not KVM although it could have been: why.
    pub without_kvm: Option<String>,
    /// Whether it gets a second monitor for interactive use, as a socket in the case's directory.
    pub attachable: bool,
    /// The descriptors that it inherits besides its channels.
    pub inherit: Vec<Arc<OwnedFd>>,
}

impl Plan {
    /// The plan of a VM that has one monitor, and inherits nothing besides its channels.
    #[must_use]
    pub fn new(name: &str, spec: VmSpec, binary: Arc<Binary>, accel: Accel) -> Self {
        let (name, without_kvm, inherit) = (name.to_owned(), None, Vec::new());
        Self { name, spec, binary, accel, without_kvm, attachable: false, inherit }
    }

    /// Whether the guest runs QEMU's guest agent.
    pub(super) fn has_agent(&self) -> bool {
        self.spec.guest.access() == Some(&Access::Agent)
    }

    /// The architecture, if the built-in guest runs on it.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        Arch::of(&self.binary.arch)
    }

    /// The memory layout of the built-in guest, if it runs that.
    pub(super) fn layout(&self, draw: u32) -> Option<Layout> {
        match &self.spec.guest {
            Guest::Ticker(ticker) => Some(Layout::new(ticker, Ram::of(&self.spec, self.arch()?), draw)),
            _ => None,
        }
    }

    /// The command line of its process.
    pub(super) fn command_line(
        &self,
        channels: Channels,
        image: Option<&Path>,
        directory: &Path,
    ) -> Vec<String> {
        let (binary, arch, name) = (&self.binary.path, self.arch(), &self.name);
        let around = Surroundings { binary, arch, name, accel: self.accel, image, channels };
        let mut argv = command_line(&self.spec, &around);
        if self.attachable {
            let socket = directory.join(attach_socket(name));
            argv.extend(["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())]);
        }
        argv
    }

    /// The environment of its process.
    pub(super) fn environment(&self, directory: &Path) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> =
            self.spec.env.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        // Where `snapshot=on` stores the guest's writes.
        env.entry("TMPDIR".to_owned()).or_insert_with(|| directory.display().to_string());
        env
    }
}
