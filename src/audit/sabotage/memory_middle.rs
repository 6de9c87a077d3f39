//! `memory-middle`.

use super::acts::{MEMORY_HINT, overwrite, page_sites};
use super::{Act, Kind, Sabotage, Shows};

/// A word of a page in the middle of RAM is overwritten.
pub(super) const MEMORY_MIDDLE: Sabotage = Sabotage {
    name: "memory-middle",
    kind: Kind::Memory,
    does: "a word of a page in the middle of RAM is overwritten",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| Box::pin(async move { overwrite(&blow, blow.page(0.5)?).await })),
};
