//! Whether a case can run here, and if not, why.

use std::collections::BTreeSet;
use std::path::Path;

use super::binaries::Binaries;
use super::features::missing;
use crate::qemu::binary::Binary;
use crate::scenario::model::Requires;

/// The first unmet requirement as the reason to skip: what is needed and what was found. File features are probed in
/// `directory`.
#[must_use]
pub fn unmet(requires: &Requires, binaries: &[&Binary], directory: &Path) -> Option<String> {
    for binary in binaries {
        if let Some(range) = requires.qemu.as_ref().filter(|range| !range.contains(&binary.version)) {
            return Some(format!("needs QEMU {range}, this is {}", binary.version));
        }
    }
    for binary in binaries {
        let wanted: [(&str, &[String], &BTreeSet<String>); 6] = [
            ("migration capability", &requires.capabilities, &binary.capabilities),
            ("QMP command", &requires.commands, &binary.commands),
            ("machine type", &requires.machines, &binary.machines),
            ("device", &requires.devices, &binary.devices),
            ("object", &requires.objects, &binary.objects),
            ("block driver", &requires.block_drivers, &binary.block_drivers),
        ];
        for (what, names, there) in wanted {
            if let Some(missing) = names.iter().find(|name| !there.contains(*name)) {
                return Some(format!(
                    "needs the {what} `{missing}`, which QEMU {} does not have",
                    binary.version
                ));
            }
        }
    }
    for binary in binaries {
        if let Some(reason) =
            requires.parameters.0.iter().find_map(|(name, words)| parameter(binary, name, words))
        {
            return Some(reason);
        }
    }
    requires.host.iter().find_map(|feature| missing(*feature, directory))
}

/// The reason to skip if a required `--qemu NAME=PATH` is missing.
#[must_use]
pub fn not_given(requires: &Requires, binaries: &Binaries) -> Option<String> {
    let named: Vec<&str> = binaries.names().collect();
    let missing = requires.qemus.iter().find(|name| !named.contains(&name.as_str()))?;
    Some(format!("needs the QEMU `{missing}`: pass `--qemu {missing}=PATH`"))
}

/// The migration parameter, or the values of it, that a binary does not know.
fn parameter(binary: &Binary, name: &str, words: &[String]) -> Option<String> {
    let version = &binary.version;
    let known = binary.schema.arguments("migrate-set-parameters");
    if !binary.parameters.contains(name) && !known.contains(&name) {
        return Some(format!("needs the migration parameter `{name}`, which QEMU {version} does not have"));
    }
    let there = binary.schema.words("migrate-set-parameters", name)?;
    let missing = words.iter().find(|word| !there.contains(word))?;
    Some(format!(
        "needs `{missing}` for the migration parameter `{name}`; QEMU {version} knows {}",
        there.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binary() -> Binary {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Binary {
            capabilities: set(&["x-colo"]),
            block_drivers: set(&["quorum"]),
            schema: std::sync::Arc::new(crate::qemu::schema::tests::sample()),
            ..Binary::made_up("7.2.22")
        }
    }

    fn reason(requires: serde_json::Value) -> Option<String> {
        unmet(&serde_json::from_value(requires).unwrap(), &[&binary()], Path::new("/"))
    }

    #[test]
    fn what_is_there_is_no_reason() {
        let requires = json!({"qemu": ">=7.2", "capabilities": ["x-colo"], "machines": "pc", "block_drivers": ["quorum"]});
        assert_eq!(reason(requires), None);
    }

    #[test]
    fn a_parameter_is_known_by_its_name_and_by_its_words() {
        assert_eq!(reason(json!({"parameters": ["max-bandwidth", "throttle"]})), None);
        assert_eq!(reason(json!({"parameters": {"multifd-compression": "zlib", "max-bandwidth": 3}})), None);
        assert_eq!(
            reason(json!({"parameters": "direct-io"})).unwrap(),
            "needs the migration parameter `direct-io`, which QEMU 7.2.22 does not have"
        );
        assert_eq!(
            reason(json!({"parameters": {"multifd-compression": ["zlib", "zstd"]}})).unwrap(),
            "needs `zstd` for the migration parameter `multifd-compression`; QEMU 7.2.22 knows none, zlib"
        );
    }

    #[test]
    fn a_qemu_that_must_be_given_by_its_name_is_missed() {
        let binaries = Binaries::new([("old".to_owned(), "/bin/true".to_owned())]);
        let missed = |qemus: serde_json::Value| {
            not_given(&serde_json::from_value(json!({ "qemus": qemus })).unwrap(), &binaries)
        };
        assert_eq!(missed(json!("old")), None);
        assert_eq!(missed(json!(["old", "new"])).unwrap(), "needs the QEMU `new`: pass `--qemu new=PATH`");
    }

    #[test]
    fn what_is_missing_is_named_with_what_was_found() {
        assert_eq!(reason(json!({"qemu": ">=11.0"})).unwrap(), "needs QEMU >=11.0, this is 7.2.22");
        assert_eq!(
            reason(json!({"commands": ["yank", "x-colo-lost-heartbeat"]})).unwrap(),
            "needs the QMP command `x-colo-lost-heartbeat`, which QEMU 7.2.22 does not have"
        );
    }
}
