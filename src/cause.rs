//! The cause of a failure, as the scenarios name it and as the event stream records it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A guest's memory or device has the wrong content.
    Corrupt,
    /// A VM or a process has ended, or did not end as expected.
    Exit,
    /// A wait, a process or a step did not end by its deadline.
    Timeout,
    /// What a step waits for can no longer happen.
    Impossible,
    /// QEMU refused a command or did not reply.
    Qmp,
    /// A migration failed, or did not end as expected.
    Migration,
    /// A guest panicked, reset, shut down or printed a kernel error.
    Guest,
    /// Another expectation of a step does not hold.
    Check,
    /// The test could not be run.
    Runner,
}

impl std::fmt::Display for CauseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Corrupt => "corrupt",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Impossible => "impossible",
            Self::Qmp => "qmp",
            Self::Migration => "migration",
            Self::Guest => "guest",
            Self::Check => "check",
            Self::Runner => "runner",
        })
    }
}

/// The cause of a failure in the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its kind.
    pub kind: CauseKind,
    /// The VM it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// What identifies the failure, such as what was awaited.
    pub what: String,
    /// What varies between failures of this kind: what was seen instead, or the output of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_displayed_as_it_is_written_and_is_a_type_in_junit() {
        let schema = include_str!("../schemas/junit.xsd");
        use CauseKind::{Check, Corrupt, Exit, Guest, Impossible, Migration, Qmp, Runner, Timeout};
        for kind in [Corrupt, Exit, Timeout, Impossible, Qmp, Migration, Guest, Check, Runner] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
            assert!(schema.contains(&format!("<xs:enumeration value=\"{kind}\"/>")), "{kind}");
        }
    }
}
