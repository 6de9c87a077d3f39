//! `migration-times`.

use serde_json::{Value, json};

use super::acts::{changed, timed_field_sites};
use super::{Act, Kind, Sabotage, Shows};

const QUERY: &str = "query-migrate";

fn change(reply: &mut Value) {
    for key in ["downtime", "total-time", "setup-time"] {
        if reply[key].is_number() {
            reply[key] = json!(600_000);
        }
    }
}

/// The times of `query-migrate` (`downtime`, `total-time`) are ten minutes.
pub(super) const MIGRATION_TIMES: Sabotage = Sabotage {
    name: "migration-times",
    kind: Kind::Replies,
    does: "the times of `query-migrate` (`downtime`, `total-time`) are ten minutes",
    blind: "how long the migration of `VM` takes",
    hint: |_| "check: {metric: migration_downtime, below: 1s}",
    shows: Shows::AtOnce,
    sites: |scene| timed_field_sites(scene, QUERY, change),
    act: Act::Filter { heard: Some(|_, message| changed(&message, QUERY, change)), said: None, once: false },
};
