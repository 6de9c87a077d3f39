//! `event-order`.

use serde_json::Value;

use super::acts::{event_hint, is_meant, is_telling, order_sites};
use super::{Act, Kind, Sabotage, Shows};
use crate::qemu::qmp_filter::Late;

/// An event arrives after the one that follows it.
pub(super) const EVENT_ORDER: Sabotage = Sabotage {
    name: "event-order",
    kind: Kind::Replies,
    does: "an event arrives after the one that follows it",
    blind: "the order of the events DETAIL of `VM`",
    hint: |site| event_hint(site),
    shows: Shows::ByDeadline,
    sites: order_sites,
    act: Act::Filter {
        heard: Some(|site, message| {
            if !is_telling(message.value) {
                return None;
            }
            match message.kept.take() {
                Value::Null if is_meant(site, &message) => {
                    *message.kept = message.value.clone();
                    Some(Vec::new())
                }
                Value::Object(held) => {
                    *message.kept = Value::Bool(true);
                    Some(vec![Late::not(message.value.clone()), Late::not(Value::Object(held))])
                }
                kept => {
                    *message.kept = kept;
                    None
                }
            }
        }),
        said: None,
        once: false,
    },
};
