//! Failure signatures: a failure without the parts that vary between failures of the same kind.

use std::sync::LazyLock;

use regex::Regex;

use crate::cause::Cause;

/// The patterns to replace, in this order, and their replacements.
static DIFFERENT: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        // Timestamps, durations, addresses, sizes, and other numbers.
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
        (r"\b0x[0-9a-fA-F]+\b", "ADDRESS"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
        (r"\b\d+(\.\d+)?\s?(ns|us|µs|ms|s|m|h)\b(\s\d+(\.\d+)?\s?(ns|us|µs|ms|s|m|h)\b)*", "TIME"),
        (r"/(tmp|var|run|proc|dev/shm)/[^\s'`\x22:;,)]+", "PATH"),
        (r"\b\d+(\.\d+)?", "N"),
    ]
    .into_iter()
    .filter_map(|(pattern, word)| Regex::new(pattern).ok().map(|pattern| (pattern, word)))
    .collect()
});

/// The first line of what identifies the failure, with numbers, times and addresses replaced.
#[must_use]
pub fn signature(cause: Option<&Cause>, message: &str) -> String {
    // A result without a cause has another reason, or is from a file of an earlier version.
    let what = cause.map_or(message, |cause| &cause.what);
    let line = what.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    let line = if cause.is_none() { line.split("; saw ").next().unwrap_or(line) } else { line };
    let mut text = super::text::one_line(line);
    for (pattern, word) in DIFFERENT.iter() {
        text = pattern.replace_all(&text, *word).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::CauseKind;

    #[test]
    fn every_pattern_is_a_valid_regex() {
        assert_eq!(DIFFERENT.len(), 6);
    }

    #[test]
    fn failures_of_one_kind_have_one_signature() {
        let one = "VM `secondary`: the guest found its memory wrong: page 17 (address 0x111000) holds 4, its register says 5 (1 behind)";
        let other = "VM `secondary`: the guest found its memory wrong: page 3 (address 0x103000) holds 14, its register says 15 (1 behind)";
        assert_eq!(signature(None, one), signature(None, other));
        assert!(
            signature(None, one).contains("page N (address ADDRESS) holds N"),
            "{}",
            signature(None, one)
        );
        assert_eq!(
            signature(None, "waited 30s 12ms for run state running of `primary`; saw paused"),
            "waited TIME for run state running of `primary`"
        );
        assert_eq!(signature(None, "waited 1s for 3 ticks\nmore"), "waited TIME for N ticks");
        assert_eq!(signature(None, "cannot open /tmp/lockstep-x1/0/a.sock: no"), "cannot open PATH: no");
    }

    #[test]
    fn failures_of_two_kinds_have_two() {
        assert_ne!(signature(None, "no event STOP"), signature(None, "no event RESUME"));
        assert_eq!(signature(None, ""), "no reason given");
    }

    #[test]
    fn a_cause_is_grouped_without_what_was_seen_and_without_its_consequences() {
        let of = |what: &str, seen: &str| {
            let cause = Cause {
                kind: CauseKind::Timeout,
                vm: None,
                what: what.to_owned(),
                seen: Some(seen.to_owned()),
            };
            signature(Some(&cause), &format!("{what}; saw {seen} (and then: VM `b` died)"))
        };
        assert_eq!(
            of("waited 1.0 s for serial output matching /; saw a/", "b"),
            "waited TIME for serial output matching /; saw a/"
        );
        assert_eq!(of("waited 3 ms for 2 ticks", "0"), of("waited 1.5 s for 2 ticks", "1; its last line: x"));
    }
}
