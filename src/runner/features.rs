//! Probes of host features.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Updater, ioctl, opcode};
use rustix::mm::UserfaultfdFlags;

use crate::qemu::kvm;
use crate::scenario::model::HostFeature;

/// The smallest useful dirty ring (`-accel kvm,dirty-ring-size=4096`).
const DIRTY_RING: u64 = 4096;

/// The size of the O_DIRECT test write: enough for every block size.
const BLOCK: usize = 1 << 20;

/// The lockable memory needed to migrate a small guest over RDMA, in bytes.
const LOCKED: u64 = 128 << 20;

/// Why the host does not offer a feature; `None` if it does. Test files go to `directory`.
#[must_use]
pub(super) fn missing(feature: HostFeature, directory: &Path) -> Option<String> {
    let tell = |what: &str, why: String| Some(format!("needs {what}: {why}"));
    match feature {
        HostFeature::Kvm => kvm::trouble().and_then(|why| tell("KVM", why.to_owned())),
        HostFeature::KvmVirtualization => {
            let why = kvm::trouble().or_else(|| {
                (!kvm::Host::this().virtualizes)
                    .then_some("neither `vmx` nor `svm` is among the CPU's flags in /proc/cpuinfo")
            });
            why.and_then(|why| tell("KVM with the CPU's virtualization", why.to_owned()))
        }
        HostFeature::KvmDirtyRing => {
            let ring = kvm::dirty_ring();
            let why = kvm::trouble().map(str::to_owned);
            let why = why.or_else(|| {
                (ring < DIRTY_RING).then(|| format!("/dev/kvm offers {ring} bytes, not {DIRTY_RING}"))
            });
            why.and_then(|why| tell("KVM with a dirty ring", why))
        }
        HostFeature::Userfaultfd => {
            userfaultfd(0).err().and_then(|error| tell("userfaultfd", error.to_string()))
        }
        HostFeature::UserfaultfdThreadId => userfaultfd(THREAD_ID)
            .err()
            .and_then(|error| tell("userfaultfd with thread numbers", error.to_string())),
        HostFeature::NetAdmin => {
            (!has_net_admin()).then(|| "needs CAP_NET_ADMIN, which this user does not have".to_owned())
        }
        HostFeature::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
        HostFeature::DirectIo => direct_io(directory).err().and_then(|error| {
            tell("files that can be written with O_DIRECT", format!("{}: {error}", directory.display()))
        }),
        HostFeature::Shm => {
            let made = tempfile::tempfile_in("/dev/shm");
            made.err().and_then(|error| tell("shared memory", format!("/dev/shm: {error}")))
        }
        HostFeature::DevFull => {
            let written = OpenOptions::new().write(true).open("/dev/full").map(|file| file.write_at(b"x", 0));
            match written {
                Ok(Err(error)) if error.kind() == io::ErrorKind::StorageFull => None,
                Ok(other) => tell("/dev/full", format!("writing to it gave {other:?}")),
                Err(error) => tell("/dev/full", error.to_string()),
            }
        }
        HostFeature::Rdma => rdma().err().and_then(|why| tell("RDMA", why)),
        HostFeature::Python3 => {
            let quiet = |command: &mut Command| {
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
            };
            match quiet(Command::new("python3").args(["-c", ""])) {
                Ok(status) if status.success() => None,
                Ok(status) => tell("python3", format!("it ended with {status}")),
                Err(error) => tell("python3", error.to_string()),
            }
        }
    }
}

/// An RDMA device with an active port, and permission to lock a guest's RAM in memory.
fn rdma() -> Result<(), String> {
    let states = glob::glob("/sys/class/infiniband/*/ports/*/state").into_iter().flatten().flatten();
    let states: Vec<String> = states.filter_map(|state| std::fs::read_to_string(state).ok()).collect();
    if states.is_empty() {
        return Err("no device in /sys/class/infiniband".to_owned());
    }
    // As in `4: ACTIVE`.
    if !states.iter().any(|state| state.contains("ACTIVE")) {
        return Err("no active port in /sys/class/infiniband".to_owned());
    }
    let lockable = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    match lockable {
        Some(bytes) if bytes < LOCKED && !rustix::process::geteuid().is_root() => {
            Err(format!("only {bytes} bytes of memory may be locked (RLIMIT_MEMLOCK)"))
        }
        _ => Ok(()),
    }
}

/// Bit 12 of the effective capabilities (`capabilities(7)`).
fn has_net_admin() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << 12) != 0)
}

/// Writes a block with O_DIRECT, at an offset, into an unnamed file.
fn direct_io(directory: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits();
    let probe = tempfile::Builder::new().prefix("probe-direct").tempfile_in(directory)?;
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(probe.path())?;
    // Memory and offset must be aligned to the device's block size.
    let memory = vec![0_u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    file.write_all_at(&memory[start..start + BLOCK], BLOCK as u64)
}

/// `UFFDIO_API` (`ioctl_userfaultfd(2)`).
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

const API: u64 = 0xaa;
const UFFDIO_API: Opcode = opcode::read_write::<Api>(0xaa, 0x3f);
/// `USERFAULTFD_IOC_NEW` of `/dev/userfaultfd`.
const NEW: Opcode = opcode::none(0xaa, 0x00);
/// `UFFD_FEATURE_THREAD_ID`, which `postcopy-blocktime` needs.
const THREAD_ID: u64 = 1 << 8;
/// The requests `UFFDIO_REGISTER` and `UFFDIO_UNREGISTER`.
const REGISTRATION: u64 = 0b11;

/// Opens a userfaultfd as QEMU does for postcopy and negotiates the API with the kernel.
fn userfaultfd(features: u64) -> io::Result<()> {
    let ask = |features: u64| -> io::Result<Api> {
        let descriptor = open_userfaultfd()?;
        let mut api = Api { api: API, features, ioctls: 0 };
        // SAFETY: the number and the structure are those of `ioctl_userfaultfd(2)`.
        unsafe { ioctl(descriptor.as_fd(), Updater::<UFFDIO_API, Api>::new(&mut api)) }?;
        Ok(api)
    };
    // With no feature requested, the kernel reports all that it supports.
    let there = ask(0)?;
    if there.ioctls & REGISTRATION != REGISTRATION {
        return Err(io::Error::other("the kernel cannot register memory with it"));
    }
    if there.features & features != features {
        return Err(io::Error::other("the kernel does not offer it"));
    }
    Ok(())
}

struct Open;

// SAFETY: the request's argument is a number, the flags of the new descriptor.
unsafe impl Ioctl for Open {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        NEW
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(UserfaultfdFlags::CLOEXEC.bits() as usize)
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: the kernel has just created this descriptor for us; nothing else refers to it.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

fn open_userfaultfd() -> io::Result<OwnedFd> {
    if let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/userfaultfd") {
        // SAFETY: see `Open`.
        return Ok(unsafe { ioctl(device.as_fd(), Open) }?);
    }
    // SAFETY: nothing is registered with the descriptor, so it never handles any of our memory.
    Ok(unsafe { rustix::mm::userfaultfd(UserfaultfdFlags::CLOEXEC) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_tried_out_where_the_case_has_its_own() {
        let gone = missing(HostFeature::DirectIo, Path::new("/no/such/folder")).unwrap();
        assert!(
            gone.starts_with("needs files that can be written with O_DIRECT: /no/such/folder: "),
            "{gone}"
        );
        let directory = tempfile::tempdir().unwrap();
        let _ = missing(HostFeature::DirectIo, directory.path());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_device_that_is_always_full_is_one() {
        assert_eq!(missing(HostFeature::DevFull, Path::new("/")), None);
    }

    #[test]
    fn what_userfaultfd_cannot_do_is_told() {
        if missing(HostFeature::Userfaultfd, Path::new("/")).is_none() {
            assert!(userfaultfd(1 << 63).unwrap_err().to_string().contains("does not offer"));
        }
    }
}
