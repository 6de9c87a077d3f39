//! `reply-error`.

use serde_json::json;

use super::acts::all_reply_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// An error arrives instead of the reply to a command.
pub(super) const REPLY_ERROR: Sabotage = Sabotage {
    name: "reply-error",
    kind: Kind::Replies,
    does: "an error arrives instead of the reply to a command",
    blind: "whether `DETAIL` succeeds on `VM`",
    hint: |_| "qmp: {vm: VM, execute: DETAIL}",
    shows: Shows::AtOnce,
    sites: all_reply_sites,
    act: Act::Filter {
        heard: Some(|site, message| {
            let error = || json!({"error": {"class": "GenericError", "desc": "sabotaged"}, "id": message.value["id"]});
            message.answers(&site.detail).then(|| vec![Late::not(error())])
        }),
        said: None,
        once: true,
    },
};
