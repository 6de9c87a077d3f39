//! `memory-last`.

use super::acts::{MEMORY_HINT, overwrite, page_sites};
use super::{Act, Kind, Sabotage, Shows};

/// A word of the last page of RAM is overwritten.
pub(super) const MEMORY_LAST: Sabotage = Sabotage {
    name: "memory-last",
    kind: Kind::Memory,
    does: "a word of the last page of RAM is overwritten",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| Box::pin(async move { overwrite(&blow, blow.page(1.0)?).await })),
};
