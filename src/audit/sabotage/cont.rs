//! `cont`.

use serde_json::{Value, json};

use super::{Act, Kind, Sabotage, Shows};

/// A second monitor resumes a guest that is stopped.
pub(super) const CONT: Sabotage = Sabotage {
    name: "cont",
    kind: Kind::Machine,
    does: "a second monitor resumes a guest that is stopped",
    blind: "whether the guest of `VM` stays stopped",
    hint: |_| "check: {vm: VM, query: query-status, is: {running: false}}",
    shows: Shows::AtOnce,
    sites: |scene| scene.vms().into_iter().flat_map(|vm| scene.stopped_moments(vm)).collect(),
    act: Act::Strike(|blow| {
        Box::pin(async move {
            // At the end of a migration, a moment after its event.
            let status = blow.ask("query-status", Value::Null).await?;
            match status["status"].as_str() {
                Some("finish-migrate") => Err("the migration has not ended".to_owned()),
                _ => blow.qmp("cont", json!({})).await,
            }
        })
    }),
};
