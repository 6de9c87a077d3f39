//! `migration-times`.

use serde_json::json;

use super::acts::{changed, reply_sites};
use super::{Act, Kind, Sabotage, Shows};

/// The times of `query-migrate` (`downtime`, `total-time`) are ten minutes.
pub(super) const MIGRATION_TIMES: Sabotage = Sabotage {
    name: "migration-times",
    kind: Kind::Replies,
    does: "the times of `query-migrate` (`downtime`, `total-time`) are ten minutes",
    blind: "how long the migration of `VM` takes",
    hint: |_| "check: {metric: migration_downtime, below: 1s}",
    shows: Shows::AtOnce,
    sites: |scene| reply_sites(scene, |command| command == "query-migrate"),
    act: Act::Filter {
        heard: Some(|_, message| {
            changed(&message, "query-migrate", |reply| {
                for key in ["downtime", "total-time", "setup-time"] {
                    if reply[key].is_number() {
                        reply[key] = json!(600_000);
                    }
                }
            })
        }),
        said: None,
        once: false,
    },
};
