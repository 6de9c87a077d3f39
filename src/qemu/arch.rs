//! What differs from one architecture to another.

use super::accel::Accel;

/// An architecture that the built-in guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// PCs: `x86_64` and `i386`.
    X86,
    /// 64-bit Arm, the machine `virt`.
    Aarch64,
    /// z/Architecture, the machine `s390-ccw-virtio`.
    S390x,
    /// 64-bit PowerPC, big-endian, the machine `pseries`.
    Ppc64,
}

/// How QEMU gets the image of the built-in guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// As the machine's firmware.
    Bios,
    /// As an ELF file that is loaded to the addresses in it.
    Kernel,
}

impl Load {
    /// The option of QEMU's command line.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Bios => "-bios",
            Self::Kernel => "-kernel",
        }
    }
}

/// The names of the architectures, as in `qemu-system-<arch>`.
pub const NAMES: [&str; 5] = ["x86_64", "i386", "aarch64", "s390x", "ppc64"];

/// Features that TCG does not have, and that the machine `pseries` has by default: QEMU would warn of each.
const WITHOUT_MITIGATIONS: &str = "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";

impl Arch {
    /// The architecture with this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "x86_64" | "i386" => Self::X86,
            "aarch64" => Self::Aarch64,
            "s390x" => Self::S390x,
            "ppc64" => Self::Ppc64,
            _ => return None,
        })
    }

    /// The machine to run if the scenario names none or that one; `None`: as the scenario has it.
    #[must_use]
    pub fn machine(self, given: Option<&str>, accel: Accel) -> Option<String> {
        match (self, given) {
            (Self::Aarch64, None) => Some("virt".to_owned()),
            (Self::Ppc64, given)
                if accel == Accel::Tcg && given.is_none_or(|machine| machine.starts_with("pseries")) =>
            {
                // What the scenario sets goes last.
                let (machine, properties) = given.unwrap_or("pseries").split_once(',').map_or_else(
                    || (given.unwrap_or("pseries"), String::new()),
                    |(machine, properties)| (machine, format!(",{properties}")),
                );
                Some(format!("{machine},{WITHOUT_MITIGATIONS}{properties}"))
            }
            _ => None,
        }
    }

    /// How the image of the built-in guest is loaded.
    #[must_use]
    pub const fn load(self) -> Load {
        match self {
            Self::X86 | Self::Ppc64 => Load::Bios,
            Self::Aarch64 | Self::S390x => Load::Kernel,
        }
    }

    /// The address at which RAM begins.
    #[must_use]
    pub const fn ram_begin(self) -> u64 {
        match self {
            Self::Aarch64 => 1 << 30,
            Self::X86 | Self::S390x | Self::Ppc64 => 0,
        }
    }

    /// Whether the first byte of a number is its highest.
    #[must_use]
    pub const fn is_big_endian(self) -> bool {
        matches!(self, Self::S390x | Self::Ppc64)
    }

    /// A word of 32 bits in memory.
    #[must_use]
    pub const fn word(self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// The bytes of a word of 32 bits in memory.
    #[must_use]
    pub const fn bytes(self, word: u32) -> [u8; 4] {
        if self.is_big_endian() { word.to_be_bytes() } else { word.to_le_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_an_architecture_and_another_one_is_not() {
        assert!(NAMES.iter().all(|name| Arch::of(name).is_some()));
        assert_eq!(Arch::of("riscv64"), None);
    }

    #[test]
    fn a_machine_is_chosen_where_qemu_has_no_default_or_warns_of_it() {
        let tcg = |arch: Arch, given| arch.machine(given, Accel::Tcg).unwrap_or_default();
        assert_eq!(tcg(Arch::Aarch64, None), "virt");
        assert_eq!(tcg(Arch::Aarch64, Some("virt-10.0")), "");
        assert_eq!((tcg(Arch::X86, None), tcg(Arch::S390x, None)), (String::new(), String::new()));
        assert_eq!(tcg(Arch::Ppc64, None), format!("pseries,{WITHOUT_MITIGATIONS}"));
        let own = format!("pseries-10.0,{WITHOUT_MITIGATIONS},cap-ibs=fixed-ibs");
        assert_eq!(tcg(Arch::Ppc64, Some("pseries-10.0,cap-ibs=fixed-ibs")), own);
        assert_eq!(
            (tcg(Arch::Ppc64, Some("powernv")), Arch::Ppc64.machine(None, Accel::Kvm)),
            (String::new(), None)
        );
    }

    #[test]
    fn a_word_has_the_byte_order_of_the_architecture() {
        for (arch, bytes) in [(Arch::Aarch64, [4, 3, 2, 1]), (Arch::S390x, [1, 2, 3, 4])] {
            assert_eq!((arch.bytes(0x0102_0304), arch.word(bytes)), (bytes, 0x0102_0304));
        }
    }
}
