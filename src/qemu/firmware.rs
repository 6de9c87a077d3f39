//! The UEFI firmware of a VM: its code, and its own copy of the variables.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// The firmware in flash memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// Debian's package `ovmf`.
    Ovmf,
    /// Files of the user.
    Files(Flash),
}

/// The images of the flash memory, raw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    /// The code, by its path. It is only read.
    pub code: String,
    /// The variables, by the path of an image that is copied for each VM when it is first started.
    pub vars: String,
}

/// The files of Debian's package `ovmf`, without Secure Boot: its code and the empty variables, newest first.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

impl Firmware {
    /// The same with the files that are installed.
    ///
    /// # Errors
    /// The reason to skip the case: they are not installed.
    pub fn located(self) -> Result<Self, String> {
        let Self::Ovmf = self else { return Ok(self) };
        let there = OVMF.iter().find(|(code, vars)| Path::new(code).is_file() && Path::new(vars).is_file());
        match there {
            Some((code, vars)) => {
                Ok(Self::Files(Flash { code: (*code).to_owned(), vars: (*vars).to_owned() }))
            }
            None => Err(format!(
                "needs the firmware OVMF: {} not found; install Debian's package `ovmf`, or name the files: \
                 `firmware: {{code: …, vars: …}}`",
                OVMF[0].0
            )),
        }
    }

    /// Copies the files for a VM, unless it has its copies already, and uses these. A QEMU of another suite does not see
    /// this machine's `/usr`.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn copy(&mut self, vm: &str, directory: &Path) -> std::io::Result<()> {
        let Self::Files(Flash { code, vars }) = self else { return Ok(()) };
        for (kind, path) in [("code", code), ("vars", vars)] {
            let own: PathBuf = directory.join(format!("{vm}.{kind}.fd"));
            if !own.exists() {
                // Not `std::fs::copy`, which would also copy that the file must not be written.
                std::fs::write(&own, std::fs::read(&*path)?)?;
            }
            *path = own.display().to_string();
        }
        Ok(())
    }

    /// What `-machine` needs, and the `-blockdev`s of the flash memory.
    #[must_use]
    pub fn options(&self) -> (&'static str, Vec<String>) {
        let Self::Files(Flash { code, vars }) = self else { return ("", Vec::new()) };
        let node = |name: &str, file: &str, read_only: bool| {
            json!({"driver": "file", "node-name": name, "filename": file, "read-only": read_only}).to_string()
        };
        let nodes = vec![node("lockstep-code", code, true), node("lockstep-vars", vars, false)];
        ("pflash0=lockstep-code,pflash1=lockstep-vars", nodes)
    }
}

impl Serialize for Firmware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ovmf => serializer.serialize_str("ovmf"),
            Self::Files(flash) => flash.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Firmware {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;
        impl<'de> Visitor<'de> for WordOrMap {
            type Value = Firmware;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`ovmf`, or the files: `{code: PATH, vars: PATH}`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Firmware, E> {
                match word {
                    "ovmf" => Ok(Firmware::Ovmf),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Firmware, A::Error> {
                Flash::deserialize(MapAccessDeserializer::new(map)).map(Firmware::Files)
            }
        }
        deserializer.deserialize_any(WordOrMap)
    }
}

impl JsonSchema for Firmware {
    fn schema_name() -> Cow<'static, str> {
        "Firmware".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let flash: Value = generator.subschema_for::<Flash>().to_value();
        json_schema!({"anyOf": [{"enum": ["ovmf"]}, flash]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vm_has_its_own_firmware_and_keeps_its_variables() {
        let folder = tempfile::tempdir().unwrap();
        let (code, vars) = (folder.path().join("code"), folder.path().join("vars"));
        std::fs::write(&code, "code").unwrap();
        std::fs::write(&vars, "empty").unwrap();
        let flash = Flash { code: code.display().to_string(), vars: vars.display().to_string() };
        let mut firmware = Firmware::Files(flash);
        let again = firmware.clone();
        firmware.copy("vm", folder.path()).unwrap();
        let own = folder.path().join("vm.vars.fd");
        assert_eq!(std::fs::read(&own).unwrap(), b"empty");
        std::fs::write(&own, "boot order").unwrap();
        let mut restarted = again;
        restarted.copy("vm", folder.path()).unwrap();
        assert_eq!(restarted, firmware);
        assert_eq!(std::fs::read(&own).unwrap(), b"boot order");
        let (_, nodes) = firmware.options();
        assert!(nodes[0].contains(r#""read-only":true"#) && nodes[1].contains(&own.display().to_string()));
    }

    #[test]
    fn serialized_firmware_reads_back_unchanged() {
        for value in [json!("ovmf"), json!({"code": "c", "vars": "v"})] {
            let read: Firmware = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), value);
        }
        assert!(serde_json::from_value::<Firmware>(json!("seabios")).is_err());
    }
}
