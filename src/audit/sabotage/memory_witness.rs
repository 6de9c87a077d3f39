//! `memory-witness`.

use super::acts::{MEMORY_HINT, overwrite, witness_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::guest::ticker::layout::Kind as Page;

/// A page with the number that the guest was given is overwritten.
pub(super) const MEMORY_WITNESS: Sabotage = Sabotage {
    name: "memory-witness",
    kind: Kind::Memory,
    does: "a page with the number that the guest was given is overwritten",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: witness_sites,
    act: Act::Strike(|blow| Box::pin(async move { overwrite(&blow, blow.pages(Page::Witness)?[0]).await })),
};
