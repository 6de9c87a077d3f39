//! `memory-video`.

use super::acts::overwrite;
use super::{Act, Kind, Sabotage, Shows};

/// The video memory, another block of RAM, is overwritten.
pub(super) const MEMORY_VIDEO: Sabotage = Sabotage {
    name: "memory-video",
    kind: Kind::Memory,
    does: "the video memory, another block of RAM, is overwritten",
    blind: "the video memory of `VM`",
    hint: |_| "wait: {vm: VM, ticks: 1}",
    shows: Shows::AtOnce,
    sites: |scene| super::acts::video_sites(scene),
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let [from, to] = blow.video_memory().await?;
            let mut page = from;
            while page < to {
                overwrite(&blow, page).await?;
                page += 4096;
            }
            Ok(())
        })
    }),
};
