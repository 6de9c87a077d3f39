//! Failure signatures: a message without the parts that vary between failures of the same kind.

use std::sync::LazyLock;

use regex::Regex;

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

/// The first line of the message, with numbers, times and addresses replaced.
#[must_use]
pub fn signature(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    // What was expected identifies the failure; what was seen instead varies.
    let line = line.split("; saw ").next().unwrap_or(line);
    let mut text = super::text::one_line(line);
    for (pattern, word) in DIFFERENT.iter() {
        text = pattern.replace_all(&text, *word).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_a_valid_regex() {
        assert_eq!(DIFFERENT.len(), 6);
    }

    #[test]
    fn failures_of_one_kind_have_one_signature() {
        let one = "VM `secondary`: the guest found its memory wrong: page 17 (address 0x111000) holds 4, its register says 5 (1 behind)";
        let other = "VM `secondary`: the guest found its memory wrong: page 3 (address 0x103000) holds 14, its register says 15 (1 behind)";
        assert_eq!(signature(one), signature(other));
        assert!(signature(one).contains("page N (address ADDRESS) holds N"), "{}", signature(one));
        assert_eq!(
            signature("waited 30s 12ms for run state running of `primary`; saw paused"),
            "waited TIME for run state running of `primary`"
        );
        assert_eq!(signature("waited 1s for 3 ticks\nmore"), "waited TIME for N ticks");
        assert_eq!(signature("cannot open /tmp/lockstep-x1/0/a.sock: no"), "cannot open PATH: no");
    }

    #[test]
    fn failures_of_two_kinds_have_two() {
        assert_ne!(signature("no event STOP"), signature("no event RESUME"));
        assert_eq!(signature(""), "no reason given");
    }
}
