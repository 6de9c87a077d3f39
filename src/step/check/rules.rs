//! The kinds of a check, and its rules.

use serde_json::Value;

use super::Check;
use super::oracles::number;
use crate::diagnostic::suggest;
use crate::qemu::spec::Guest;
use crate::session::metrics::METRICS;
use crate::step::client::is_address;
use crate::step::{About, Complaints, Rule, Scene, alternatives, brief, listed};
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

/// The keys of a check that need one of several others.
pub const CHECK_BELONGS: &[(&str, &[&str])] = &[
    ("arguments", &["query"]),
    ("is", &["query"]),
    ("is_not", &["query"]),
    ("for", &["no_event"]),
    ("below", &["metric", "value"]),
    ("above", &["metric", "value"]),
    ("of", &["value"]),
    ("holds", &["disk"]),
    ("size", &["file"]),
    ("at_least", &["file"]),
    ("bytes_at", &["file"]),
    ("reconnects", &["client"]),
    ("longest_gap", &["client"]),
    ("lines", &["client"]),
    ("order", &["client"]),
    ("checkpoints", &["client"]),
    ("known_at", &["client"]),
];

/// The keys of which a check of a client needs at least one.
pub const CLIENT_KEYS: &[&str] = &["reconnects", "longest_gap", "lines", "order", "checkpoints", "known_at"];

/// The keys of which a check of a file needs at least one.
pub const FILE_KEYS: &[&str] = &["size", "at_least", "bytes_at"];

impl Check {
    /// The kind of the check.
    ///
    /// # Errors
    /// The key at fault, the message and the help.
    pub fn kind(&self) -> Result<Kind, (&'static str, String, String)> {
        let given: Vec<(&'static str, Kind)> = [
            ("memory", Kind::Memory, self.memory.is_some()),
            ("query", Kind::Query, self.query.is_some()),
            ("no_event", Kind::NoEvent, self.no_event.is_some()),
            ("metric", Kind::Metric, self.metric.is_some()),
            ("value", Kind::Value, self.value.is_some()),
            ("equal", Kind::Equal, self.equal.is_some()),
            ("progress", Kind::Progress, self.progress.is_some()),
            ("disk", Kind::Disk, self.disk.is_some()),
            ("file", Kind::File, self.file.is_some()),
            ("checkpoint", Kind::Checkpoint, self.checkpoint.is_some()),
            ("stderr", Kind::Stderr, self.stderr.is_some()),
            ("client", Kind::Client, self.client.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, kind, is_given)| is_given.then_some((key, kind)))
        .collect();
        let belonging = [
            ("arguments", self.arguments.is_some()),
            ("is", self.is.is_some()),
            ("is_not", self.is_not.is_some()),
            ("for", self.for_.is_some()),
            ("below", self.below.is_some()),
            ("above", self.above.is_some()),
            ("of", self.of.is_some()),
            ("holds", self.holds.is_some()),
            ("size", self.size.is_some()),
            ("at_least", self.at_least.is_some()),
            ("bytes_at", self.bytes_at.is_some()),
            ("reconnects", self.reconnects.is_some()),
            ("longest_gap", self.longest_gap.is_some()),
            ("lines", self.lines.is_some()),
            ("order", self.order.is_some()),
            ("checkpoints", self.checkpoints.is_some()),
            ("known_at", self.known_at.is_some()),
        ];
        let (key, kind) = match given.as_slice() {
            [] => {
                let belongs = CHECK_BELONGS.iter().find(|(key, _)| belonging.contains(&(*key, true)));
                let help = match belongs {
                    Some((key, owners)) => Rule::needs_owner(key, owners),
                    None => format!("add one of {}", alternatives(CHECK_KINDS)),
                };
                return Err(("", "the check asserts nothing".to_owned(), help));
            }
            [one] => *one,
            [(first, _), (second, _), ..] => {
                return Err((
                    second,
                    format!("a check asserts one thing, not `{first}` and `{second}`"),
                    "write a `check` step for each".to_owned(),
                ));
            }
        };
        for &(other, owners) in CHECK_BELONGS {
            if belonging.contains(&(other, true)) && !owners.contains(&key) {
                return Err(Rule::misplaced(other, owners, key));
            }
        }
        match kind {
            Kind::Metric | Kind::Value | Kind::Equal | Kind::Disk | Kind::File | Kind::Client
                if self.vm.is_some() =>
            {
                Err(("vm", format!("`vm` cannot be combined with `{key}`"), "remove `vm`".to_owned()))
            }
            Kind::Metric | Kind::Value if self.below.is_none() && self.above.is_none() => {
                Err((key, format!("the {key} has no bound"), "add `below`, `above` or both".to_owned()))
            }
            Kind::Disk => match &self.holds {
                Some(holds) => holds.check().map(|()| kind),
                None => {
                    // Not at `disk`: its path is usually only known during the run.
                    let help = "add the expected lines, such as `holds: {client: NAME}`".to_owned();
                    Err(("", "`disk` needs `holds`".to_owned(), help))
                }
            },
            Kind::Query if self.is.is_none() && self.is_not.is_none() => {
                let message = "`query` needs `is` or `is_not`".to_owned();
                Err(("query", message, "add `is`, `is_not` or both".to_owned()))
            }
            Kind::Equal if self.equal.as_ref().is_some_and(|values| values.len() < 2) => {
                Err(("equal", "`equal` needs at least two values".to_owned(), "add another value".to_owned()))
            }
            Kind::Client if !CLIENT_KEYS.iter().any(|key| belonging.contains(&(*key, true))) => Err((
                "client",
                "the check asserts nothing about the client".to_owned(),
                format!("add {}", alternatives(CLIENT_KEYS)),
            )),
            Kind::File if !FILE_KEYS.iter().any(|key| belonging.contains(&(*key, true))) => Err((
                "",
                "the check asserts nothing about the file".to_owned(),
                format!("add {}", alternatives(FILE_KEYS)),
            )),
            Kind::Metric | Kind::Value | Kind::Equal | Kind::Client | Kind::File => Ok(kind),
            _ if self.about().is_empty() => {
                Err(("", "the check names no VM".to_owned(), "add `vm: NAME`".to_owned()))
            }
            _ => Ok(kind),
        }
    }

    pub(super) fn check_keys(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
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
            Err((key, message, help)) => {
                let path: &[&str] = if key.is_empty() { &[] } else { &[key] };
                complaints.add(path, message, help);
            }
            Ok(kind @ (Kind::Memory | Kind::Progress)) => {
                for vm in self.about() {
                    if scene.vms.get(vm).is_some_and(|spec| !matches!(spec.guest, Guest::Ticker(_))) {
                        let key = if kind == Kind::Memory { "memory" } else { "progress" };
                        let message =
                            format!("VM `{vm}` does not run the built-in guest, which `{key}` needs");
                        complaints.add_about(About::Vm, &[key], message, "give it `guest: ticker`");
                    }
                }
            }
            Ok(Kind::Metric) => {
                let name = self.metric.as_deref().unwrap_or_default();
                if !METRICS.iter().any(|(known, _)| *known == name) {
                    let help = suggest(name, METRICS.iter().map(|(known, _)| *known));
                    complaints.add(&["metric"], format!("there is no metric `{name}`"), help);
                }
            }
            Ok(Kind::Value) => {
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
            Ok(Kind::Client) => {
                complaints.client(scene, &["client"], self.client.as_deref().unwrap_or_default());
                if let Some(address) = self.known_at.as_ref().filter(|address| !is_address(address)) {
                    complaints.add(
                        &["known_at"],
                        format!("`{address}` is not a valid `HOST:PORT`"),
                        "write `127.0.0.1:7003`",
                    );
                }
            }
            Ok(Kind::File) => self.check_file(complaints),
            Ok(_) => {}
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

    fn kind(value: Value) -> Result<Kind, (&'static str, String, String)> {
        serde_json::from_value::<Check>(value).unwrap().kind()
    }

    #[test]
    fn a_check_asserts_exactly_one_thing() {
        assert_eq!(kind(json!({"vm": "a", "memory": "consistent"})), Ok(Kind::Memory));
        assert!(kind(json!({"vm": "a"})).unwrap_err().1.contains("asserts nothing"));
        assert!(
            kind(json!({"vm": "a", "memory": "consistent", "progress": "kept"}))
                .unwrap_err()
                .1
                .contains("one thing")
        );
    }

    #[test]
    fn a_check_that_cannot_fail_is_refused() {
        assert!(kind(json!({"vm": "a", "query": "query-status"})).is_err());
        assert!(kind(json!({"metric": "failover"})).is_err());
        assert!(kind(json!({"value": 3, "of": 4})).unwrap_err().1.contains("has no bound"));
        assert!(
            kind(json!({"metric": "failover", "below": 1, "of": 4})).unwrap_err().1.contains("needs `value`")
        );
        assert!(kind(json!({"equal": [1]})).is_err());
        assert!(kind(json!({"memory": "consistent"})).is_err());
    }

    #[test]
    fn a_stderr_check_may_name_its_vm_inside() {
        let check: Check = serde_json::from_value(json!({"stderr": {"vm": "a", "allow": ["x"]}})).unwrap();
        assert_eq!(check.kind(), Ok(Kind::Stderr));
        assert_eq!(check.about(), ["a"]);
    }
}
