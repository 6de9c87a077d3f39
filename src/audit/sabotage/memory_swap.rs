//! `memory-swap`.

use super::acts::{MEMORY_HINT, page_sites, page_words};
use super::{Act, Kind, Sabotage, Shows};
use crate::guest::ticker::layout::Kind as Page;

/// Two pages are exchanged.
pub(super) const MEMORY_SWAP: Sabotage = Sabotage {
    name: "memory-swap",
    kind: Kind::Memory,
    does: "two pages are exchanged",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let pages = blow.pages(Page::Still)?;
            let (one, other) = (pages[0], pages[pages.len() - 1]);
            for (left, right) in page_words(one).zip(page_words(other)) {
                let (first, second) = (blow.read(left, 8).await?, blow.read(right, 8).await?);
                blow.write(left, 8, second).await?;
                blow.write(right, 8, first).await?;
            }
            Ok(())
        })
    }),
};
