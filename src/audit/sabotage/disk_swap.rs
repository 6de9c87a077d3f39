//! `disk-swap`.

use super::disk::{DISK_HINT, disk_sites, lines_of, swap};
use super::{Act, Kind, Sabotage, Shows};

/// Two sectors of a disk are exchanged.
pub(super) const DISK_SWAP: Sabotage = Sabotage {
    name: "disk-swap",
    kind: Kind::Disks,
    does: "two sectors of a disk are exchanged",
    blind: "the disk DETAIL of `VM`",
    hint: |_| DISK_HINT,
    shows: Shows::AtOnce,
    sites: disk_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let lines = lines_of(&blow).await?;
            let [first, .., last] = lines[..] else { return Err("it has no two lines".to_owned()) };
            swap(&blow, first, last).await
        })
    }),
};
