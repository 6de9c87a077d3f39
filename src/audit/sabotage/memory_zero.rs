//! `memory-zero`.

use super::acts::{MEMORY_HINT, page_sites, page_words};
use super::{Act, Kind, Sabotage, Shows};
use crate::guest::ticker::layout::Kind as Page;

/// A page that is never written again becomes zero.
pub(super) const MEMORY_ZERO: Sabotage = Sabotage {
    name: "memory-zero",
    kind: Kind::Memory,
    does: "a page that is never written again becomes zero",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            for word in page_words(blow.pages(Page::Still)?[0]) {
                blow.write(word, 8, 0).await?;
            }
            Ok(())
        })
    }),
};
