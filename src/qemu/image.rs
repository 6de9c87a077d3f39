//! A guest of the scenario's own: a disk image, or a kernel with its initial RAM disk.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Access;

/// The disk of a VM whose guest names an image file: the guest writes to it, not to the file. No disk of a scenario can
/// have this name.
pub const OVERLAY: &str = "@image";

/// A guest of one's own. A relative path is relative to the scenario file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its disk, the VM's first virtio disk (`virtio-blk`, before `devices`): the name of one of the `disks` of the VM or
    /// of the case, or the path of an image file, which contains a `.` or a `/`. A file is only read: the VM writes to an
    /// image of its own on top of it. For a migration with its disk, give source and destination the same disk of the
    /// case. Default: none; the VM has its disks in `blockdevs` and `devices`, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The path of a kernel image (`-kernel`). Default: none; the VM boots from a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// With `kernel`: the path of its initial RAM disk (`-initrd`). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// With `kernel`: its command line (`-append`), such as `console=ttyS0 root=/dev/vda1`. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    /// How the steps `guest`, `wait: {guest: …}` and `check: {guest: …}` get in. `agent`: QEMU's guest agent, which the
    /// image has to start; the VM gets a `virtio-serial` device with its port. `console`: a shell on the serial port,
    /// `{console: {user: …, password: …}}` after a login. `ssh`: the guest's SSH server, with a key made for the case, or
    /// `{ssh: {user: …, key: …, address: …}}`. Default: none; then these steps cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Where its disk is, once the session knows that.
    #[serde(skip)]
    pub drive: Option<Drive>,
}

/// A disk image of the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// Its format, a block driver.
    pub format: String,
    /// Its path.
    pub path: PathBuf,
}

impl Image {
    pub(super) fn checked(self) -> Result<Self, &'static str> {
        match &self {
            Self { kernel: None, initrd: Some(_), .. } => Err("`initrd` needs `kernel`; add it"),
            Self { kernel: None, append: Some(_), .. } => Err("`append` needs `kernel`; add it"),
            Self { disk: None, kernel: None, access: None, .. } => {
                Err("the image has no `disk`, `kernel` or `access`; add one, or write `guest: none`")
            }
            _ => Ok(self),
        }
    }
}
