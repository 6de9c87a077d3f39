//! What an author did wrong, at its place: file, line, column, what is wrong, what would be right.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// The text of a scenario file and the name the user knows it by.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user would type it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// A place in a scenario file. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters, counted from 1.
    pub column: usize,
    /// Where it begins, in bytes from the start of the text.
    pub start: usize,
    /// Where it ends, in bytes from the start of the text.
    pub end: usize,
}

impl Location {
    /// The very beginning of a file, for what is wrong with it as a whole.
    #[must_use]
    pub fn top_of(file: &Arc<SourceFile>) -> Self {
        Self {
            file: Arc::clone(file),
            line: 1,
            column: 1,
            start: 0,
            end: 0,
        }
    }

    /// The file's path as the user knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.path.display(), self.line, self.column)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Location {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// "did you mean `x`?" where a known name is close to a wrong one, else the list of the known names.
#[must_use]
pub fn suggest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance);
    match (close, known.as_slice()) {
        (Some((_, name)), _) => format!("did you mean `{name}`?"),
        (None, []) => "there are none".to_owned(),
        (None, names) => format!("there are: {}", names.join(", ")),
    }
}
