//! `memory-still`.

use super::acts::{MEMORY_HINT, overwrite, page_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::guest::ticker::layout::Kind as Page;

/// A word of a page changes that the guest itself looks at only now and then.
pub(super) const MEMORY_STILL: Sabotage = Sabotage {
    name: "memory-still",
    kind: Kind::Memory,
    does: "a word of a page changes that the guest itself looks at only now and then",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let pages = blow.pages(Page::Still)?;
            overwrite(&blow, pages[pages.len() / 2] + 20).await
        })
    }),
};
