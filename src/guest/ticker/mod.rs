//! The built-in workload: its images, its output, its memory contents.
//!
//! The program itself is in `guests/ticker`. On each pass it compares pages all over its RAM, and devices, with a
//! count and a number that it keeps in registers, reports differences, and increments the count.

pub mod layout;
pub mod line;
pub mod memory;

pub use layout::Layout;
pub use line::Line;

use crate::qemu::arch::Arch;
use crate::qemu::spec::{Accel, Boot, Ticker};

/// The images: for `-bios` on x86, the boot sector with the program after it, and those of the other architectures.
const FIRMWARE: &[u8] = include_bytes!("../../../guests/ticker/firmware.bin");
const DISK: &[u8] = include_bytes!("../../../guests/ticker/bootsect.bin");
const AARCH64: &[u8] = include_bytes!("../../../guests/ticker/aarch64.elf");
const S390X: &[u8] = include_bytes!("../../../guests/ticker/s390x.elf");
const PPC64: &[u8] = include_bytes!("../../../guests/ticker/ppc64.bin");
/// The marker before the parameters, once in each image.
const MAGIC: &[u8; 8] = b"LKSTTICK";

/// The bits of the program's flags.
const SELF_PATCHING: u32 = 1;
const SUSPEND: u32 = 2;
const EXITS: u32 = 4;
const EMULATED: u32 = 8;
const CLEARS: u32 = 16;

/// The duration of a pass under emulation, in nanoseconds: devices and time, plus each page. (Few pages fit into
/// QEMU's TLB.)
const PASS: u64 = 30_000;
const PAGE_OF_FEW: u64 = 25;
const PAGE_OF_MANY: u64 = 80;
const FEW: u64 = 200;
/// The target duration of the passes of one tick, in nanoseconds.
const TICK: u64 = 8_000_000;

/// The number of passes per tick: from the scenario, or chosen so that a line comes every few milliseconds under
/// emulation.
#[must_use]
pub fn passes(ticker: &Ticker, layout: &Layout) -> u32 {
    let pages = layout.extents.iter().map(|extent| extent.pages).sum::<u64>();
    let pass = PASS + pages * if pages <= FEW { PAGE_OF_FEW } else { PAGE_OF_MANY };
    ticker.passes.unwrap_or_else(|| u32::try_from(TICK / pass).unwrap_or(1).max(1))
}

/// The image to boot, with the scenario's parameters.
#[must_use]
pub fn image(ticker: &Ticker, layout: &Layout, accel: Accel) -> Vec<u8> {
    let mut image = match (layout.arch, ticker.boot) {
        (Arch::X86, Boot::Firmware) => FIRMWARE,
        (Arch::X86, Boot::Disk) => DISK,
        (Arch::Aarch64, _) => AARCH64,
        (Arch::S390x, _) => S390X,
        (Arch::Ppc64, _) => PPC64,
    }
    .to_vec();
    // Under KVM the cycle counter may run on while the VM is stopped.
    let flags = [
        (SELF_PATCHING, ticker.self_patching),
        (SUSPEND, ticker.suspend),
        (EXITS, ticker.exits),
        (EMULATED, accel == Accel::Tcg),
        // The firmware leaves RAM as the machine initialized it, and as the program left it after a reset. A real
        // BIOS does not, and a device tree is in RAM.
        (CLEARS, ticker.boot == Boot::Disk || layout.arch != Arch::X86),
    ];
    let flags = flags.iter().filter(|(_, is_on)| *is_on).fold(0, |flags, (bit, _)| flags | bit);
    let count = u32::try_from(layout.extents.len()).unwrap_or(u32::MAX);
    let mut words = vec![passes(ticker, layout), layout.draw, flags, count];
    for extent in &layout.extents {
        // 16 TiB of pages fit into 32 bits; the scenario check rejects larger VMs.
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        words.extend([number(extent.page), number(extent.pages), extent.kind as u32]);
    }
    let block =
        image.windows(MAGIC.len()).position(|window| window == MAGIC).map_or(0, |at| at + MAGIC.len());
    for (number, word) in words.into_iter().enumerate() {
        image[block + number * 4..][..4].copy_from_slice(&layout.arch.bytes(word));
    }
    image
}

#[cfg(test)]
mod tests {
    use super::layout::Ram;
    use super::*;
    use crate::units::Size;

    fn layout(ticker: &Ticker) -> Layout {
        layout_of(Arch::X86, ticker)
    }

    fn layout_of(arch: Arch, ticker: &Ticker) -> Layout {
        Layout::new(ticker, Ram { arch, low: 0x1_0000, high: 0 }, 9)
    }

    fn word(image: &[u8], number: usize) -> u32 {
        let at = image.windows(8).position(|window| window == MAGIC).unwrap() + 8 + number * 4;
        u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn both_images_have_the_parameters_of_the_scenario() {
        for (boot, flags) in [(Boot::Firmware, 13), (Boot::Disk, 29)] {
            let ticker =
                Ticker { boot, passes: Some(7), self_patching: true, exits: true, ..Ticker::default() };
            let layout = layout(&ticker);
            let image = image(&ticker, &layout, Accel::Tcg);
            let count = layout.extents.len();
            assert_eq!([0, 1, 2, 3].map(|at| word(&image, at)), [7, 9, flags, count as u32], "{boot:?}");
            let last = layout.extents[count - 1];
            assert_eq!(
                [0, 1, 2].map(|at| word(&image, 4 + (count - 1) * 3 + at)),
                [last.page as u32, last.pages as u32, last.kind as u32]
            );
            assert_eq!(image.windows(8).filter(|window| window == MAGIC).count(), 1);
        }
    }

    #[test]
    fn the_parameters_have_the_byte_order_of_the_architecture() {
        for arch in [Arch::Aarch64, Arch::S390x, Arch::Ppc64] {
            let ticker = Ticker { passes: Some(7), ..Ticker::default() };
            let image = image(&ticker, &layout_of(arch, &ticker), Accel::Tcg);
            let at = image.windows(8).position(|window| window == MAGIC).unwrap() + 8;
            let word = |number: usize| arch.word(image[at + number * 4..][..4].try_into().unwrap());
            assert_eq!([0, 1, 2].map(word), [7, 9, 24], "{arch:?}");
            assert_eq!(image.windows(8).filter(|window| window == MAGIC).count(), 1);
        }
    }

    #[test]
    fn the_cycle_counter_is_compared_with_the_clock_if_both_stop_with_the_machine() {
        let ticker = Ticker { suspend: true, ..Ticker::default() };
        let flags = |accel| word(&image(&ticker, &layout(&ticker), accel), 2);
        assert_eq!((flags(Accel::Tcg), flags(Accel::Kvm)), (10, 2));
    }

    #[test]
    fn a_larger_working_set_has_fewer_passes_per_tick() {
        let passes = |dirty| {
            let ticker = Ticker { dirty, ..Ticker::default() };
            passes(&ticker, &layout(&ticker))
        };
        assert_eq!((passes(Size::mib(4)), passes(Size::mib(100)), passes(Size::mib(200))), (66, 3, 1));
    }
}
