//! `memory-first`.

use super::acts::{MEMORY_HINT, overwrite, page_sites};
use super::{Act, Kind, Sabotage, Shows};

/// A word of the first page that the guest uses is overwritten.
pub(super) const MEMORY_FIRST: Sabotage = Sabotage {
    name: "memory-first",
    kind: Kind::Memory,
    does: "a word of the first page that the guest uses is overwritten",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| Box::pin(async move { overwrite(&blow, blow.page(0.0)?).await })),
};
