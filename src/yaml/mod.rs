//! Parses YAML into a tree in which every value and every key has its place.

mod node;
mod places;
mod reader;
mod scalar;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

pub use node::{Key, Kind, Node};
pub(crate) use scalar::plain;

use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

/// The maximum size of a file.
const MAX_BYTES: u64 = 8 << 20;

fn unreadable(path: &Path, message: &str) -> Vec<Diagnostic> {
    let file = Arc::new(SourceFile::new(path, ""));
    vec![Diagnostic::error(Code::Unreadable, &Location::top_of(&file), message)]
}

/// Reads a file.
///
/// # Errors
/// One diagnostic if the file cannot be read or is not YAML; one for each duplicate key.
pub(crate) fn read(path: &Path) -> Result<Node, Vec<Diagnostic>> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => unreadable(path, "no such file"),
        _ => unreadable(path, &format!("cannot read the file: {error}")),
    };
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(unreadable(path, "a directory, not a file"));
    }
    let mut bytes = Vec::new();
    // The length of a device or a pipe is not known before reading.
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    from_bytes(path, bytes)
}

/// Parses the bytes of a file; `path` is its name.
///
/// # Errors
/// As [`read`].
pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Node, Vec<Diagnostic>> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(path, &format!("the file is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let file = Arc::new(SourceFile::new(path, String::from_utf8_lossy(error.as_bytes())));
            let message = match error.as_bytes() {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16, not UTF-8".to_owned(),
                bytes => {
                    let letter = char::from(bytes[at]);
                    format!("the file is not UTF-8 text: byte 0x{:02x}, `{letter}` in Latin-1", bytes[at])
                }
            };
            let place = Location::of(&file, at, at + 1);
            return Err(vec![Diagnostic::error(Code::Unreadable, &place, message).help("save it as UTF-8")]);
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    reader::document(&Arc::new(SourceFile::new(path, text)))
}

#[cfg(test)]
mod tests;
