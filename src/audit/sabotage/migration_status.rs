//! `migration-status`.

use serde_json::{Value, json};

use super::acts::{changed, field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-migrate";

fn change(reply: &mut Value) {
    if reply["status"] == "completed" || reply["status"] == "colo" {
        reply["status"] = json!("failed");
    }
}

/// `query-migrate` says `failed` instead of the final status.
pub(super) const MIGRATION_STATUS: Sabotage = Sabotage {
    name: "migration-status",
    kind: Kind::Replies,
    does: "`query-migrate` says `failed` instead of the final status",
    blind: "how the migration of `VM` ends",
    hint: |_| "wait: {vm: VM, migration: completed}",
    shows: Shows::AtOnce,
    sites: |scene| field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
