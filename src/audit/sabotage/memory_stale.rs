//! `memory-stale`.

use super::acts::{MEMORY_HINT, page_sites};
use super::{Act, Kind, Sabotage, Shows};

/// A page is set back to what it was a moment ago, as if a write had been missed.
pub(super) const MEMORY_STALE: Sabotage = Sabotage {
    name: "memory-stale",
    kind: Kind::Memory,
    does: "a page is set back to what it was a moment ago, as if a write had been missed",
    blind: "the memory of `VM`",
    hint: |_| MEMORY_HINT,
    shows: Shows::AtOnce,
    sites: page_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let page = blow.page(0.6)?;
            let old = blow.read(page, 4).await?;
            for _ in 0..200 {
                if blow.read(page, 4).await? != old {
                    return blow.write(page, 4, old).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            Err("the guest does not run, so its page does not change".to_owned())
        })
    }),
};
