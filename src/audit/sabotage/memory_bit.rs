//! `memory-bit`.

use super::acts::{MEMORY_HINT, page_sites};
use super::{Act, Kind, Sabotage, Shows};

/// One bit of a page flips.
pub(super) const MEMORY_BIT: Sabotage = Sabotage {
    name: "memory-bit",
    kind: Kind::Memory,
    does: "one bit of a page flips",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let last_word = blow.page(0.4)? + 4092;
            let word = blow.read(last_word, 4).await?;
            // Not the lowest bit: the guest may add one meanwhile, which can have the same result.
            blow.write(last_word, 4, word ^ 0x80).await
        })
    }),
};
