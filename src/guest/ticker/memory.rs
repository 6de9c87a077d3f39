//! Checks the guest's pages from outside, with the guest stopped.

use std::fmt;

use super::layout::{Kind, Layout, WORDS, live_value, mix};
use super::line::Bad;

/// The state of the guest's pages, if they are consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The passes completed, by the first live page.
    pub count: u32,
    /// The last number received by the guest; 0 for none.
    pub witness: u32,
}

/// Inconsistent pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent {
    /// The first wrong page.
    pub first: Bad,
    /// How many pages are wrong.
    pub wrong: usize,
    /// The last wrong page's number.
    pub last: u64,
    /// The number of pages checked.
    pub pages: usize,
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, wrong, last, pages } = self;
        let is = if *wrong == 1 { "is" } else { "are" };
        // From outside there is no register to read: use the majority of the pages instead.
        let first = first.to_string().replace("its register says", "most pages say");
        write!(f, "{wrong} of {pages} pages {is} wrong: {first}")?;
        if *wrong > 1 { write!(f, "; the last one is page {last}") } else { Ok(()) }
    }
}

/// Checks the pages of a stopped guest, given in the order of the layout: every word of a still page, and of the
/// others the words that the guest checks itself. In live pages the words up to some point may already belong to the
/// next pass.
///
/// # Errors
/// The inconsistent pages, compared with the majority.
pub fn check_pages(layout: &Layout, pages: &[(u64, Kind, &[u8])]) -> Result<Moment, Inconsistent> {
    let witness =
        most(pages, &[Kind::Witness], layout, |page, word, found| found.wrapping_sub(mix(page, word)));
    let passes = most(pages, &[Kind::Live], layout, |page, word, found| found.wrapping_sub(mix(page, word)));
    let mut live = live_words(layout, pages);
    let (count, edge) = best_edge(&live, passes);
    let mut wrong: Vec<Bad> = Vec::new();
    let mut add = |page: u64, word: u32, kind: Kind, found: u32, count: u32| {
        if wrong.last().is_none_or(|last| last.page != page) {
            wrong.push(Bad { page, word, kind, found, count, witness });
        }
    };
    live.reverse();
    let mut number = 0;
    for &(page, kind, bytes) in pages {
        match kind {
            Kind::Still => {
                let damaged = (0..WORDS).find(|&at| word(layout, bytes, at) != layout.still_value(page, at));
                if let Some(at) = damaged {
                    add(page, at, kind, word(layout, bytes, at), count);
                }
            }
            Kind::Witness => {
                for at in layout.words(page) {
                    if word(layout, bytes, at) != witness.wrapping_add(mix(page, at)) {
                        add(page, at, kind, word(layout, bytes, at), count);
                    }
                }
            }
            _ => {
                for _ in 0..3 {
                    let Some(own) = live.pop() else { continue };
                    let count = if number < edge { count.wrapping_add(1) } else { count };
                    if !own.fits(count) {
                        add(page, own.word, kind, own.found, count);
                    }
                    number += 1;
                }
            }
        }
    }
    let first_count = if edge > 0 { count.wrapping_add(1) } else { count };
    match wrong.first() {
        None => Ok(Moment { count: first_count, witness }),
        Some(first) => Err(Inconsistent {
            first: *first,
            wrong: wrong.len(),
            last: wrong.last().map_or(0, |bad| bad.page),
            pages: pages.len(),
        }),
    }
}

/// A word of a live page.
#[derive(Debug, Clone, Copy)]
struct LiveWord {
    page: u64,
    word: u32,
    kind: Kind,
    found: u32,
}

impl LiveWord {
    fn fits(&self, passes: u32) -> bool {
        self.found == live_value(self.kind, self.page, self.word, passes)
    }
}

fn word(layout: &Layout, page: &[u8], number: u32) -> u32 {
    let at = number as usize * 4;
    let bytes = page.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, |bytes| layout.arch.word(bytes))
}

fn live_words(layout: &Layout, pages: &[(u64, Kind, &[u8])]) -> Vec<LiveWord> {
    let is_live = |kind: &Kind| !matches!(kind, Kind::Still | Kind::Witness);
    let pages = pages.iter().filter(|(_, kind, _)| is_live(kind));
    pages
        .flat_map(|&(page, kind, bytes)| {
            layout.words(page).map(|at| LiveWord { page, word: at, kind, found: word(layout, bytes, at) })
        })
        .collect()
}

/// The majority of the words of these kinds of pages. 0 if there are none.
fn most(
    pages: &[(u64, Kind, &[u8])],
    kinds: &[Kind],
    layout: &Layout,
    read: impl Fn(u64, u32, u32) -> u32,
) -> u32 {
    let pages = pages.iter().filter(|(_, kind, _)| kinds.contains(kind));
    let mut said: Vec<u32> = pages
        .flat_map(|&(page, _, bytes)| layout.words(page).map(|at| (page, at, word(layout, bytes, at))))
        .map(|(page, at, found)| read(page, at, found))
        .collect();
    said.sort_unstable();
    said.chunk_by(|one, other| one == other).max_by_key(|run| run.len()).map_or(0, |run| run[0])
}

/// The count, and how many words already belong to the next pass, that leave the fewest words wrong: `passes` is the
/// majority, on either side.
fn best_edge(words: &[LiveWord], passes: u32) -> (u32, usize) {
    let counts = [passes, passes.wrapping_sub(1)];
    let candidates = counts.into_iter().map(|count| {
        let mut wrong = words.iter().filter(|word| !word.fits(count)).count();
        let mut best = (wrong, 0);
        for (at, word) in words.iter().enumerate() {
            wrong += usize::from(!word.fits(count.wrapping_add(1)));
            wrong -= usize::from(!word.fits(count));
            best = best.min((wrong, at + 1));
        }
        (best.0, best.1, count)
    });
    let (_, edge, count) =
        candidates.min_by_key(|(wrong, edge, _)| (*wrong, *edge)).unwrap_or((0, 0, passes));
    (count, edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ticker::layout::{PAGE, Ram};
    use crate::qemu::arch::Arch;
    use crate::qemu::spec::Ticker;

    /// RAM in mid-pass: with `done` words of live pages written in this pass.
    fn memory(layout: &Layout, count: u32, witness: u32, done: usize) -> Vec<(u64, Kind, Vec<u8>)> {
        let mut left = done;
        let mut pages = Vec::new();
        for (page, kind) in layout.pages() {
            let mut bytes = vec![0; PAGE as usize];
            let mut put = |at: u32, value: u32| {
                bytes[at as usize * 4..][..4].copy_from_slice(&layout.arch.bytes(value));
            };
            match kind {
                Kind::Still => (0..WORDS).for_each(|at| put(at, layout.still_value(page, at))),
                Kind::Witness => {
                    layout
                        .words(page)
                        .into_iter()
                        .for_each(|at| put(at, witness.wrapping_add(mix(page, at))));
                }
                _ => {
                    for at in layout.words(page) {
                        put(at, live_value(kind, page, at, count + u32::from(left > 0)));
                        left = left.saturating_sub(1);
                    }
                }
            }
            pages.push((page, kind, bytes));
        }
        pages
    }

    fn check(layout: &Layout, memory: &[(u64, Kind, Vec<u8>)]) -> Result<Moment, Inconsistent> {
        let pages: Vec<(u64, Kind, &[u8])> =
            memory.iter().map(|(page, kind, bytes)| (*page, *kind, &bytes[..])).collect();
        check_pages(layout, &pages)
    }

    fn layout() -> Layout {
        let ticker: Ticker =
            serde_json::from_value(serde_json::json!({"dirty": "256K", "still": "64K"})).unwrap();
        Layout::new(&ticker, Ram { arch: Arch::X86, low: 0x2000, high: 0 }, 5)
    }

    #[test]
    fn a_stopped_guest_has_pages_of_at_most_two_passes() {
        let layout = layout();
        for done in [0, 1, 2, 3, 4, 100, 191, 192] {
            let expected = Moment { count: 12 + u32::from(done > 0), witness: 7 };
            assert_eq!(check(&layout, &memory(&layout, 12, 7, done)), Ok(expected), "{done}");
        }
    }

    #[test]
    fn a_page_of_another_pass_is_reported_whatever_its_kind() {
        let layout = layout();
        for kind in [Kind::Live, Kind::Still, Kind::Witness, Kind::ZeroEven, Kind::ZeroOdd] {
            let mut pages = memory(&layout, 12, 7, 50);
            let at = pages.iter().position(|(_, own, _)| *own == kind).unwrap();
            let last = pages[at].2.len() - 4;
            pages[at].2[last..].copy_from_slice(&9_u32.to_le_bytes());
            let wrong = check(&layout, &pages).unwrap_err();
            assert_eq!((wrong.wrong, wrong.first.page, wrong.first.word), (1, pages[at].0, 1023), "{kind:?}");
        }
    }

    #[test]
    fn two_swapped_pages_are_both_wrong() {
        let layout = layout();
        let mut pages = memory(&layout, 12, 7, 0);
        let at =
            pages.windows(2).position(|pair| pair[0].1 == Kind::Live && pair[1].1 == Kind::Live).unwrap();
        let first = pages[at].2.clone();
        pages[at].2 = std::mem::replace(&mut pages[at + 1].2, first);
        assert_eq!(check(&layout, &pages).unwrap_err().wrong, 2);
    }

    #[test]
    fn a_page_that_is_one_pass_behind_is_reported_as_such() {
        let layout = layout();
        let mut pages = memory(&layout, 12, 7, 0);
        let at =
            pages.len() / 2 + pages[pages.len() / 2..].iter().position(|page| page.1 == Kind::Live).unwrap();
        pages[at] = memory(&layout, 11, 7, 0)[at].clone();
        let told = check(&layout, &pages).unwrap_err().to_string();
        assert!(told.starts_with("1 of "), "{told}");
        assert!(told.ends_with("holds 11, most pages say 12 (1 behind)"), "{told}");
    }

    #[test]
    fn a_wrong_word_of_a_still_page_is_detected_before_the_guest_checks_it() {
        let layout = layout();
        let mut pages = memory(&layout, 12, 7, 0);
        let at = pages.iter().position(|(_, kind, _)| *kind == Kind::Still).unwrap();
        pages[at].2[2000] ^= 1;
        assert_eq!(check(&layout, &pages).unwrap_err().first.word, 500);
    }
}
