//! `command-twice`.

use super::acts::twice_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::{Late, Said};

/// A command is sent twice.
pub(super) const COMMAND_TWICE: Sabotage = Sabotage {
    name: "command-twice",
    kind: Kind::Commands,
    does: "a command is sent twice",
    blind: "that `DETAIL` is done once on `VM`",
    hint: |_| "check: {vm: VM, no_event: STOP}",
    shows: Shows::AtOnce,
    sites: twice_sites,
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| {
            let mut second = message.clone();
            // Its reply is not expected by anyone.
            second.as_object_mut()?.remove("id");
            let sent = vec![Late::not(message.clone()), Late::not(second)];
            (command == site.detail).then(|| Said { sent, heard: Vec::new() })
        }),
        once: true,
    },
};
