//! What releases of QEMU know, as data: names and types to compare a scenario with if there is no binary.
//!
//! The files are made from the binaries of Debian 12, Debian 13 and Debian unstable, for x86-64 (the test
//! `the_data_of_a_release_are_those_of_its_qemu` of `tests/qmp_schema.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binary::Binary;
use super::schema::Schema;

/// The files, oldest release first.
pub const FILES: [(&str, &str); 3] = [
    ("7.2", include_str!("releases/7.2.json")),
    ("10.0", include_str!("releases/10.0.json")),
    ("11.1", include_str!("releases/11.1.json")),
];

/// The content of a file.
#[derive(Serialize, Deserialize)]
struct Release {
    version: Version,
    machines: BTreeSet<String>,
    capabilities: BTreeSet<String>,
    parameters: BTreeSet<String>,
    devices: BTreeSet<String>,
    objects: BTreeSet<String>,
    schema: Schema,
}

/// The releases, oldest first, as binaries without a path.
#[must_use]
pub fn all() -> &'static [Arc<Binary>] {
    static ALL: LazyLock<Vec<Arc<Binary>>> =
        LazyLock::new(|| FILES.iter().filter_map(|(_, text)| read(text)).map(Arc::new).collect());
    &ALL
}

fn read(text: &str) -> Option<Binary> {
    let release: Release = serde_json::from_str(text).ok()?;
    let names = |of: Vec<&str>| of.into_iter().map(str::to_owned).collect();
    Some(Binary {
        path: PathBuf::new(),
        version: release.version,
        package: String::new(),
        arch: "x86_64".to_owned(),
        accelerators: ["kvm", "tcg"].map(str::to_owned).into(),
        kvm_works: false,
        machines: release.machines,
        aliases: BTreeMap::new(),
        default_machine: None,
        capabilities: release.capabilities,
        parameters: release.parameters,
        commands: names(release.schema.commands().collect()),
        devices: release.devices,
        objects: release.objects,
        block_drivers: names(release.schema.variants("blockdev-add")),
        oob: true,
        trace_events: BTreeSet::new(),
        schema: Arc::new(release.schema),
    })
}

/// The file for a binary.
#[must_use]
pub fn file_of(binary: &Binary) -> String {
    let release = Release {
        version: binary.version.clone(),
        machines: binary.machines.clone(),
        capabilities: binary.capabilities.clone(),
        parameters: binary.parameters.clone(),
        devices: binary.devices.clone(),
        objects: binary.objects.clone(),
        schema: (*binary.schema).clone(),
    };
    let mut text = String::new();
    lines(&serde_json::to_value(release).unwrap_or_default(), 0, &mut text);
    text + "\n"
}

/// One line for each command, event and type, so that the difference of two versions can be read.
fn lines(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if depth < 3 && !map.is_empty() => {
            for (number, (key, value)) in map.iter().enumerate() {
                text.push_str(if number == 0 { "{\n" } else { ",\n" });
                text.push_str(&format!("{}: ", Value::from(key.as_str())));
                lines(value, depth + 1, text);
            }
            text.push_str("\n}");
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_that_of_its_release() {
        for ((name, _), binary) in FILES.iter().zip(all()) {
            let Version { major, minor, .. } = binary.version;
            assert_eq!(*name, format!("{major}.{minor}"));
            assert!(binary.has_colo() && binary.machines.contains("q35") && binary.devices.contains("e1000"));
        }
        assert_eq!(all().len(), FILES.len());
    }
}
