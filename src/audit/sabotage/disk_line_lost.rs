//! `disk-line-lost`.

use super::disk::{DISK_HINT, disk_sites, lines_of, write_zeros};
use super::{Act, Kind, Sabotage, Shows};

/// The last line on a disk is lost.
pub(super) const DISK_LINE_LOST: Sabotage = Sabotage {
    name: "disk-line-lost",
    kind: Kind::Disks,
    does: "the last line on a disk is lost",
    blind: "the disk DETAIL of `VM`",
    hint: |_| DISK_HINT,
    shows: Shows::AtOnce,
    sites: disk_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            let lines = lines_of(&blow).await?;
            write_zeros(&blow, lines[lines.len() - 1], 1).await
        })
    }),
};
