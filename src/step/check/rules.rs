//! The kinds of a check, and its rules.

use serde_json::Value;

use super::oracles::number;
use super::{Check, Holds};
use crate::diagnostic::suggest;
use crate::session::metrics::METRICS;
use crate::step::client::is_address;
use crate::step::{Complaints, Rule, Scene, brief, listed};
use crate::units::OneOrMany;

/// What a `check` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`memory`](field@Check::memory).
    Memory,
    /// See [`query`](field@Check::query).
    Query,
    /// See [`no_event`](field@Check::no_event).
    NoEvent,
    /// See [`metric`](field@Check::metric).
    Metric,
    /// See [`value`](field@Check::value).
    Value,
    /// See [`equal`](field@Check::equal).
    Equal,
    /// See [`progress`](field@Check::progress).
    Progress,
    /// See [`disk`](field@Check::disk).
    Disk,
    /// See [`file`](field@Check::file).
    File,
    /// See [`checkpoint`](field@Check::checkpoint).
    Checkpoint,
    /// See [`stderr`](field@Check::stderr).
    Stderr,
    /// See [`client`](field@Check::client).
    Client,
}

/// The keys of a check of which exactly one must be given.
pub const CHECK_KINDS: &[&str] = &[
    "memory",
    "query",
    "no_event",
    "metric",
    "value",
    "equal",
    "progress",
    "checkpoint",
    "disk",
    "file",
    "stderr",
    "client",
];

/// The keys of which a check of a client needs at least one.
const CLIENT_KEYS: &[&str] = &["reconnects", "longest_gap", "lines", "order", "checkpoints", "known_at"];

/// The keys of which a check of a file needs at least one.
const FILE_KEYS: &[&str] = &["size", "at_least", "bytes_at"];

const REMOVE_VM: &str = "remove `vm`";

pub(super) const RULES: &[Rule] = &[
    Rule::ExactlyOne {
        keys: CHECK_KINDS,
        none: ("the check asserts nothing", ""),
        both: "write a `check` step for each",
    },
    Rule::GoesWith { key: "arguments", owners: &["query"] },
    Rule::GoesWith { key: "is", owners: &["query"] },
    Rule::GoesWith { key: "is_not", owners: &["query"] },
    Rule::GoesWith { key: "for", owners: &["no_event"] },
    Rule::GoesWith { key: "below", owners: &["metric", "value"] },
    Rule::GoesWith { key: "above", owners: &["metric", "value"] },
    Rule::GoesWith { key: "of", owners: &["value"] },
    Rule::GoesWith { key: "holds", owners: &["disk"] },
    Rule::GoesWith { key: "size", owners: &["file"] },
    Rule::GoesWith { key: "at_least", owners: &["file"] },
    Rule::GoesWith { key: "bytes_at", owners: &["file"] },
    Rule::GoesWith { key: "reconnects", owners: &["client"] },
    Rule::GoesWith { key: "longest_gap", owners: &["client"] },
    Rule::GoesWith { key: "lines", owners: &["client"] },
    Rule::GoesWith { key: "order", owners: &["client"] },
    Rule::GoesWith { key: "checkpoints", owners: &["client"] },
    Rule::GoesWith { key: "known_at", owners: &["client"] },
    Rule::Excludes { key: "metric", others: &["vm"], help: REMOVE_VM },
    Rule::Excludes { key: "value", others: &["vm"], help: REMOVE_VM },
    Rule::Excludes { key: "equal", others: &["vm"], help: REMOVE_VM },
    Rule::Excludes { key: "disk", others: &["vm"], help: REMOVE_VM },
    Rule::Excludes { key: "file", others: &["vm"], help: REMOVE_VM },
    Rule::Excludes { key: "client", others: &["vm"], help: REMOVE_VM },
    Rule::Needs { key: "metric", any: &["below", "above"], none: ("the `metric` has no bound", "") },
    Rule::Needs { key: "value", any: &["below", "above"], none: ("the `value` has no bound", "") },
    Rule::Needs { key: "query", any: &["is", "is_not"], none: ("nothing is compared with the reply", "") },
    Rule::Needs {
        key: "disk",
        any: &["holds"],
        none: ("`disk` needs `holds`", "add the expected lines, such as `holds: {client: NAME}`"),
    },
    Rule::Needs {
        key: "client",
        any: CLIENT_KEYS,
        none: ("the check asserts nothing about the `client`", ""),
    },
    Rule::Needs { key: "file", any: FILE_KEYS, none: ("the check asserts nothing about the `file`", "") },
    Rule::Unless {
        key: "vm",
        others: &["metric", "value", "equal", "stderr", "client", "disk", "file"],
        none: ("the check names no VM", "add `vm: NAME`"),
    },
];

impl Check {
    /// The kind of the check; `None` if it asserts nothing.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        let kinds = [
            (Kind::Memory, self.memory.is_some()),
            (Kind::Query, self.query.is_some()),
            (Kind::NoEvent, self.no_event.is_some()),
            (Kind::Metric, self.metric.is_some()),
            (Kind::Value, self.value.is_some()),
            (Kind::Equal, self.equal.is_some()),
            (Kind::Progress, self.progress.is_some()),
            (Kind::Disk, self.disk.is_some()),
            (Kind::File, self.file.is_some()),
            (Kind::Checkpoint, self.checkpoint.is_some()),
            (Kind::Stderr, self.stderr.is_some()),
            (Kind::Client, self.client.is_some()),
        ];
        kinds.into_iter().find_map(|(kind, is_given)| is_given.then_some(kind))
    }

    pub(super) fn check_keys(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if let Some(holds) = &self.holds {
            complaints.rules_at(&["holds"], Holds::RULES, holds);
        }
        if let Some(client) = self.holds.as_ref().and_then(|holds| holds.client.as_ref()) {
            complaints.client(scene, &["holds", "client"], client);
        }
        for expression in self.stderr.iter().flat_map(|stderr| &stderr.allow) {
            complaints.regex(&["stderr", "allow"], expression);
        }
        for expression in self.stderr.iter().flat_map(|stderr| &stderr.has) {
            complaints.regex(&["stderr", "has"], expression);
        }
        complaints.conditions("is", self.is.as_ref());
        complaints.conditions("is_not", self.is_not.as_ref());
        match self.kind() {
            Some(kind @ (Kind::Memory | Kind::Progress)) => {
                let key = if kind == Kind::Memory { "memory" } else { "progress" };
                complaints.built_in_guest(scene, &[key], key, self.about(), "give it `guest: ticker`");
            }
            Some(Kind::Metric) => {
                let name = self.metric.as_deref().unwrap_or_default();
                if !METRICS.iter().any(|(known, _)| *known == name) {
                    let help = suggest(name, METRICS.iter().map(|(known, _)| *known));
                    complaints.add(&["metric"], format!("there is no metric `{name}`"), help);
                }
            }
            Some(Kind::Value) => {
                let is_template = |value: &Value| value.as_str().is_some_and(|text| text.contains("{{"));
                for (key, value) in [("value", &self.value), ("of", &self.of)] {
                    if let Some(value) =
                        value.as_deref().filter(|value| number(value).is_none() && !is_template(value))
                    {
                        let help =
                            "write a number, or a template of a number such as `{{run.captures.NAME}}`";
                        complaints.add(&[key], format!("{} is not a number", brief(value)), help);
                    }
                }
            }
            Some(Kind::Client) => {
                complaints.client(scene, &["client"], self.client.as_deref().unwrap_or_default());
                if let Some(address) = self.known_at.as_ref().filter(|address| !is_address(address)) {
                    complaints.add(
                        &["known_at"],
                        format!("`{address}` is not a valid `HOST:PORT`"),
                        "write `127.0.0.1:7003`",
                    );
                }
            }
            Some(Kind::File) => self.check_file(complaints),
            Some(Kind::Stderr) if self.about().is_empty() => {
                complaints.add(&[], "the check names no VM", "add `vm: NAME`");
            }
            Some(Kind::Equal) if self.equal.as_ref().is_some_and(|values| values.len() < 2) => {
                complaints.add(&["equal"], "`equal` needs at least two values", "add another value");
            }
            _ => {}
        }
        if self.vm.is_some() && self.stderr.as_ref().is_some_and(|stderr| stderr.vm.is_some()) {
            let vms = listed(self.vm.as_ref().unwrap_or(&OneOrMany(vec![])));
            complaints.add(
                &["stderr", "vm"],
                "`vm` is given twice",
                format!("keep `vm: {vms}` beside `stderr`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first complaint about the keys, with its help.
    fn complaint(value: Value) -> String {
        let check: Check = serde_json::from_value(value).unwrap();
        let mut complaints = Complaints::default();
        complaints.rules(RULES, &check);
        complaints.0.first().map_or_else(String::new, |first| {
            format!("{}: {}", first.message, first.help.as_deref().unwrap_or_default())
        })
    }

    #[test]
    fn a_check_asserts_exactly_one_thing() {
        assert_eq!(complaint(json!({"vm": "a", "memory": "consistent"})), "");
        assert!(complaint(json!({"vm": "a"})).contains("asserts nothing: add `memory`, `query`"));
        assert_eq!(
            complaint(json!({"vm": "a", "memory": "consistent", "progress": "kept"})),
            "`progress` cannot be combined with `memory`: write a `check` step for each"
        );
    }

    #[test]
    fn a_check_that_cannot_fail_is_refused() {
        assert_eq!(
            complaint(json!({"vm": "a", "query": "query-status"})),
            "nothing is compared with the reply: add `is` or `is_not`"
        );
        assert!(complaint(json!({"metric": "failover"})).contains("has no bound: add `below` or `above`"));
        assert!(complaint(json!({"value": 3, "of": 4})).contains("has no bound"));
        assert!(complaint(json!({"metric": "failover", "below": 1, "of": 4})).contains("`of` needs `value`"));
        assert!(complaint(json!({"client": "c"})).contains("add `reconnects`"));
        assert!(complaint(json!({"file": "f"})).contains("add `size`"));
        assert_eq!(complaint(json!({"memory": "consistent"})), "the check names no VM: add `vm: NAME`");
    }

    #[test]
    fn the_vm_of_a_stderr_check_can_be_inside() {
        let check: Check = serde_json::from_value(json!({"stderr": {"vm": "a", "allow": ["x"]}})).unwrap();
        assert_eq!(check.kind(), Some(Kind::Stderr));
        assert_eq!(check.about(), ["a"]);
    }
}
