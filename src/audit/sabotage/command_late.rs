//! `command-late`.

use std::time::Duration;

use super::acts::{acknowledged, late_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// A command is acknowledged at once and sent two seconds later.
pub(super) const COMMAND_LATE: Sabotage = Sabotage {
    name: "command-late",
    kind: Kind::Commands,
    does: "a command is acknowledged at once and sent two seconds later",
    blind: "when `DETAIL` is done on `VM`",
    hint: |_| "wait: {vm: VM, query: query-status, until: {status: running}}",
    shows: Shows::AtOnce,
    sites: late_sites,
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, _| {
            let mut said = acknowledged(message);
            let mut late = message.clone();
            late.as_object_mut()?.remove("id");
            said.sent.push(Late { after: Duration::from_secs(2), message: late });
            (command == site.detail).then_some(said)
        }),
        once: true,
    },
};
