//! `migration-counters`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-migrate";

fn change(reply: &mut Value) {
    // Before its end a migration may not have sent anything yet.
    if reply["status"] != "completed" || reply["ram"]["transferred"].as_u64().is_none_or(|sent| sent == 0) {
        return;
    }
    if let Some(ram) = reply["ram"].as_object_mut() {
        ram.values_mut().filter(|value| value.is_number()).for_each(|value| *value = json!(0));
    }
}

/// The counters of `query-migrate` are zero.
pub(super) const MIGRATION_COUNTERS: Sabotage = Sabotage {
    name: "migration-counters",
    kind: Kind::Replies,
    does: "the counters of `query-migrate` are zero",
    blind: "how much the migration of `VM` has sent",
    hint: |_| "check: {vm: VM, query: query-migrate, is: {ram: {transferred: {above: 0}}}}",
    shows: Shows::AtOnce,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
