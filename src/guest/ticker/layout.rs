//! The memory layout of the built-in guest, and the contents of each word.
//!
//! The values are those of `guests/ticker/ticker.c`.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::qemu::arch::Arch;
use crate::qemu::spec::{Ticker, VmSpec};
use crate::random::Random;

/// A page, in bytes.
pub const PAGE: u64 = 4096;
/// The words of a page.
pub const WORDS: u32 = 1024;
/// The maximum number of extents in the program.
pub const MAX_EXTENTS: usize = 192;

/// The pages of low memory that hold the program, its data, its stack and its page tables.
const PROGRAM: Range<u64> = 0x22..0x3f;
/// Where a PC has ROM and devices.
const LEGACY: Range<u64> = 0xa0..0x100;
/// The same on other architectures: the program is in the first MiB of RAM, with what QEMU puts there.
const FIRST_MIB: Range<u64> = 0..0x100;
/// Where QEMU puts the device tree of a `pseries`: 2 MiB below the end of RAM, or below 2 GiB if that is lower. It is there
/// when the VM starts, even if that waits for a migration.
const TREE_BELOW: u64 = 0x200;
const TREE_PAGES: u64 = 16;
const TWO_GIB: u64 = 0x8_0000;
/// Pages reserved for markers of the scenario, from the beginning of RAM on: at 0x70000, at 0x410000 and at 24 MiB.
const FREE: [Range<u64>; 3] = [0x70..0x71, 0x410..0x411, 0x1800..0x1810];
/// The first page for randomly placed pages: 1 MiB.
const DRAWN_FROM: u64 = 0x100;
/// The number of parts of RAM among which pages are distributed.
const PARTS: u64 = 24;
/// The number of pages that hold the witness.
const WITNESS_PAGES: u64 = 32;
/// The number of pages checked in each further block of RAM.
const BLOCK_PAGES: u64 = 16;
const FOUR_GIB: u64 = 0x10_0000;

/// The purpose of a page of the built-in guest. The numbers are those in the program's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its words change on each pass.
    Live = 0,
    /// Written once, when the guest starts.
    Still = 1,
    /// Written when the guest receives a number.
    Witness = 2,
    /// Live, and zero while the number of passes is even.
    ZeroEven = 3,
    /// Live, and zero while the number of passes is odd.
    ZeroOdd = 4,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Live,
            1 => Self::Still,
            2 => Self::Witness,
            3 => Self::ZeroEven,
            4 => Self::ZeroOdd,
            _ => return None,
        })
    }

    /// Whether a page of this kind is zero after that many passes.
    #[must_use]
    pub const fn is_zero(self, passes: u32) -> bool {
        match self {
            Self::ZeroEven => passes.is_multiple_of(2),
            Self::ZeroOdd => !passes.is_multiple_of(2),
            _ => false,
        }
    }
}

/// The part of a word's value that depends on its position.
#[must_use]
pub const fn mix(page: u64, word: u32) -> u32 {
    let x = (page as u32).wrapping_mul(WORDS).wrapping_add(word).wrapping_add(1).wrapping_mul(0x9e37_79b1);
    x ^ (x >> 15)
}

/// The content of a word of a live page after that many passes.
#[must_use]
pub const fn live_value(kind: Kind, page: u64, word: u32, passes: u32) -> u32 {
    if kind.is_zero(passes) { 0 } else { passes.wrapping_add(mix(page, word)) }
}

/// Consecutive pages of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first page's number: its address / 4096.
    pub page: u64,
    /// The number of pages.
    pub pages: u64,
    /// [`Kind::Live`], [`Kind::Still`] or [`Kind::Witness`].
    pub kind: Kind,
}

/// The memory layout of one VM's guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In ascending order.
    pub extents: Vec<Extent>,
    /// Selects the word of each page that is checked besides the first and the last.
    pub draw: u32,
    /// The architecture: its byte order.
    pub arch: Arch,
}

/// The number of RAM pages of a VM, below and above the hole that ends at 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ram {
    /// Where RAM begins, and which pages of it have another use.
    pub arch: Arch,
    /// From the beginning of RAM on.
    pub low: u64,
    /// From 4 GiB on; 0 where RAM has no hole.
    pub high: u64,
}

impl Ram {
    /// The RAM of a VM; that of a PC is divided by `pc` and `q35` (hw/i386/pc_piix.c, pc_q35.c: max_ram_below_4g).
    #[must_use]
    pub fn of(spec: &VmSpec, arch: Arch) -> Self {
        let pages = spec.memory.size().0 / PAGE;
        if arch != Arch::X86 {
            return Self { arch, low: pages, high: 0 };
        }
        let is_q35 = spec.machine_type().is_some_and(|machine| machine.contains("q35"));
        let (most, rest) = if is_q35 { (0xb_0000, 0x8_0000) } else { (0xe_0000, 0xc_0000) };
        let low = if pages < most { pages } else { rest };
        Self { arch, low, high: pages - low }
    }

    /// The first page.
    const fn begin(self) -> u64 {
        self.arch.ram_begin() / PAGE
    }

    fn ranges(self) -> Vec<Range<u64>> {
        let mut ranges = vec![self.begin()..self.begin() + self.low, FOUR_GIB..FOUR_GIB + self.high];
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// The pages that the program and the machine use.
    fn used(self) -> Vec<Range<u64>> {
        let tree = self.low.min(TWO_GIB).saturating_sub(TREE_BELOW);
        self.placed(match self.arch {
            Arch::X86 => vec![PROGRAM, LEGACY],
            Arch::Aarch64 | Arch::S390x => vec![FIRST_MIB],
            Arch::Ppc64 => vec![FIRST_MIB, tree..tree + TREE_PAGES],
        })
    }

    /// These pages, counted from the beginning of RAM.
    fn placed(self, pages: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
        pages.into_iter().map(|range| self.begin() + range.start..self.begin() + range.end).collect()
    }
}

impl Layout {
    /// Distributes the guest's pages over the RAM of a VM: the ends of RAM and both sides of each power of two, and
    /// other pages selected by `draw`. VMs with the same draw and the same RAM have the same layout.
    #[must_use]
    pub fn new(ticker: &Ticker, ram: Ram, draw: u32) -> Self {
        let live = ticker.dirty.0 / PAGE;
        let mut edges = edges(ram);
        edges.truncate(usize::try_from(live).unwrap_or(usize::MAX));
        let mut taken: Vec<Range<u64>> = edges.iter().map(|page| *page..page + 1).collect();
        taken.extend(ram.used());
        taken.extend(ram.placed(FREE.into_iter().chain(std::iter::once(0..DRAWN_FROM))));
        let free = without(&ram.ranges(), taken);
        let mut extents: Vec<Extent> =
            edges.iter().map(|page| Extent { page: *page, pages: 1, kind: Kind::Live }).collect();
        let rest = live - edges.len() as u64;
        let mut random = Random::new("layout", u64::from(draw));
        extents.extend(drawn(&free, [rest, ticker.still.0 / PAGE, WITNESS_PAGES], &mut random));
        for block in &ticker.blocks {
            let (first, pages) = (block.address.0 / PAGE, block.size.0 / PAGE);
            let live = Extent { page: first, pages: 2.min(pages), kind: Kind::Live };
            extents.push(live);
            let last = Extent { page: first + pages - 1, pages: 1, kind: Kind::Live };
            let inner = vec![first + 2..(first + pages - 1).max(first + 2), 0..0];
            extents.extend(drawn(&inner, [BLOCK_PAGES, BLOCK_PAGES, BLOCK_PAGES], &mut random));
            extents.extend((pages > 2).then_some(last));
        }
        Self { extents: joined(extents), draw, arch: ram.arch }
    }

    /// The word between the first and the last that is checked in this page.
    #[must_use]
    pub const fn middle(&self, page: u64) -> u32 {
        let x = (page as u32).wrapping_add(self.draw).wrapping_mul(0x85eb_ca6b);
        1 + (((x >> 16) * (WORDS - 2)) >> 16)
    }

    /// The words of a page that are checked on each pass, in that order.
    #[must_use]
    pub const fn words(&self, page: u64) -> [u32; 3] {
        [0, self.middle(page), WORDS - 1]
    }

    /// The content of a word of a still page.
    #[must_use]
    pub fn still_value(&self, page: u64, word: u32) -> u32 {
        if self.words(page).contains(&word) {
            return mix(page, word);
        }
        let x = mix(page, word >> 2);
        let phrase = u64::from((x >> 20) & 0xff);
        mix(phrase, if x & 8 != 0 { word & 3 } else { (x >> 4) & 3 }) & 0x3f3f_3f3f
    }

    /// Every page with its kind, in the order in which the guest checks them.
    pub fn pages(&self) -> impl Iterator<Item = (u64, Kind)> + '_ {
        let pages = self.extents.iter().flat_map(|extent| {
            (extent.page..extent.page + extent.pages).map(move |page| (page, extent.kind))
        });
        pages.scan(0_u64, |live, (page, kind)| {
            if kind != Kind::Live {
                return Some((page, kind));
            }
            let index = *live % 8;
            *live += 1;
            Some((
                page,
                [Kind::Live, Kind::ZeroEven, Kind::ZeroOdd]
                    [usize::from(index == 1) + 2 * usize::from(index == 5)],
            ))
        })
    }

    /// The address of the page in the middle of those of this kind.
    #[must_use]
    pub fn address(&self, kind: Kind) -> Option<u64> {
        let pages: Vec<u64> = self.pages().filter(|(_, own)| *own == kind).map(|(page, _)| page).collect();
        pages.get(pages.len() / 2).map(|page| page * PAGE)
    }

    /// The number of pages of this kind; zero pages count as live.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.extents.iter().filter(|extent| extent.kind == kind).map(|extent| extent.pages).sum()
    }
}

/// The pages that are always checked, the most significant first: the ends of each range of RAM, both sides of each
/// power of two, and the first 64 KiB from 1 MiB on.
fn edges(ram: Ram) -> Vec<u64> {
    let (begin, used, ram) = (ram.begin(), ram.used(), ram.ranges());
    let mut pages = Vec::new();
    pages.extend(ram.iter().rev().map(|range| range.end - 1));
    pages.push(begin + DRAWN_FROM);
    pages.extend(ram.iter().skip(1).map(|range| range.start));
    let end = ram.last().map_or(0, |range| range.end);
    let powers = (0..40).rev().map(|power| begin + (1 << power));
    pages.extend(powers.filter(|page| *page < end).flat_map(|page| [page, page - 1]));
    pages.push(begin);
    pages.extend(begin + DRAWN_FROM..begin + DRAWN_FROM + 16);
    let is_in = |ranges: &[Range<u64>], page: &u64| ranges.iter().any(|range| range.contains(page));
    let is_ram = |page: &u64| is_in(&ram, page) && !is_in(&used, page);
    let mut seen = std::collections::BTreeSet::new();
    pages.retain(|page| is_ram(page) && seen.insert(*page));
    pages
}

/// The ranges without the taken ones.
fn without(ranges: &[Range<u64>], mut taken: Vec<Range<u64>>) -> Vec<Range<u64>> {
    taken.sort_by_key(|range| range.start);
    let mut left = Vec::new();
    for range in ranges {
        let mut from = range.start;
        for gap in &taken {
            if gap.start > from && gap.start < range.end {
                left.push(from..gap.start);
            }
            from = from.max(gap.end);
        }
        if from < range.end {
            left.push(from..range.end);
        }
    }
    left
}

/// Selects this many live, still and witness pages, a share of each from each part of the free ranges.
fn drawn(free: &[Range<u64>], wanted: [u64; 3], random: &mut Random) -> Vec<Extent> {
    let total: u64 = free.iter().map(|range| range.end - range.start).sum();
    let mut left = wanted;
    let mut extents = Vec::new();
    for part in 0..PARTS {
        let parts_left = PARTS - part;
        let (begin, end) = (total * part / PARTS, total * (part + 1) / PARTS);
        let shares = left.map(|pages| pages.div_ceil(parts_left));
        let mut spare = (end - begin).saturating_sub(shares.iter().sum());
        let (mut at, first) = (begin, random.below(3));
        for turn in 0..3 {
            let which = usize::try_from((first + turn) % 3).unwrap_or(0);
            let gap = random.below(spare + 1);
            spare -= gap;
            at += gap;
            let pages = shares[which].min(end - at);
            left[which] -= pages;
            extents.extend(placed(free, at, pages, [Kind::Live, Kind::Still, Kind::Witness][which]));
            at += pages;
        }
    }
    extents
}

/// This many pages, starting with this one of the free pages.
fn placed(free: &[Range<u64>], from: u64, pages: u64, kind: Kind) -> Vec<Extent> {
    let (mut skip, mut left) = (from, pages);
    let mut extents = Vec::new();
    for range in free {
        let length = range.end - range.start;
        if skip >= length {
            skip -= length;
            continue;
        }
        let here = left.min(length - skip);
        if here > 0 {
            extents.push(Extent { page: range.start + skip, pages: here, kind });
        }
        (skip, left) = (0, left - here);
    }
    extents
}

/// Sorted, with adjacent extents of one kind merged.
fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_by_key(|extent| extent.page);
    let mut all: Vec<Extent> = Vec::new();
    for extent in extents {
        match all.last_mut() {
            Some(last) if last.kind == extent.kind && last.page + last.pages == extent.page => {
                last.pages += extent.pages;
            }
            _ => all.push(extent),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(memory: &str, machine: &str) -> VmSpec {
        serde_json::from_value(json!({"memory": memory, "machine": machine})).unwrap()
    }

    fn layout(memory: &str, dirty: &str, draw: u32) -> Layout {
        let ticker: Ticker = serde_json::from_value(json!({ "dirty": dirty })).unwrap();
        Layout::new(&ticker, Ram::of(&spec(memory, "q35"), Arch::X86), draw)
    }

    #[test]
    fn ram_has_a_hole_below_four_gib() {
        let ram = |memory, machine| {
            let Ram { low, high, .. } = Ram::of(&spec(memory, machine), Arch::X86);
            (low, high)
        };
        assert_eq!(ram("64M", "q35"), (0x4000, 0));
        assert_eq!(ram("3G", "q35"), (0x8_0000, 0x4_0000));
        assert_eq!(ram("3G", "pc"), (0xc_0000, 0));
        assert_eq!(ram("4G", "pc"), (0xc_0000, 0x4_0000));
    }

    #[test]
    fn pages_at_the_ends_of_ram_and_at_powers_of_two_are_always_included() {
        for (memory, edges) in [
            ("64M", vec![0, 0xff_f000, 0x100_0000, 0x1ff_f000, 0x200_0000, 0x3ff_f000]),
            ("6G", vec![0x7fff_f000, 0x1_0000_0000, 0x1_ffff_f000]),
        ] {
            let pages: Vec<u64> = layout(memory, "4M", 5).pages().map(|(page, _)| page * PAGE).collect();
            for address in edges {
                assert!(pages.contains(&address), "{memory}: {address:#x}");
            }
        }
    }

    #[test]
    fn the_requested_number_of_pages_without_duplicates_or_reserved_pages() {
        for (memory, dirty, draw) in
            [("8M", "64K", 1), ("64M", "4M", 2), ("128M", "100M", 3), ("4G", "16M", 4), ("32M", "1M", 5)]
        {
            let layout = layout(memory, dirty, draw);
            let ticker: Ticker = serde_json::from_value(json!({ "dirty": dirty })).unwrap();
            assert_eq!(layout.count(Kind::Live), ticker.dirty.0 / PAGE, "{memory} {dirty}");
            assert_eq!(layout.count(Kind::Still), 64);
            assert_eq!(layout.count(Kind::Witness), WITNESS_PAGES);
            assert!(layout.extents.len() <= MAX_EXTENTS, "{memory} {dirty}: {}", layout.extents.len());
            let pages: Vec<u64> = layout.pages().map(|(page, _)| page).collect();
            assert!(pages.windows(2).all(|pair| pair[0] < pair[1]), "{memory} {dirty}");
            let ram = Ram::of(&spec(memory, "q35"), Arch::X86).ranges();
            for page in pages {
                assert!(ram.iter().any(|range| range.contains(&page)), "{memory}: {page:#x}");
                let taken = [PROGRAM, LEGACY].into_iter().chain(FREE).any(|range| range.contains(&page));
                assert!(!taken, "{memory}: {page:#x}");
            }
        }
    }

    #[test]
    fn no_page_is_where_qemu_puts_the_device_tree_of_a_pseries() {
        let ticker: Ticker = serde_json::from_value(json!({ "dirty": "240M" })).unwrap();
        let tree = |arch| {
            let layout = Layout::new(&ticker, Ram::of(&spec("256M", "x"), arch), 3);
            layout.pages().filter(|(page, _)| (0xfe00..0xfe10).contains(page)).count()
        };
        // On the others nearly all of RAM has pages.
        assert_eq!((tree(Arch::Ppc64), tree(Arch::S390x)), (0, 16));
    }

    #[test]
    fn ram_begins_at_one_gib_on_aarch64_and_the_first_mib_is_the_program() {
        for (arch, begin) in [(Arch::Aarch64, 1 << 30), (Arch::S390x, 0), (Arch::Ppc64, 0)] {
            let layout = Layout::new(&Ticker::default(), Ram::of(&spec("256M", "x"), arch), 3);
            let pages: Vec<u64> = layout.pages().map(|(page, _)| page * PAGE).collect();
            let (first, last) = (begin + (1 << 20), begin + (255 << 20) + 0xf_f000);
            assert_eq!((pages[0], pages[pages.len() - 1]), (first, last), "{arch:?}");
            assert_eq!(layout.count(Kind::Live), 1024);
            assert!(!pages.contains(&(begin + 0x41_0000)), "{arch:?}");
        }
    }

    #[test]
    fn another_draw_selects_other_pages_and_words() {
        let (one, other) = (layout("64M", "4M", 1), layout("64M", "4M", 2));
        assert_ne!(one.extents, other.extents);
        assert_ne!(one.middle(0x100), other.middle(0x100));
        assert_eq!(one, layout("64M", "4M", 1));
    }

    #[test]
    fn one_live_page_of_four_is_a_zero_page() {
        let layout = layout("64M", "4M", 1);
        let of = |kind| layout.pages().filter(|(_, own)| *own == kind).count();
        assert_eq!((of(Kind::Live), of(Kind::ZeroEven), of(Kind::ZeroOdd)), (768, 128, 128));
    }

    #[test]
    fn a_further_block_of_ram_is_covered_completely() {
        let ticker: Ticker =
            serde_json::from_value(json!({"dirty": "1M", "blocks": [{"address": "4G", "size": "64M"}]}))
                .unwrap();
        let layout = Layout::new(&ticker, Ram { arch: Arch::X86, low: 0x4000, high: 0 }, 3);
        let pages: Vec<u64> = layout.pages().map(|(page, _)| page).filter(|page| *page >= FOUR_GIB).collect();
        assert_eq!((pages[0], pages[pages.len() - 1]), (FOUR_GIB, FOUR_GIB + 0x3fff));
        assert_eq!(pages.len() as u64, 3 + 3 * BLOCK_PAGES);
    }
}
