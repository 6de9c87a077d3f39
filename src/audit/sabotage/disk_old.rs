//! `disk-old`.

use super::disk::{DISK_HINT, disk_sites, lines_of, write_zeros};
use super::{Act, Kind, Sabotage, Shows};

/// A disk is as it was at the start.
pub(super) const DISK_OLD: Sabotage = Sabotage {
    name: "disk-old",
    kind: Kind::Disks,
    does: "a disk is as it was at the start",
    blind: "the disk DETAIL of `VM`",
    hint: |_| DISK_HINT,
    shows: Shows::AtOnce,
    sites: disk_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let lines = lines_of(&blow).await?;
            write_zeros(&blow, lines[0], lines[lines.len() - 1] - lines[0] + 1).await
        })
    }),
};
