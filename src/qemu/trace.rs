//! QEMU's trace events: the patterns that select them, the options, and the lines that the backend `log` writes.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use glob::Pattern;
use serde::{Deserialize, Deserializer, Serialize, de};

/// A pattern of the names of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Events(pub String);

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What else QEMU accepts in a pattern, `-trace` would read in another way.
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_*?".contains(&byte);
        let what = match &*text {
            "" => "an empty text".to_owned(),
            // A template that only the run can render is parsed again then.
            text if text.contains("{{") || text.bytes().all(is_right) => return Ok(Self(text.to_owned())),
            text => format!("`{text}`"),
        };
        Err(de::Error::custom(format!(
            "{what} is not a pattern of trace events; write letters, digits, `_`, `*` and `?`, such as `migration_*`"
        )))
    }
}

/// Whether one of these events has a name that matches the pattern.
#[must_use]
pub fn matches_any(pattern: &str, events: &BTreeSet<String>) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| events.iter().any(|event| pattern.matches(event)))
}

/// The names of events, and the patterns of all events that begin with the same words: what a wrong pattern is compared
/// with.
#[must_use]
pub fn known(events: &BTreeSet<String>) -> BTreeSet<String> {
    let words = |event: &String| -> Vec<String> {
        event.match_indices('_').map(|(at, _)| format!("{}_*", &event[..at])).collect()
    };
    events.iter().flat_map(words).chain(events.iter().cloned()).collect()
}

/// The options that enable events. QEMU writes the time of each line only with `-msg timestamp=on`.
#[must_use]
pub fn options(patterns: &[Events]) -> Vec<(&'static str, String)> {
    let enabled = patterns.iter().map(|Events(pattern)| ("-trace", format!("enable={pattern}")));
    let time = (!patterns.is_empty()).then(|| ("-msg", "timestamp=on".to_owned()));
    enabled.chain(time).collect()
}

/// A line of the log that is a trace event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'l> {
    /// When QEMU wrote it, in seconds of the host's real-time clock.
    pub emitted: f64,
    /// The event's name.
    pub name: &'l str,
    /// Its arguments.
    pub text: &'l str,
}

impl<'l> Line<'l> {
    /// Reads `THREAD@SECONDS:NAME TEXT`, or since QEMU 11 `YYYY-MM-DDTHH:MM:SS.MICROSECONDSZ NAME TEXT`.
    #[must_use]
    pub fn parse(line: &'l str) -> Option<Self> {
        let (head, rest) = line.split_once(['@', ' '])?;
        let (emitted, rest) = if line[head.len()..].starts_with('@') {
            head.parse::<u32>().ok()?;
            let (seconds, rest) = rest.split_once(':')?;
            (seconds.parse().ok()?, rest)
        } else {
            let time = humantime::parse_rfc3339(head).ok()?;
            (time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64(), rest)
        };
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (!name.is_empty() && name.bytes().all(is_name)).then_some(Self { emitted, name, text })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::qemu::spec::VmSpec;

    #[test]
    fn a_line_has_the_time_that_qemu_wrote() {
        let name = "migrate_set_state";
        for (line, text) in [
            ("30477@1795825806.250000:migrate_set_state new state setup", "new state setup"),
            ("2026-11-28T00:30:06.250000Z migrate_set_state new state setup", "new state setup"),
            ("2026-11-28T00:30:06.250000Z migrate_set_state ", ""),
            ("1@1795825806.25:migrate_set_state", ""),
        ] {
            let expected = Line { emitted: 1795825806.25, name, text };
            assert_eq!(Line::parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn another_line_of_the_log_is_not_an_event() {
        for line in ["", "IN: ", "a@1.5:name x", "1@x:name", "2026-11-28 name", "1@1.5:a:b c", "0x1: 33 c0"] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let events = BTreeSet::from(["migrate_set_state", "migration_bitmap"].map(str::to_owned));
        let matches = |pattern| matches_any(pattern, &events);
        assert!(matches("*") && matches("migrat*_s?t_*") && matches("migration_bitmap"));
        assert!(!matches("migration") && !matches("migrate_s?t_") && !matches("MIGRATE_*"));
        assert!(known(&events).contains("migration_*") && known(&events).contains("migrate_set_*"));
    }

    #[test]
    fn a_pattern_cannot_have_what_the_option_reads_in_another_way() {
        let read = |pattern: &str| serde_json::from_value::<VmSpec>(json!({"trace": [pattern]}));
        assert_eq!(read("a_*").unwrap().trace, [Events("a_*".to_owned())]);
        assert!(read("{{x}}").is_ok());
        for wrong in ["", "-a", "a,file=b", "a b", "[ab]"] {
            assert!(read(wrong).unwrap_err().to_string().contains("is not a pattern of trace events"));
        }
    }
}
