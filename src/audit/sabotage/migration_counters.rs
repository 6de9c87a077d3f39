//! `migration-counters`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// The counters of `query-migrate` are zero.
pub(super) const MIGRATION_COUNTERS: Sabotage = Sabotage {
    name: "migration-counters",
    kind: Kind::Replies,
    does: "the counters of `query-migrate` are zero",
    blind: "how much the migration of `VM` has sent",
    hint: |_| "check: {vm: VM, query: query-migrate, is: {ram: {transferred: {above: 0}}}}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-migrate"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-migrate", |reply| {
                if let Some(ram) = reply["ram"].as_object_mut() {
                    ram.values_mut().filter(|value| value.is_number()).for_each(|value| *value = json!(0));
                }
            })
        }),
        said: None,
        once: false,
    },
};
