//! When a query is asked again: after which QMP events, or at which interval.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::qemu::contains::is_condition;
use crate::session::Machine;

/// The shortest pause between two looks at what QEMU does not announce. See [`pause`].
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest one.
pub const LONGEST: Duration = Duration::from_millis(10);

/// The pause between two looks at what QEMU announces. It bounds the delay if an announcement does not come: a migration
/// can fail without an event, and a command of the human monitor can turn the events of migrations off.
const UNANNOUNCED: Duration = Duration::from_millis(200);

/// The pause before the next look at what QEMU does not announce, after so long a wait: a sixteenth of it, within bounds.
pub(super) fn pause(waited: Duration) -> Duration {
    (waited / 16).clamp(SHORTEST, LONGEST)
}

/// A part of a reply, and the events that QEMU sends when it has changed.
struct Announced {
    query: &'static str,
    /// Its place in the reply; the items of a list have the place of the list.
    member: &'static str,
    /// The values of which this is true; empty for all of them.
    values: &'static [&'static str],
    events: &'static [&'static str],
}

/// What QEMU (7.2 to 11.1) announces. It changes the value before it sends the event, or holds its big lock from the event
/// to the change, so that a query that is sent after the event has the new value.
const ANNOUNCED: &[Announced] = &[
    // Not `none`, which is the absence of a migration.
    Announced {
        query: "query-migrate",
        member: "status",
        values: &[
            "setup",
            "cancelling",
            "cancelled",
            "active",
            "postcopy-active",
            "postcopy-paused",
            "postcopy-recover-setup",
            "postcopy-recover",
            "completed",
            "failed",
            "colo",
            "pre-switchover",
            "device",
            "wait-unplug",
        ],
        events: &["MIGRATION"],
    },
    Announced {
        query: "query-migrate",
        member: "ram.dirty-sync-count",
        values: &[],
        events: &["MIGRATION_PASS", "MIGRATION"],
    },
    // The others, such as `postmigrate`, can follow without an event if the guest is stopped already.
    Announced {
        query: "query-status",
        member: "status",
        values: &[
            "running",
            "suspended",
            "guest-panicked",
            "io-error",
            "watchdog",
            "internal-error",
            "debug",
            "shutdown",
        ],
        events: RUN_STATE,
    },
    Announced { query: "query-status", member: "running", values: &[], events: RUN_STATE },
    Announced {
        query: "query-colo-status",
        member: "mode",
        values: &[],
        events: &["MIGRATION", "COLO_EXIT"],
    },
    Announced { query: "query-jobs", member: "id", values: &[], events: &["JOB_STATUS_CHANGE"] },
    Announced { query: "query-jobs", member: "status", values: &[], events: &["JOB_STATUS_CHANGE"] },
    Announced { query: "query-chardev", member: "label", values: &[], events: &["VSERPORT_CHANGE"] },
    Announced { query: "query-chardev", member: "frontend-open", values: &[], events: &["VSERPORT_CHANGE"] },
];

/// The events of a change from or to a running guest.
const RUN_STATE: &[&str] = &["STOP", "RESUME", "SUSPEND", "WAKEUP", "SHUTDOWN", "GUEST_PANICKED"];

/// When a query that waits for a reply is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wakes {
    /// After one of these events.
    By(BTreeSet<&'static str>),
    /// QEMU does not announce it: after any event, and at an interval.
    Interval,
}

impl Wakes {
    /// For a query of a VM whose reply must contain something.
    pub(super) fn of(machine: &Machine, query: &str, expected: &Value) -> Self {
        match Self::announced(query, expected) {
            Self::By(events) if events.contains("MIGRATION") && !machine.log.lock().has_migration_events => {
                Self::Interval
            }
            wakes => wakes,
        }
    }

    /// The same for a VM that reports migrations.
    fn announced(query: &str, expected: &Value) -> Self {
        let mut events = BTreeSet::new();
        let mut is_announced = |member: &str, value: &Value| {
            let row = ANNOUNCED.iter().find(|row| row.query == query && row.member == member);
            let row = row.filter(|row| {
                row.values.is_empty() || value.as_str().is_some_and(|value| row.values.contains(&value))
            });
            events.extend(row.into_iter().flat_map(|row| row.events));
            row.is_some()
        };
        if each_leaf("", expected, &mut is_announced) && !events.is_empty() {
            Self::By(events)
        } else {
            Self::Interval
        }
    }

    /// Whether an event wakes it.
    pub(super) fn has(&self, event: &str) -> bool {
        match self {
            Self::By(events) => events.contains(event),
            Self::Interval => true,
        }
    }

    /// The longest pause until the query is asked again, after so long a wait.
    pub(super) fn pause(&self, waited: Duration) -> Duration {
        match self {
            Self::By(_) => UNANNOUNCED,
            Self::Interval => pause(waited),
        }
    }
}

/// Whether something holds for each value in what is expected, with its place.
fn each_leaf(member: &str, expected: &Value, holds: &mut impl FnMut(&str, &Value) -> bool) -> bool {
    match expected {
        Value::Object(map) if !is_condition(map) => map.iter().all(|(key, value)| {
            let member = if member.is_empty() { key.clone() } else { format!("{member}.{key}") };
            each_leaf(&member, value, holds)
        }),
        Value::Array(items) => items.iter().all(|item| each_leaf(member, item, holds)),
        value => holds(member, value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(query: &str, expected: Value) -> String {
        match Wakes::announced(query, &expected) {
            Wakes::By(events) => events.into_iter().collect::<Vec<_>>().join(" "),
            Wakes::Interval => "interval".to_owned(),
        }
    }

    #[test]
    fn a_query_waits_for_the_events_of_all_that_is_expected() {
        assert_eq!(of("query-migrate", json!({"status": "colo"})), "MIGRATION");
        assert_eq!(
            of("query-migrate", json!({"status": "active", "ram": {"dirty-sync-count": {"above": 2}}})),
            "MIGRATION MIGRATION_PASS"
        );
        assert_eq!(of("query-jobs", json!([{"id": "copy", "status": "ready"}])), "JOB_STATUS_CHANGE");
        assert!(of("query-status", json!({"running": true, "status": "running"})).contains("RESUME"));
    }

    #[test]
    fn what_qemu_does_not_announce_is_asked_at_an_interval() {
        let transferred = json!({"status": "active", "ram": {"transferred": {"above": 0}}});
        assert_eq!(of("query-migrate", transferred), "interval");
        assert_eq!(of("query-status", json!({"status": "postmigrate"})), "interval");
        assert_eq!(of("query-status", json!({"status": {"matches": "run"}})), "interval");
        assert_eq!(of("query-migrate", json!({"status": "none"})), "interval");
        assert_eq!(of("query-block", json!([])), "interval");
        assert_eq!(of("query-migrate", json!({})), "interval");
    }

    #[test]
    fn the_pause_grows_with_the_wait_within_bounds() {
        let ms = Duration::from_millis;
        let pauses = [0, 32, 80, 160, 10_000].map(|waited| pause(ms(waited)));
        assert_eq!(pauses, [ms(1), ms(2), ms(5), ms(10), ms(10)]);
    }

    #[test]
    fn the_document_has_each_row() {
        let document = include_str!("../../docs/architecture.md");
        for row in ANNOUNCED {
            let has = |line: &&str| {
                let parts = [row.query, row.member];
                let words = parts.iter().chain(row.values).chain(row.events);
                line.starts_with('|') && words.into_iter().all(|word| line.contains(&format!("`{word}`")))
            };
            assert!(document.lines().any(|line| has(&line)), "no row for {} {}", row.query, row.member);
        }
    }
}
