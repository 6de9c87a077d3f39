//! The lines that the built-in guest prints.

use std::fmt;

use super::layout::{Kind, PAGE, mix};

/// A complete line of the guest. Each number occurs twice, so that a line torn by the rollback of a checkpoint is
/// recognized and rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The program has started.
    Ready {
        /// The number of live pages.
        live: u64,
        /// Passes per tick.
        passes: u64,
        /// The devices it checks, as a bit mask; see [`DEVICES`].
        devices: u64,
        /// The number of video memory pages it found.
        video: u64,
    },
    /// This many passes are complete.
    Tick {
        /// The number of passes.
        count: u64,
        /// The last number received by the guest; 0 for none.
        witness: u64,
        /// How long the guest has run, in milliseconds of its own clock; 0 if it has no clock.
        clock: u64,
    },
    /// A page has the wrong content.
    Bad(Bad),
    /// The number of wrong pages in one pass.
    BadPages {
        /// How many.
        pages: u64,
        /// The first one's number.
        first: u64,
        /// The last one's number.
        last: u64,
    },
    /// A device does not hold what the guest wrote to it.
    Device {
        /// Its number; see [`DEVICES`].
        device: u64,
        /// What was written.
        expected: u64,
        /// What was read.
        found: u64,
        /// The passes completed.
        count: u64,
    },
    /// A clock misbehaved.
    Time {
        /// How.
        what: Time,
        /// The first number: before; for rates, how far the clock advanced.
        before: u64,
        /// The second number: after; for rates, how far the cycle counter advanced.
        after: u64,
    },
    /// The self-patching routine did not return the number it was patched with.
    Stale {
        /// The number it was patched with: the completed passes according to the register.
        expected: u64,
        /// The number it returned.
        found: u64,
    },
}

/// A wrong page, by its first wrong word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bad {
    /// The page's number: its address / 4096.
    pub page: u64,
    /// The word's number in the page.
    pub word: u32,
    /// The kind of page.
    pub kind: Kind,
    /// The content of the word.
    pub found: u32,
    /// The passes completed, according to the register.
    pub count: u32,
    /// The last number received by the guest, according to the register.
    pub witness: u32,
}

/// How a clock misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The cycle counter stepped back.
    CyclesBack,
    /// The clock stepped back.
    ClockBack,
    /// Between two ticks the cycle counter fell behind the clock.
    CyclesSlow,
}

/// The devices that the guest checks, in the order of their numbers (`guests/ticker/x86.h`, `aarch64.h`, `s390x.h`,
/// `ppc64.h`).
pub const DEVICES: &[&str] = &[
    "the UART's scratch register",
    "the CMOS byte 0x5e",
    "the mode of the PIT's counter 2",
    "the interrupt masks of the PICs",
    "the local APIC's task priority",
    "the HPET's counter",
    "a base address of a PCI device",
    "the command register of a PCI device",
    "the FPU registers",
    "the SSE registers",
    "the debug registers",
    "control register CR2",
    "the MSR SYSENTER_ESP",
    // aarch64
    "the UART's baud rate",
    "the clock's match register",
    "the direction of the GPIO pins",
    "the priorities of interrupts",
    "the SIMD registers",
    "the timer's compare value",
    "the thread registers",
    // s390x
    "the storage key of a page",
    "the clock comparator",
    "the floating-point registers",
    "the access registers",
    "the control registers",
    "the TOD programmable register",
    // ppc64
    "an entry of the PCI bus's DMA table",
    "the priority of the interrupt controller",
    "the floating-point registers",
    "the vector registers",
    "SPRG0 to SPRG3",
    "the DAR and the DSISR",
];

/// The start of a report of a wrong page, by the guest or from outside.
pub const WRONG: &str = "the guest found its memory wrong";

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, word, kind, found, count, witness } = *self;
        let own = mix(page, word);
        write!(f, "page {page} (address {:#x}) ", page * PAGE + u64::from(word) * 4)?;
        match kind {
            Kind::Still => write!(f, "is written only once and has changed: it holds {found:#x}"),
            Kind::Witness => {
                let number = found.wrapping_sub(own);
                write!(
                    f,
                    "belongs to another state: it holds the number {number:#x}, its register says {witness:#x}"
                )
            }
            _ if kind.is_zero(count) => {
                let (value, far) = (value(found, own, count), far(found, own, count));
                write!(f, "is not zero: it holds {value}, its register says {count}{far}")
            }
            _ if found == 0 && kind != Kind::Live => {
                write!(f, "is zero, its register says {count} (an odd number of passes away)")
            }
            _ => write!(
                f,
                "holds {}, its register says {count}{}",
                value(found, own, count),
                far(found, own, count)
            ),
        }
    }
}

/// The number of passes for a word of a live page, if it can be one.
fn passes(found: u32, own: u32, count: u32) -> Option<u32> {
    let passes = found.wrapping_sub(own);
    // Anything further ahead is not a number of passes but some other content.
    (passes <= count.saturating_add(1 << 16)).then_some(passes)
}

fn value(found: u32, own: u32, count: u32) -> String {
    passes(found, own, count).map_or_else(|| format!("{found:#x}"), |passes| passes.to_string())
}

fn far(found: u32, own: u32, count: u32) -> String {
    match passes(found, own, count) {
        Some(passes) => format!(" ({})", distance(count.into(), passes.into())),
        None => " (not a value of this page)".to_owned(),
    }
}

/// The distance of a number of passes from the expected one.
pub(super) fn distance(expected: u64, found: u64) -> String {
    match expected.checked_sub(found) {
        Some(0) => "the same".to_owned(),
        Some(behind) => format!("{behind} behind"),
        None => format!("{} ahead", found - expected),
    }
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ready { live, passes, .. } => write!(f, "ready: {live} pages, a line per {passes} passes"),
            Self::Tick { count, .. } => write!(f, "tick {count}"),
            Self::Bad(bad) => write!(f, "{WRONG}: {bad}"),
            Self::BadPages { pages, last, .. } => {
                write!(f, "{pages} page{} in that pass", plural(pages))?;
                if pages > 1 { write!(f, ", the last one page {last}") } else { Ok(()) }
            }
            Self::Device { device, expected, found, count } => {
                let name = usize::try_from(device).ok().and_then(|device| DEVICES.get(device));
                let name = name.map_or_else(|| format!("device {device}"), |name| (*name).to_owned());
                write!(
                    f,
                    "the guest found a wrong device state: {name} holds {found:#x}, expected {expected:#x} (written in pass {count})"
                )
            }
            Self::Time { what, before, after } => match what {
                Time::CyclesBack => write!(f, "time went wrong in the guest: its cycle counter stepped back"),
                Time::ClockBack => {
                    write!(f, "time went wrong in the guest: its clock stepped back from {before} to {after}")
                }
                Time::CyclesSlow => write!(
                    f,
                    "time went wrong in the guest: between two ticks its cycle counter advanced by {after} and its clock by {before}, slower than before"
                ),
            },
            Self::Stale { expected, found } => write!(
                f,
                "the guest ran stale code: the routine, which it had patched to return {expected}, returned {found} ({})",
                distance(expected, found),
            ),
        }
    }
}

impl Line {
    /// Parses a line without its line end. `None` for anything but a complete line of the guest.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let kind = words.next()?;
        let numbers = words.map(number).collect::<Option<Vec<u64>>>()?;
        let (once, again) = numbers.split_at(numbers.len() / 2);
        if once != again {
            return None;
        }
        match (kind, once) {
            (b"ready", &[live, _, _, passes, _, devices, video]) => {
                Some(Self::Ready { live, passes, devices, video })
            }
            (b"tick", &[count, witness, clock]) => Some(Self::Tick { count, witness, clock }),
            (b"bad", &[page, word, kind, found, count, witness]) => Some(Self::Bad(Bad {
                page,
                word: u32::try_from(word).ok()?,
                kind: Kind::from_number(kind)?,
                found: u32::try_from(found).ok()?,
                count: u32::try_from(count).ok()?,
                witness: u32::try_from(witness).ok()?,
            })),
            (b"badpages", &[pages, first, last]) => Some(Self::BadPages { pages, first, last }),
            (b"device", &[device, expected, found, count]) => {
                Some(Self::Device { device, expected, found, count })
            }
            (b"time", &[what, before, after]) => {
                let what = match what {
                    0 => Time::CyclesBack,
                    1 => Time::ClockBack,
                    2 => Time::CyclesSlow,
                    _ => return None,
                };
                Some(Self::Time { what, before, after })
            }
            (b"stale", &[expected, found]) => Some(Self::Stale { expected, found }),
            _ => None,
        }
    }

    /// Whether it reports an error. `BadPages` only completes such a report.
    #[must_use]
    pub const fn is_mismatch(&self) -> bool {
        matches!(self, Self::Bad(_) | Self::Device { .. } | Self::Time { .. } | Self::Stale { .. })
    }
}

/// Ten digits: a shorter or longer number is torn.
fn number(word: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(word).ok()?;
    (text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The line with these numbers, each twice.
#[cfg(test)]
pub(crate) fn text(word: &str, numbers: &[u64]) -> String {
    let once: String = numbers.iter().map(|number| format!(" {number:010}")).collect();
    format!("{word}{once}{once}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str, numbers: &[u64]) -> Option<Line> {
        Line::parse(text(word, numbers).as_bytes())
    }

    fn bad(word: u32, kind: Kind, found: u32, count: u32) -> String {
        Line::Bad(Bad { page: 259, word, kind, found, count, witness: 7 }).to_string()
    }

    #[test]
    fn complete_lines_are_parsed() {
        assert_eq!(read("tick", &[128, 5, 40]), Some(Line::Tick { count: 128, witness: 5, clock: 40 }));
        assert_eq!(
            read("badpages", &[2, 259, 300]),
            Some(Line::BadPages { pages: 2, first: 259, last: 300 })
        );
        assert_eq!(
            read("ready", &[1024, 64, 32, 70, 9, 8191, 0]),
            Some(Line::Ready { live: 1024, passes: 70, devices: 8191, video: 0 })
        );
        assert_eq!(Line::parse(b"tick 0000000128 0000000128"), None);
        let stale = read("stale", &[12, 9]).unwrap();
        assert_eq!(
            stale.to_string(),
            "the guest ran stale code: the routine, which it had patched to return 12, returned 9 (3 behind)"
        );
    }

    #[test]
    fn a_wrong_page_is_reported_with_its_kind() {
        let own = mix(259, 0);
        assert_eq!(
            bad(0, Kind::Live, 11 + own, 12),
            "the guest found its memory wrong: page 259 (address 0x103000) holds 11, its register says 12 (1 behind)"
        );
        assert!(bad(1023, Kind::Live, 77, 12).ends_with(
            "page 259 (address 0x103ffc) holds 0x4d, its register says 12 (not a value of this page)"
        ));
        assert!(
            bad(0, Kind::ZeroEven, 11 + own, 12).contains("is not zero: it holds 11, its register says 12")
        );
        assert!(
            bad(0, Kind::ZeroEven, 0, 13)
                .contains("is zero, its register says 13 (an odd number of passes away)")
        );
        assert!(bad(0, Kind::Still, 1, 13).contains("is written only once and has changed: it holds 0x1"));
        assert!(
            bad(0, Kind::Witness, 9 + own, 13).contains("it holds the number 0x9, its register says 0x7")
        );
        assert_eq!(read("badpages", &[1, 5, 5]).unwrap().to_string(), "1 page in that pass");
    }

    #[test]
    fn devices_and_time_have_names() {
        assert_eq!(
            read("device", &[4, 0x12, 0x34, 9]).unwrap().to_string(),
            "the guest found a wrong device state: the local APIC's task priority holds 0x34, expected 0x12 (written in pass 9)"
        );
        assert!(read("time", &[1, 9, 3]).unwrap().to_string().contains("its clock stepped back from 9 to 3"));
        assert!(read("time", &[0, 9, 3]).unwrap().is_mismatch());
    }

    #[test]
    fn no_merge_of_two_lines_is_a_valid_line() {
        let lines: Vec<String> =
            [[7_u64, 1, 9], [12, 1, 20], [128, 77, 30], [129, 77, 31], [1_280_000_012, 5, 9]]
                .map(|numbers| text("tick", &numbers))
                .into();
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
}
