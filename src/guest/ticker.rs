//! The built-in workload: its images, the lines it prints, the pattern it leaves in RAM.
//!
//! The program itself is `guests/ticker`. On each pass it compares the 32-bit word at the start of each 4 KiB page of
//! its area with the count it keeps in a register, reports what differs, and adds one to the word. On request it also
//! writes the count into its own code and compares what that returns.

use std::fmt;

use crate::qemu::spec::{Boot, Ticker};

/// The image for `-bios`.
const FIRMWARE: &[u8] = include_bytes!("../../guests/ticker/firmware.bin");
/// The boot sector.
const BOOT_SECTOR: &[u8] = include_bytes!("../../guests/ticker/bootsect.bin");
/// Stands before the parameter block, once in each image.
const MAGIC: &[u8; 8] = b"LKSTTICK";

/// A page of the area, in bytes.
pub const PAGE: u64 = 4096;
/// Where the area begins, as a guest-physical address.
pub const AREA_START: u64 = 0x10_0000;

/// Where the routine is that the program patches, as a guest-physical address; its number is one byte further.
pub const ROUTINE: u64 = 0x8000;

/// Where the program keeps its count while the machine sleeps, as a guest-physical address.
const SUSPEND: u64 = 0x9000;

/// How many pages the area has.
#[must_use]
pub const fn pages(ticker: &Ticker) -> u64 {
    ticker.dirty.0 / PAGE
}

/// How many passes go to one tick: as the scenario says, or so many that a line comes every few milliseconds under
/// emulation. (Small areas fit into QEMU's TLB, and a pass over them is some ten times as fast per page.)
#[must_use]
pub fn passes(ticker: &Ticker) -> u32 {
    let pages = pages(ticker).max(1);
    let touches = if pages <= 256 { 1 << 20 } else { 1 << 17 };
    ticker.passes.unwrap_or_else(|| u32::try_from(touches / pages).unwrap_or(1).max(1))
}

/// The image to boot, with the scenario's parameters in it.
#[must_use]
pub fn image(ticker: &Ticker) -> Vec<u8> {
    let mut image = match ticker.boot {
        Boot::Firmware => FIRMWARE,
        Boot::Disk => BOOT_SECTOR,
    }
    .to_vec();
    let block =
        image.windows(MAGIC.len()).position(|window| window == MAGIC).map_or(0, |at| at + MAGIC.len());
    let routine = if ticker.self_patching { ROUTINE } else { 0 };
    let mut parameters = vec![AREA_START, pages(ticker), u64::from(passes(ticker)), routine];
    // The boot sector has no room for the rest.
    if ticker.boot == Boot::Firmware {
        parameters.extend([if ticker.suspend { SUSPEND } else { 0 }, u64::from(ticker.exits)]);
    }
    for (number, value) in parameters.into_iter().enumerate() {
        // The program knows 32-bit numbers only; a larger area is refused where the scenario is checked.
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        image[block + number * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
    image
}

/// A complete line of the ticker. Each number stands twice (or is one of several in a fixed frame), so that a line
/// torn by a checkpoint's rollback is recognised as no line at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The program runs, with these parameters.
    Ready {
        /// Where the area begins.
        start: u64,
        /// Its pages.
        pages: u64,
        /// Passes per tick.
        passes: u64,
    },
    /// So many passes are complete.
    Tick(u64),
    /// A page does not hold what it must.
    Bad {
        /// Its number in the area, from 0.
        page: u64,
        /// The passes completed, by the register.
        expected: u64,
        /// The word in the page.
        found: u64,
    },
    /// So many pages were wrong in one pass.
    BadPages(u64),
    /// The routine that the program patches returned another number than the one it was patched with.
    Stale {
        /// The number it was patched with: the passes completed, by the register.
        expected: u64,
        /// The number it returned.
        found: u64,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { start, pages, passes } => {
                write!(f, "ready: {pages} pages from {start:#x}, a line per {passes} passes")
            }
            Self::Tick(count) => write!(f, "tick {count}"),
            Self::Bad { page, expected, found } => write!(
                f,
                "the guest found its memory wrong: page {page} (address {:#x}) holds {found}, its register says \
                 {expected} ({})",
                AREA_START + page * PAGE,
                distance(*expected, *found),
            ),
            Self::BadPages(count) => {
                write!(f, "the guest found its memory wrong: {count} page{} in one pass", plural(*count))
            }
            Self::Stale { expected, found } => write!(
                f,
                "the guest ran stale code: the routine at {ROUTINE:#x}, which it had patched to return {expected}, \
                 returned {found} ({})",
                distance(*expected, *found),
            ),
        }
    }
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn distance(expected: u64, found: u64) -> String {
    match expected.checked_sub(found) {
        Some(0) => "the same".to_owned(),
        Some(behind) => format!("{behind} behind"),
        None => format!("{} ahead", found - expected),
    }
}

impl Line {
    /// Reads a line without its end. `None` for anything that is no whole line of the ticker.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let kind = words.next()?;
        let numbers = words.map(number).collect::<Option<Vec<u64>>>()?;
        match (kind, numbers.as_slice()) {
            (b"ready", &[start, pages, passes]) => Some(Self::Ready { start, pages, passes }),
            (b"tick", &[count, again]) if count == again => Some(Self::Tick(count)),
            (b"bad", &[page, expected, found, again]) if page == again => {
                Some(Self::Bad { page, expected, found })
            }
            (b"badpages", &[count, again]) if count == again => Some(Self::BadPages(count)),
            (b"stale", &[expected, found, again]) if expected == again => {
                Some(Self::Stale { expected, found })
            }
            _ => None,
        }
    }

    /// Whether it reports wrong memory or stale code.
    #[must_use]
    pub const fn is_mismatch(&self) -> bool {
        matches!(self, Self::Bad { .. } | Self::BadPages(_) | Self::Stale { .. })
    }
}

/// Ten digits: a shorter or longer number is torn.
fn number(word: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(word).ok()?;
    (text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// What is wrong with the pattern in a stopped guest's RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent {
    /// The first wrong page's number in the area, from 0.
    pub page: u64,
    /// What it must hold.
    pub expected: u32,
    /// What it holds.
    pub found: u32,
    /// How many pages are wrong.
    pub wrong: u64,
    /// The last wrong page's number.
    pub last: u64,
    /// How many pages the area has.
    pub pages: u64,
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, expected, found, wrong, last, pages } = self;
        write!(
            f,
            "{wrong} of {pages} pages {} wrong: page {page} (address {:#x}) holds {found} where {expected} must stand ({})",
            if *wrong == 1 { "is" } else { "are" },
            AREA_START + page * PAGE,
            distance(u64::from(*expected), u64::from(*found)),
        )?;
        if *wrong > 1 { write!(f, "; the last one is page {last}") } else { Ok(()) }
    }
}

/// Looks at the area of a stopped guest: the first pages hold some count, and after one edge at most all others hold
/// the count before it. Returns the count of the first page.
///
/// # Errors
/// The pages that do not fit, judged by what most pages hold.
pub fn check_pattern(area: &[u8]) -> Result<u32, Inconsistent> {
    let words: Vec<u32> = area
        .chunks_exact(usize::try_from(PAGE).unwrap_or(4096))
        .map(|page| u32::from_le_bytes([page[0], page[1], page[2], page[3]]))
        .collect();
    let Some(&first) = words.first() else { return Ok(0) };
    let edge = words.iter().position(|&word| word != first).unwrap_or(words.len());
    if words[edge..].iter().all(|&word| word == first.wrapping_sub(1)) {
        return Ok(first);
    }
    // Which count is the true one? Guess it from the page in the middle of the most frequent count, so that one wrong
    // page is named as one wrong page, also where it is the first.
    let mut sorted = words.clone();
    sorted.sort_unstable();
    let most = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len()).map_or(first, |run| run[0]);
    let fits = |word: u32, count: u32, before_edge: bool| {
        word == if before_edge { count } else { count.wrapping_sub(1) }
    };
    // The edge that leaves the fewest pages wrong, with the most frequent count on either side of it.
    let best = [most, most.wrapping_add(1)]
        .into_iter()
        .map(|count| {
            let mut wrong = words.iter().filter(|&&word| !fits(word, count, false)).count();
            let mut best = (wrong, 0);
            for (at, &word) in words.iter().enumerate() {
                wrong =
                    wrong + usize::from(!fits(word, count, true)) - usize::from(!fits(word, count, false));
                best = best.min((wrong, at + 1));
            }
            (best.0, best.1, count)
        })
        .min()
        .unwrap_or((0, 0, most));
    let (_, edge, count) = best;
    let wrong: Vec<usize> = (0..words.len()).filter(|&at| !fits(words[at], count, at < edge)).collect();
    let page = wrong.first().copied().unwrap_or(0);
    Err(Inconsistent {
        page: page as u64,
        expected: if page < edge { count } else { count.wrapping_sub(1) },
        found: words[page],
        wrong: wrong.len() as u64,
        last: wrong.last().copied().unwrap_or(0) as u64,
        pages: words.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Size;

    fn area(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| [&word.to_le_bytes()[..], &[0; 4092]].concat()).collect()
    }

    #[test]
    fn both_images_carry_the_parameters_of_the_scenario() {
        for boot in [Boot::Firmware, Boot::Disk] {
            let ticker = Ticker {
                dirty: Size::mib(100),
                boot,
                passes: Some(7),
                self_patching: true,
                ..Ticker::default()
            };
            let image = image(&ticker);
            let at = image.windows(8).position(|window| window == MAGIC).unwrap();
            assert_eq!(
                image[at + 8..at + 24],
                [0, 0, 0x10, 0, 0, 0x64, 0, 0, 7, 0, 0, 0, 0, 0x80, 0, 0],
                "{boot:?}"
            );
            assert_eq!(image.windows(8).filter(|window| window == MAGIC).count(), 1);
        }
    }

    #[test]
    fn the_firmware_is_told_where_to_keep_its_count_in_sleep_and_whether_to_leave_the_guest() {
        let told = |suspend, exits| {
            let image = image(&Ticker { suspend, exits, ..Ticker::default() });
            let block = image.windows(8).position(|window| window == MAGIC).unwrap() + 8;
            <[u8; 8]>::try_from(&image[block + 16..][..8]).unwrap()
        };
        assert_eq!(told(false, false), [0; 8]);
        assert_eq!(told(true, false), [0, 0x90, 0, 0, 0, 0, 0, 0]);
        assert_eq!(told(false, true), [0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_larger_area_prints_after_fewer_passes() {
        let passes = |dirty| passes(&Ticker { dirty, ..Ticker::default() });
        assert_eq!((passes(Size::mib(4)), passes(Size::mib(100)), passes(Size::mib(1024))), (128, 5, 1));
    }

    #[test]
    fn whole_lines_are_read() {
        assert_eq!(Line::parse(b"tick 0000000128 0000000128"), Some(Line::Tick(128)));
        assert_eq!(
            Line::parse(b"bad 0000000003 0000000012 0000000011 0000000003"),
            Some(Line::Bad { page: 3, expected: 12, found: 11 })
        );
        let stale = Line::parse(b"stale 0000000012 0000000009 0000000012").unwrap();
        assert_eq!(stale, Line::Stale { expected: 12, found: 9 });
        assert!(stale.is_mismatch());
        assert_eq!(
            stale.to_string(),
            "the guest ran stale code: the routine at 0x8000, which it had patched to return 12, returned 9 (3 behind)"
        );
        assert_eq!(Line::parse(b"badpages 0000000002 0000000002"), Some(Line::BadPages(2)));
    }

    #[test]
    fn no_way_of_tearing_two_lines_apart_gives_a_third_one() {
        let lines: Vec<String> =
            [7_u64, 12, 128, 129, 1_280_000_012].map(|n| format!("tick {n:010} {n:010}")).into();
        for (one, other) in lines.iter().flat_map(|one| lines.iter().map(move |other| (one, other))) {
            for (cut, resume) in
                (0..one.len()).flat_map(|cut| (0..other.len()).map(move |resume| (cut, resume)))
            {
                let torn = format!("{}{}", &one[..cut], &other[resume..]);
                let read = Line::parse(torn.as_bytes());
                let true_lines = [Line::parse(one.as_bytes()), Line::parse(other.as_bytes())];
                assert!(read.is_none() || true_lines.contains(&read), "{torn}");
            }
        }
    }

    #[test]
    fn a_stopped_guest_shows_one_edge_at_most() {
        for words in [&[5, 5, 5][..], &[5, 5, 4], &[5, 4, 4], &[0, u32::MAX, u32::MAX], &[9]] {
            assert_eq!(check_pattern(&area(words)), Ok(words[0]), "{words:?}");
        }
    }

    #[test]
    fn a_wrong_page_is_named() {
        let one = check_pattern(&area(&[5, 5, 3, 5, 4, 4])).unwrap_err();
        assert_eq!((one.page, one.expected, one.found, one.wrong), (2, 5, 3, 1));
        assert!(
            one.to_string().starts_with("1 of 6 pages is wrong: page 2 (address 0x102000) holds 3"),
            "{one}"
        );
        let first = check_pattern(&area(&[77, 5, 5, 5, 4])).unwrap_err();
        assert_eq!((first.page, first.expected, first.wrong), (0, 5, 1));
        let backwards = check_pattern(&area(&[4, 4, 4, 4, 5])).unwrap_err();
        assert_eq!((backwards.page, backwards.found, backwards.wrong), (4, 5, 1));
        let two_edges = check_pattern(&area(&[5, 4, 4, 3, 3, 4])).unwrap_err();
        assert_eq!((two_edges.page, two_edges.wrong, two_edges.last), (3, 2, 4));
    }
}
