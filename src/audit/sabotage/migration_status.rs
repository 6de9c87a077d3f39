//! `migration-status`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// `query-migrate` says `failed` instead of the final status.
pub(super) const MIGRATION_STATUS: Sabotage = Sabotage {
    name: "migration-status",
    kind: Kind::Replies,
    does: "`query-migrate` says `failed` instead of the final status",
    blind: "how the migration of `VM` ends",
    hint: |_| "wait: {vm: VM, migration: completed}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-migrate"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-migrate", |reply| {
                if reply["status"] == "completed" || reply["status"] == "colo" {
                    reply["status"] = json!("failed");
                }
            })
        }),
        said: None,
        once: false,
    },
};
