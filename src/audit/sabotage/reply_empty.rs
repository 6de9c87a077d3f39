//! `reply-empty`.

use serde_json::json;

use super::acts::{query_hint, reply_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// The replies to a query are empty from here on.
pub(super) const REPLY_EMPTY: Sabotage = Sabotage {
    name: "reply-empty",
    kind: Kind::Replies,
    does: "the replies to a query are empty from here on",
    blind: "the reply of `VM` to DETAIL",
    hint: |site| query_hint(site),
    shows: Shows::ByDeadline,
    sites: |scene| reply_sites(scene, |command| command.starts_with("query-")),
    act: Act::Filter {
        heard: Some(|site, message| {
            let empty = || json!({"return": {}, "id": message.value["id"]});
            message.replies_to(&site.detail).then(|| vec![Late::not(empty())])
        }),
        said: None,
        once: false,
    },
};
