//! `command-late`.

use serde_json::Value;

use super::acts::{acknowledged, command_hint, is_change, late_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::{Late, Said};

/// A command is acknowledged at once and runs after the next one.
pub(super) const COMMAND_LATE: Sabotage = Sabotage {
    name: "command-late",
    kind: Kind::Commands,
    does: "a command is acknowledged at once and runs after the next one that changes something",
    blind: "when `DETAIL` is done on `VM`",
    hint: |site| command_hint(site),
    shows: Shows::ByDeadline,
    sites: late_sites,
    act: Act::Filter {
        heard: None,
        said: Some(|site, command, message, kept| match kept.take() {
            Value::Null if command == site.detail => {
                *kept = message.clone();
                // Its reply is not expected by anyone.
                kept.as_object_mut()?.remove("id");
                Some(acknowledged(message))
            }
            Value::Object(held) if is_change(command) => {
                *kept = Value::Bool(true);
                let sent = vec![Late::not(message.clone()), Late::not(Value::Object(held))];
                Some(Said { sent, heard: Vec::new() })
            }
            other => {
                *kept = other;
                None
            }
        }),
        once: false,
    },
};
