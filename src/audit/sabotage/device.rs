//! `device`.

use std::time::Duration;

use super::acts::device_sites;
use super::{Act, Kind, Sabotage, Shows};

/// A register of a device (a byte of the CMOS memory) is overwritten.
pub(super) const DEVICE: Sabotage = Sabotage {
    name: "device",
    kind: Kind::Memory,
    does: "a register of a device (a byte of the CMOS memory) is overwritten",
    blind: "the devices of `VM`",
    hint: |_| "wait: {vm: VM, ticks: 1}",
    shows: Shows::AtOnce,
    sites: device_sites,
    act: Act::Strike(|blow| {
        Box::pin(async move {
            // The guest reads the byte and writes it in turn: one of these is read.
            for pause in [0, 20, 20] {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                blow.out(0x70, 0x5e).await?;
                blow.out(0x71, 0xa5).await?;
            }
            Ok(())
        })
    }),
};
