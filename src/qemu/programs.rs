//! The programs that come with a QEMU.

use std::path::{Path, PathBuf};

use super::binary::find;

/// Their names: those that `scripts/fetch-qemu` provides next to the QEMU.
const PROGRAMS: [&str; 4] = ["qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon"];

/// The name that creates and reads disk images.
pub const QEMU_IMG: &str = PROGRAMS[0];

/// Whether a program comes with QEMU.
#[must_use]
pub fn comes_with_qemu(name: &str) -> bool {
    PROGRAMS.contains(&name)
}

/// The program for a QEMU: the one next to it, else the one in `PATH`.
#[must_use]
pub fn program(binary: &Path, name: &str) -> PathBuf {
    let beside = binary.with_file_name(name);
    if beside.exists() { beside } else { PathBuf::from(name) }
}

/// Whether there is such a program for a QEMU.
#[must_use]
pub fn is_there(binary: &Path, name: &str) -> bool {
    binary.with_file_name(name).exists() || find(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_next_to_its_qemu_or_in_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let (qemu, beside) = (directory.path().join("qemu"), directory.path().join("qemu-nbd"));
        std::fs::write(&beside, "").unwrap();
        assert_eq!(program(&qemu, "qemu-nbd"), beside);
        assert!(is_there(&qemu, "qemu-nbd"));
        assert_eq!(program(&qemu, "sh"), Path::new("sh"));
        assert!(is_there(&qemu, "sh") && !is_there(&qemu, "qemu-no-such-program"));
    }
}
