//! The allowed symptoms of a guest in trouble, and the console lines of a Linux kernel that indicate trouble.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::diagnostic::invalid_regex;
use crate::units::OneOrMany;

/// What a guest may print or do that would otherwise fail the case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Anything.
    Off,
    /// Matches of one of these regular expressions.
    Allow(#[serde(deserialize_with = "expressions")] OneOrMany<String>),
}

impl Default for Health {
    fn default() -> Self {
        Self::Allow(OneOrMany(Vec::new()))
    }
}

impl Health {
    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        *self == Self::default()
    }

    /// The regular expressions of what is allowed.
    #[must_use]
    pub fn allowed(&self) -> &[String] {
        static ANYTHING: LazyLock<[String; 1]> = LazyLock::new(|| [String::new()]);
        match self {
            Self::Off => &*ANYTHING,
            Self::Allow(expressions) => &expressions.0,
        }
    }
}

fn expressions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<String>, D::Error> {
    let expressions = OneOrMany::<String>::deserialize(deserializer)?;
    // Templates that only the run can render are parsed again then.
    for expression in expressions.0.iter().filter(|text| !text.contains("{{")) {
        if let Some(message) = invalid_regex(expression) {
            return Err(de::Error::custom(message));
        }
    }
    Ok(expressions)
}

/// What a kernel prints if it, or one of its devices, is broken. Excludes what it prints on a slow machine: soft
/// lockups and stalls.
static TROUBLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        Kernel\ panic\ -\ not\ syncing | \bOops: | \bkernel\ BUG\ at\b | \bgeneral\ protection\ fault\b
        | \bBUG:\ (?:unable|kernel|Bad|scheduling|sleeping|non-zero|stack|KASAN|KFENCE|using|spinlock|corrupted|recent)
        | \bdouble\ fault\b | \bI/O\ error,\ dev\b | \bBuffer\ I/O\ error\b | \bEXT[234]-fs\ error\b | \bJBD2?:\ .*(?:error|fail)
        | \b(?:XFS|BTRFS)\b.*\b(?:error|[Cc]orrupt\w*)\b | \bRemounting\ filesystem\ read-only
        | \bmachine\ check\ events\ logged\b | \bhung\ task\b.*panic
        ",
    )
    .expect("the expression is right")
});

/// The line of a guest's console, without control sequences, if it indicates trouble.
#[must_use]
pub fn trouble(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    TROUBLE.is_match(&line).then(|| line.trim().chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kernel_failures_are_detected_by_their_lines() {
        for line in [
            "[    3.141592] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: unable to handle page fault for address: ffffc90000000000",
            "Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
            "kernel BUG at mm/slub.c:435!",
            "I/O error, dev vda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
            "Buffer I/O error on dev vda, logical block 3, lost sync page write",
            "EXT4-fs error (device vda): ext4_find_entry:1455: inode #2: comm sh: reading directory lblock 0",
        ] {
            assert_eq!(trouble(format!("{line}\r").as_bytes()).as_deref(), Some(line));
        }
    }

    #[test]
    fn lines_of_a_healthy_or_slow_guest_are_not_failures() {
        for line in [
            "lockstep guest ready",
            "wrote 20",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [init:1]",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "DEBUG: kernel says hello",
            "error: no such line",
        ] {
            assert_eq!(trouble(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn health_is_off_or_has_expressions() {
        let health = |value| serde_json::from_value::<Health>(value);
        assert_eq!(health(json!("off")).unwrap().allowed(), [""]);
        assert_eq!(health(json!({"allow": "^RESET "})).unwrap().allowed(), ["^RESET "]);
        assert!(Health::default().allowed().is_empty());
        let error = health(json!({"allow": ["("]})).unwrap_err().to_string();
        assert!(error.starts_with("`(` is not a valid regular expression: unclosed group"), "{error}");
    }
}
