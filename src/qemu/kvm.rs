//! The host's KVM features, queried from `/dev/kvm` (`Documentation/virt/kvm/api.rst` of Linux).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::LazyLock;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

const GET_API_VERSION: Opcode = opcode::none(0xae, 0x00);
const CREATE_VM: Opcode = opcode::none(0xae, 0x01);
const CHECK_EXTENSION: Opcode = opcode::none(0xae, 0x03);

/// The only version of the API.
const API_VERSION: i32 = 12;
/// `KVM_CAP_DIRTY_LOG_RING`: how many bytes the ring of a virtual CPU may have.
const DIRTY_LOG_RING: usize = 192;

/// A request with a number as argument and result.
struct Ask {
    request: Opcode,
    argument: usize,
}

// SAFETY: none of the requests above takes a pointer, so nothing is written to.
unsafe impl Ioctl for Ask {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.request
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.argument)
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(out)
    }
}

fn ask(file: &File, request: Opcode, argument: usize) -> io::Result<i32> {
    // SAFETY: see `Ask`.
    Ok(unsafe { ioctl(file.as_fd(), Ask { request, argument }) }?)
}

const DEVICE: &str = "/dev/kvm";

fn open(device: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device)
}

/// What KVM can do on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The host's architecture, as Rust names it.
    pub arch: String,
    /// Why KVM cannot be used; `None` if it works.
    pub trouble: Option<String>,
    /// Whether the CPU has hardware virtualization, which KVM on x86 can do without (`kvm_pvm`).
    pub virtualizes: bool,
}

impl Host {
    /// This host. Checked once.
    #[must_use]
    pub fn this() -> &'static Self {
        static THIS: LazyLock<Host> = LazyLock::new(|| {
            let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            Host::new(std::env::consts::ARCH, DEVICE, &cpuinfo)
        });
        &THIS
    }

    /// A host of this architecture, with this device and `/proc/cpuinfo`.
    fn new(arch: &str, device: &str, cpuinfo: &str) -> Self {
        let is_x86 = matches!(arch, "x86_64" | "x86");
        let virtualizes = !is_x86 || has_virtualization(cpuinfo);
        Self { arch: arch.to_owned(), trouble: trouble_of(device), virtualizes }
    }

    /// Why KVM cannot run guests of an architecture, as in `qemu-system-<arch>`; `None` if it can.
    #[must_use]
    pub fn trouble_with(&self, target: &str) -> Option<String> {
        let runs_it = match self.arch.as_str() {
            "x86_64" | "x86" => matches!(target, "x86_64" | "i386"),
            "aarch64" => matches!(target, "aarch64" | "arm"),
            "powerpc64" => target == "ppc64",
            arch => target == arch,
        };
        let other = || format!("KVM on {} does not run guests of {target}", self.arch);
        (!runs_it).then(other).or_else(|| self.trouble.clone())
    }
}

/// Why KVM cannot be used, by creating a virtual machine; `None` if it works.
fn trouble_of(device: &str) -> Option<String> {
    let kvm = match open(device) {
        Ok(kvm) => kvm,
        Err(error) => return Some(format!("cannot open {device} for reading and writing: {error}")),
    };
    match ask(&kvm, GET_API_VERSION, 0) {
        Ok(API_VERSION) => {}
        Ok(other) => return Some(format!("{device} has API version {other}")),
        Err(error) => return Some(format!("{device}: KVM_GET_API_VERSION failed: {error}")),
    }
    match ask(&kvm, CREATE_VM, 0) {
        Ok(made) => {
            // SAFETY: the kernel has just created this descriptor for us; nothing else refers to it.
            drop(unsafe { OwnedFd::from_raw_fd(made) });
            None
        }
        Err(error) => Some(format!("{device}: KVM_CREATE_VM failed: {error}")),
    }
}

/// Why KVM cannot be used on this host; `None` if it works.
#[must_use]
pub fn trouble() -> Option<&'static str> {
    Host::this().trouble.as_deref()
}

/// Whether the flags of a CPU in `/proc/cpuinfo` include hardware virtualization.
fn has_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

/// The maximum size of a virtual CPU's dirty ring in bytes; 0 if there is none.
#[must_use]
pub fn dirty_ring() -> u64 {
    let size = open(DEVICE).and_then(|kvm| ask(&kvm, CHECK_EXTENSION, DIRTY_LOG_RING));
    size.map_or(0, |size| u64::try_from(size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_kvm_is_reported_with_the_reason() {
        match trouble() {
            Some(reason) => assert!(reason.contains("/dev/kvm"), "{reason}"),
            None => assert!(open(DEVICE).is_ok()),
        }
    }

    #[test]
    fn a_device_that_is_not_kvm_is_not_accepted() {
        let why = Host::new("aarch64", "/dev/null", "").trouble.unwrap();
        assert!(why.starts_with("/dev/null: KVM_GET_API_VERSION failed: "), "{why}");
        let why = Host::new("aarch64", "/no/kvm", "").trouble.unwrap();
        assert!(why.starts_with("cannot open /no/kvm for reading and writing: "), "{why}");
    }

    #[test]
    fn kvm_runs_guests_of_the_hosts_own_architecture() {
        let names = ["x86_64", "i386", "aarch64", "s390x", "ppc64"];
        for (arch, own) in [
            ("x86_64", &names[..2]),
            ("aarch64", &names[2..3]),
            ("s390x", &names[3..4]),
            ("powerpc64", &names[4..]),
            ("riscv64", &[]),
        ] {
            let host = Host { arch: arch.to_owned(), trouble: None, virtualizes: true };
            let runs = names.into_iter().filter(|target| host.trouble_with(target).is_none());
            assert_eq!(runs.collect::<Vec<_>>(), own, "{arch}");
        }
        let broken = Host { trouble: Some("broken".to_owned()), ..Host::new("aarch64", "/dev/null", "") };
        assert_eq!(broken.trouble_with("aarch64").unwrap(), "broken");
        assert_eq!(broken.trouble_with("s390x").unwrap(), "KVM on aarch64 does not run guests of s390x");
    }

    #[test]
    fn only_an_x86_host_may_lack_virtualization() {
        let virtualizes = |arch, cpuinfo| Host::new(arch, "/dev/null", cpuinfo).virtualizes;
        assert!(!virtualizes("x86_64", "flags : fpu") && virtualizes("x86_64", "flags : svm"));
        assert!(virtualizes("aarch64", "") && virtualizes("s390x", ""));
    }

    #[test]
    fn virtualization_is_determined_by_a_cpu_flag_only() {
        assert!(has_virtualization("processor\t: 0\nflags\t\t: fpu vme svm sse\n"));
        assert!(has_virtualization("flags\t\t: fpu vmx\n"));
        assert!(!has_virtualization("flags\t\t: fpu hypervisor\nvmx flags\t: vnmi\n"));
        assert!(!has_virtualization(""));
    }
}
