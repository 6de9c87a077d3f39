//! `parameter-wrong`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-migrate-parameters";

fn change(reply: &mut Value) {
    for value in reply.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        if let Some(number) = value.as_u64() {
            *value = json!(number.saturating_sub(1));
        }
    }
}

/// The numbers in the replies to `query-migrate-parameters` are too small by one.
pub(super) const PARAMETER_WRONG: Sabotage = Sabotage {
    name: "parameter-wrong",
    kind: Kind::Replies,
    does: "the numbers in the replies to `query-migrate-parameters` are too small by one",
    blind: "the parameters that `VM` has",
    hint: |_| "parameters: {vm: VM, set: {max-bandwidth: 1000000000}}",
    shows: Shows::AtOnce,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
