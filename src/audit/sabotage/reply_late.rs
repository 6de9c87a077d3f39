//! `reply-late`.

use std::time::Duration;

use super::acts::all_reply_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// The reply to a command arrives two minutes late.
pub(super) const REPLY_LATE: Sabotage = Sabotage {
    name: "reply-late",
    kind: Kind::Replies,
    does: "the reply to a command arrives two minutes late",
    blind: "whether `DETAIL` is answered by `VM`",
    hint: |_| "qmp: {vm: VM, execute: DETAIL}",
    shows: Shows::ByDeadline,
    sites: all_reply_sites,
    act: Act::Filter {
        heard: Some(|site, message| {
            let late = || vec![Late { after: Duration::from_secs(120), message: message.value.clone() }];
            message.answers(&site.detail).then(late)
        }),
        said: None,
        once: true,
    },
};
