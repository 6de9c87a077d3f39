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

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm")
}

/// Why KVM cannot be used, by creating a virtual machine; `None` if it works. Checked once.
pub fn trouble() -> Option<&'static str> {
    static ANSWER: LazyLock<Option<String>> = LazyLock::new(|| {
        let kvm = match open() {
            Ok(kvm) => kvm,
            Err(error) => return Some(format!("cannot open /dev/kvm for reading and writing: {error}")),
        };
        match ask(&kvm, GET_API_VERSION, 0) {
            Ok(API_VERSION) => {}
            Ok(other) => return Some(format!("/dev/kvm has API version {other}")),
            Err(error) => return Some(format!("/dev/kvm: KVM_GET_API_VERSION failed: {error}")),
        }
        match ask(&kvm, CREATE_VM, 0) {
            Ok(made) => {
                // SAFETY: the kernel has just created this descriptor for us; nothing else refers to it.
                drop(unsafe { OwnedFd::from_raw_fd(made) });
                None
            }
            Err(error) => Some(format!("/dev/kvm: KVM_CREATE_VM failed: {error}")),
        }
    });
    ANSWER.as_deref()
}

/// Whether the CPU has hardware virtualization, which KVM on x86 can do without (`kvm_pvm`).
#[must_use]
pub fn virtualizes() -> bool {
    !cfg!(any(target_arch = "x86_64", target_arch = "x86"))
        || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| has_virtualization(&text))
}

/// Whether the flags of a CPU in `/proc/cpuinfo` include hardware virtualization.
fn has_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

/// The maximum size of a virtual CPU's dirty ring in bytes; 0 if there is none.
#[must_use]
pub fn dirty_ring() -> u64 {
    let size = open().and_then(|kvm| ask(&kvm, CHECK_EXTENSION, DIRTY_LOG_RING));
    size.map_or(0, |size| u64::try_from(size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_kvm_is_reported_with_the_reason() {
        match trouble() {
            Some(reason) => assert!(reason.starts_with("/dev/kvm "), "{reason}"),
            None => assert!(open().is_ok()),
        }
    }

    #[test]
    fn a_device_that_is_not_kvm_is_not_accepted() {
        let null = File::open("/dev/null").unwrap();
        assert!(ask(&null, GET_API_VERSION, 0).is_err());
    }

    #[test]
    fn virtualization_is_determined_by_a_cpu_flag_only() {
        assert!(has_virtualization("processor\t: 0\nflags\t\t: fpu vme svm sse\n"));
        assert!(has_virtualization("flags\t\t: fpu vmx\n"));
        assert!(!has_virtualization("flags\t\t: fpu hypervisor\nvmx flags\t: vnmi\n"));
        assert!(!has_virtualization(""));
    }
}
