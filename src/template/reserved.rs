//! Names that nothing else may have.

use super::HELPERS;

/// Names with a meaning of their own, beside the helpers.
const RESERVED: &[&str] = &[
    "run",
    "case",
    "env",
    "port",
    "link",
    "disk",
    "credential",
    "self",
    "this",
    "as",
    "else",
    "true",
    "false",
    "null",
];

/// Reserved names, which a param, an axis or a loop variable may not have.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    HELPERS.iter().any(|(helper, _)| *helper == name) || RESERVED.contains(&name)
}
