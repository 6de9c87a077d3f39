//! `check: {file: …}`: the size and content of a file on the host, such as one that a migration wrote.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::File;
use crate::session::Failure;
use crate::step::{Bytes, Complaints};
use crate::units::ByteCount;

/// The maximum number of bytes in a message.
const SHOWN: usize = 16;

/// Bytes that a file must have at an offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BytesAt {
    /// Their offset in the file: a size (`4K`) or a number of bytes.
    pub offset: ByteCount,
    /// The expected bytes.
    pub is: Bytes,
}

impl File {
    pub(super) fn title(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        let mut parts = Vec::new();
        parts.extend(self.size.map(|size| format!("{size} long")));
        parts.extend(self.at_least.map(|size| format!("at least {size} long")));
        parts.extend(self.bytes_at.iter().flatten().map(|bytes| format!("bytes at {}", bytes.offset)));
        format!("file {name}: {}", parts.join(", "))
    }

    pub(super) fn check(&self, complaints: &mut Complaints) {
        if self.bytes_at.as_ref().is_some_and(Vec::is_empty) {
            complaints.add(&["bytes_at"], "`bytes_at` is empty", "write `[{offset: 0, is: {text: …}}]`");
        }
        for (number, bytes) in self.bytes_at.iter().flatten().enumerate() {
            bytes.is.check(&["bytes_at", &number.to_string(), "is"], complaints);
        }
    }

    /// Checks the file; the result is its size in bytes.
    pub(super) fn run(&self, directory: &Path) -> Result<Value, Failure> {
        let path = directory.join(&self.file);
        let shown = path.display();
        let failed = |what: String| Failure::failed(format!("the file `{shown}` {what}"));
        let unreadable = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => failed("does not exist".to_owned()),
            _ => failed(format!("cannot be read: {error}")),
        };
        // To open a FIFO can block forever, and to open a device can change it.
        let known = std::fs::metadata(&path).map_err(unreadable)?;
        if !known.is_file() {
            return Err(failed("is not a regular file".to_owned()));
        }
        let size = known.len();
        if let Some(expected) = self.size.filter(|expected| expected.0 != size) {
            return Err(failed(format!("is {size} bytes long, not {}", expected.0)));
        }
        if let Some(least) = self.at_least.filter(|least| size < least.0) {
            return Err(failed(format!("is {size} bytes long, less than {}", least.0)));
        }
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        for bytes in self.bytes_at.iter().flatten() {
            let expected = bytes.is.bytes().map_err(|(_, why)| Failure::error(why))?;
            let from = bytes.offset.0;
            let end = from.saturating_add(expected.len() as u64);
            if end > size {
                let what = format!("is {size} bytes long, it has no bytes {from} to {}", end - 1);
                return Err(failed(what));
            }
            let mut found = vec![0; expected.len()];
            file.read_exact_at(&mut found, from).map_err(unreadable)?;
            if let Some(first) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
                return Err(failed(format!(
                    "holds {} at offset {}, not {}",
                    shown_bytes(&found[first..]),
                    from + first as u64,
                    shown_bytes(&expected[first..]),
                )));
            }
        }
        Ok(json!(size))
    }
}

/// The first bytes, in hexadecimal and as text.
fn shown_bytes(bytes: &[u8]) -> String {
    let some = &bytes[..bytes.len().min(SHOWN)];
    let digits: Vec<String> = some.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN { " …" } else { "" };
    let printable = some.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let text = if printable { format!(" (`{}`)", String::from_utf8_lossy(some)) } else { String::new() };
    format!("{}{more}{text}", digits.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(directory: &Path, check: Value) -> Result<Value, String> {
        let check: File = serde_json::from_value(check).unwrap();
        check.run(directory).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_file_is_what_its_size_and_bytes_say() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), b"XXXXQEVM").unwrap();
        let all = json!({"file": "f", "size": "8B", "at_least": "8B", "bytes_at": [
            {"offset": 0, "is": {"text": "X", "times": 4}},
            {"offset": 4, "is": {"u32": 0x5145_564d}},
        ]});
        assert_eq!(look(directory.path(), all), Ok(json!(8)));
    }

    #[test]
    fn a_mismatch_names_its_offset() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), b"XXXXQEVM").unwrap();
        let failure = |check: Value| look(directory.path(), check).unwrap_err();
        let at = |offset: u64, is: Value| {
            failure(json!({"file": "f", "bytes_at": [{"offset": offset, "is": is}]}))
        };
        assert!(at(2, json!({"text": "XY"})).ends_with("holds 58 (`X`) at offset 3, not 59 (`Y`)"));
        assert!(at(6, json!({"u32": 1})).ends_with("is 8 bytes long, it has no bytes 6 to 9"));
        assert!(at(u64::MAX, json!({"u32": 1})).contains("is 8 bytes long, it has no bytes"));
        assert!(failure(json!({"file": "f", "size": "1K"})).ends_with("is 8 bytes long, not 1024"));
        assert!(failure(json!({"file": "f", "at_least": "9B"})).ends_with("is 8 bytes long, less than 9"));
        assert!(failure(json!({"file": "g", "size": "1B"})).ends_with("does not exist"));
        assert!(failure(json!({"file": ".", "size": "1B"})).ends_with("is not a regular file"));
    }
}
