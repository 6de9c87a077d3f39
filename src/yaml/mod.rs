//! Parses YAML into a tree in which every value and every key has its place.

mod node;
mod places;
mod reader;
mod scalar;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

pub use node::{Key, Kind, Node};
pub use scalar::plain;

use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

/// The maximum size of a file.
const MAX_BYTES: u64 = 8 << 20;

/// Reads a file.
///
/// # Errors
/// One diagnostic if the file cannot be read or is not YAML; one for each duplicate key.
pub fn read(path: &Path) -> Result<Node, Vec<Diagnostic>> {
    let unreadable = |message: String| {
        let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
        vec![Diagnostic::error(Code::Unreadable, &Location::top_of(&file), message)]
    };
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable("no such file".to_owned()),
        _ => unreadable(format!("cannot read the file: {error}")),
    })?;
    if meta.is_dir() {
        return Err(unreadable("a directory, not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    // The length of a device or a pipe is not known before reading.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(format!("cannot read the file: {error}")))?;
    from_bytes(path, bytes)
}

/// Parses the bytes of a file; `path` is its name.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Node, Vec<Diagnostic>> {
    let file = |text: String| Arc::new(SourceFile { path: path.to_owned(), text });
    let too_large = bytes.len() as u64 > MAX_BYTES;
    if too_large {
        let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        let place = Location::top_of(&file(String::new()));
        return Err(vec![Diagnostic::error(Code::Unreadable, &place, message)]);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let file = file(String::from_utf8_lossy(error.as_bytes()).into_owned());
            let place = Location::of(&file, at, at + 1);
            let message = match error.as_bytes() {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16, not UTF-8".to_owned(),
                bytes => {
                    let letter = char::from(bytes[at]);
                    format!("the file is not UTF-8 text: byte 0x{:02x}, `{letter}` in Latin-1", bytes[at])
                }
            };
            return Err(vec![Diagnostic::error(Code::Unreadable, &place, message).help("save it as UTF-8")]);
        }
    };
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    parse(&file(text))
}

/// Parses a text.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    reader::document(file)
}

#[cfg(test)]
mod tests;
