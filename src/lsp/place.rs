//! Converts between the places of texts and those of the protocol: lines and UTF-16 columns from 0, URIs.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use lsp_types::{Position, Uri};

use crate::diagnostic::Location;
use crate::report::text::encoded;

/// The position of a byte.
pub(super) fn position(text: &str, byte: usize) -> Position {
    let before = &text[..byte.min(text.len())];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    Position::new(line as u32, before[start..].encode_utf16().count() as u32)
}

/// The byte of a position; a position after the end of a line is its end.
pub(super) fn byte(text: &str, position: Position) -> usize {
    let start = match position.line {
        0 => Some(0),
        line => text.match_indices('\n').nth(line as usize - 1).map(|(at, _)| at + 1),
    };
    let Some(start) = start else {
        return text.len();
    };
    let line = text[start..].split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut left = position.character as usize;
    let within = line.char_indices().find(|(_, letter)| {
        let passed = left < letter.len_utf16();
        left = left.saturating_sub(letter.len_utf16());
        passed
    });
    start + within.map_or(line.len(), |(at, _)| at)
}

/// The range of bytes.
pub(super) fn range(text: &str, bytes: &Range<usize>) -> lsp_types::Range {
    lsp_types::Range::new(position(text, bytes.start), position(text, bytes.end))
}

/// The range of a place.
pub(super) fn range_of(at: &Location) -> lsp_types::Range {
    range(&at.file.text, &(at.start..at.end))
}

/// The path of a `file:` URI. Another URI, such as that of a text without a file, is its own path.
pub(super) fn path(uri: &Uri) -> PathBuf {
    let Some(encoded) = uri.as_str().strip_prefix("file://") else {
        return PathBuf::from(uri.as_str());
    };
    // Between the slashes there may be the name of this host.
    let encoded = &encoded[encoded.find('/').unwrap_or(0)..];
    let (mut bytes, mut rest) = (Vec::new(), encoded.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The URI of a path.
pub(super) fn uri(path: &Path) -> Option<Uri> {
    let absolute = std::path::absolute(path).ok()?;
    let text = format!("file://{}", encoded(absolute.as_os_str().as_bytes()));
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_utf_16() {
        let text = "a\r\nü𝄞x: 1\n";
        let x = text.find('x').unwrap();
        assert_eq!(position(text, x), Position::new(1, 3));
        assert_eq!(byte(text, Position::new(1, 3)), x);
        assert_eq!(byte(text, Position::new(0, 99)), 1);
        assert_eq!(byte(text, Position::new(9, 0)), text.len());
        assert_eq!(position(text, text.len()), Position::new(2, 0));
    }

    #[test]
    fn a_path_survives_its_uri() {
        let there = Path::new("/tmp/a b/ü%20#?.yaml");
        let uri = uri(there).unwrap();
        assert_eq!(uri.as_str(), "file:///tmp/a%20b/%C3%BC%2520%23%3F.yaml");
        assert_eq!(path(&uri), there);
        assert_eq!(path(&"untitled:Untitled-1".parse().unwrap()), Path::new("untitled:Untitled-1"));
    }
}
