//! What an author did wrong, at its place: file, line, column, what is wrong, what would be right.

mod code;
mod machine;
mod render;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

pub use code::Code;
pub use machine::{ANNOTATIONS, Place, annotation, further};

/// The text of a scenario file and its name as given by the user.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user would type it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
}

impl SourceFile {
    /// A file with this text.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.into(), text, lines }
    }
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
    /// The start, in bytes from the start of the text.
    pub start: usize,
    /// The end, in bytes from the start of the text.
    pub end: usize,
}

impl Location {
    /// The start of a file, for errors about the whole file.
    #[must_use]
    pub fn top_of(file: &Arc<SourceFile>) -> Self {
        Self { file: Arc::clone(file), line: 1, column: 1, start: 0, end: 0 }
    }

    /// The place of a byte range in a file; clamped to the text and to character boundaries.
    #[must_use]
    pub fn of(file: &Arc<SourceFile>, start: usize, end: usize) -> Self {
        let text = &file.text;
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        let start = boundary(start).unwrap_or(0);
        let end = boundary(end).unwrap_or(0).max(start);
        let line = file.lines.partition_point(|&begin| begin <= start);
        let column = 1 + text[file.lines[line - 1]..start].chars().count();
        Self { file: Arc::clone(file), line, column, start, end }
    }

    /// The text of the range.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        self.file.text.get(self.start..self.end).unwrap_or_default()
    }

    /// The file's path as the user named it.
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

/// The severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// The file can be used, but the author should check it.
    Warning,
}

/// One mistake in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The kind of mistake, with its stable code.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// Where.
    pub location: Location,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// A short label at the underlined text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Related places, each with an explanation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Location, String)>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(code: Code, location: &Location, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            location: location.clone(),
            message: message.into(),
            label: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: Code, location: &Location, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, location, message) }
    }

    /// Adds a label at the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds help; an empty text adds none.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into()).filter(|help| !help.is_empty());
        self
    }

    /// Adds a related place.
    #[must_use]
    pub fn related(mut self, location: &Location, what: impl Into<String>) -> Self {
        self.related.push((location.clone(), what.into()));
        self
    }
}

/// One line: `file:line:col: message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.location, self.message.replace('\n', " "))
    }
}

/// A collection of diagnostics without duplicates: the same message at the same place counts once, however many cases
/// have it.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    seen: HashSet<(PathBuf, usize, String)>,
    errors: usize,
}

impl Diagnostics {
    /// Adds one, unless it is already there.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        let location = &diagnostic.location;
        let key = (location.file.path.clone(), location.start, diagnostic.message.clone());
        if self.seen.insert(key) {
            self.list.push(diagnostic);
        }
    }

    /// Adds an error; an empty help adds none.
    pub fn error(&mut self, code: Code, at: &Location, message: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::error(code, at, message).help(help));
    }

    /// Adds several.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// All of them, file by file in the order in which the files first appear, each from its top.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut files: Vec<&Path> = Vec::new();
        for diagnostic in &self.list {
            if !files.contains(&diagnostic.location.path()) {
                files.push(diagnostic.location.path());
            }
        }
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        sorted.sort_by_key(|diagnostic| {
            let location = &diagnostic.location;
            let file = files.iter().position(|file| *file == location.path());
            (file, location.start)
        });
        sorted
    }

    /// How many errors were added, duplicates included: if it has not grown, a part of a file is valid, even if the
    /// same part was checked before.
    #[must_use]
    pub const fn errors_added(&self) -> usize {
        self.errors
    }

    /// Whether there is an error.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of diagnostics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The number of errors and warnings, the number of files, and where to read more about the first.
    #[must_use]
    pub fn summary(&self) -> String {
        let number = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        let errors = self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        let counts = [number(errors, "error"), number(self.list.len() - errors, "warning")];
        let files: HashSet<&Path> = self.list.iter().map(|diagnostic| diagnostic.location.path()).collect();
        let files = number(files.len(), "file").unwrap_or_else(|| "no files".to_owned());
        let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let sorted = self.sorted();
        let worst = sorted.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
        match worst.or(sorted.first()) {
            Some(worst) => format!("{counts} in {files}; for details: lockstep explain {}", worst.code),
            None => format!("nothing in {files}"),
        }
    }

    /// All of them for people, each with its excerpt of the file, separated by empty lines.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let rendered: Vec<String> =
            self.sorted().iter().map(|diagnostic| diagnostic.render(colour)).collect();
        rendered.join("\n\n")
    }
}

/// The maximum number of names to list; if there are more, only the nearest are listed.
const LISTED: usize = 24;
const NEAREST: usize = 6;

/// "did you mean `x`?" if a known name is similar to the wrong one, else the list of the known names.
#[must_use]
pub fn suggest<N: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = N>) -> String {
    let known: Vec<N> = known.into_iter().collect();
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    match (similar(wrong, &known), known.as_slice()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => "there are none".to_owned(),
        (None, names) if names.len() <= LISTED => format!("available: {}", names.join(", ")),
        (None, names) => {
            let mut near = names.to_vec();
            near.sort_by_key(|name| {
                // A name that shares a part with the wrong one ranks before one that is merely as short.
                let shared = name.split(['-', '_']).any(|part| part.len() > 2 && wrong.contains(part));
                (!shared, strsim::damerau_levenshtein(wrong, name))
            });
            format!("{} available, nearest: {}", names.len(), near[..NEAREST].join(", "))
        }
    }
}

/// The known name that is similar to the wrong one, if there is one.
#[must_use]
pub fn similar<'n>(wrong: &str, known: &[&'n str]) -> Option<&'n str> {
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        // A name of one letter is similar to every other.
        .filter(|(distance, name)| {
            let length = name.chars().count();
            *distance <= 1 + length / 4 && *distance < length
        })
        .min_by_key(|(distance, _)| *distance);
    // `SIGKILL` for `KILL`: a large edit distance, but clearly what is meant.
    let inside = known
        .iter()
        .filter(|name| name.len() > 2 && (wrong.starts_with(**name) || wrong.ends_with(**name)))
        .max_by_key(|name| name.len());
    close.map(|(_, name)| name).or(inside).copied()
}

/// The message for an invalid regular expression, in one line.
pub(crate) fn invalid_regex(expression: &str) -> Option<String> {
    let error = regex::Regex::new(expression).err()?.to_string();
    // The crate's message shows the expression; its last line is the error.
    let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Some(format!("`{expression}` is not a valid regular expression: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Arc<SourceFile> {
        Arc::new(SourceFile::new("a.yaml", text))
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let file = file("a: 1\nüü: {x}\n");
        let at = file.text.find('{').unwrap();
        let place = Location::of(&file, at, at + 3);
        assert_eq!((place.line, place.column, place.excerpt()), (2, 5, "{x}"));
        assert_eq!(Location::of(&file, 6, 9999).excerpt(), "üü: {x}\n");
    }

    #[test]
    fn equal_diagnostics_count_once_and_are_in_file_order() {
        let file = file("a: 1\nb: 2\n");
        let mut all = Diagnostics::default();
        let at = |start| Location::of(&file, start, start + 1);
        all.push(Diagnostic::error(Code::Syntax, &at(5), "second"));
        all.push(Diagnostic::error(Code::Syntax, &at(0), "first"));
        all.push(Diagnostic::error(Code::Syntax, &at(5), "second"));
        let lines: Vec<String> = all.sorted().iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["a.yaml:1:1: first", "a.yaml:2:1: second"]);
    }

    #[test]
    fn a_similar_name_is_suggested_or_all_names_are_listed() {
        assert_eq!(suggest("wiat", ["wait", "quit"]), "did you mean `wait`?");
        assert_eq!(suggest("zzzzzz", ["wait", "quit"]), "available: wait, quit");
        assert_eq!(suggest("SIGKILL", ["KILL", "STOP"]), "did you mean `KILL`?");
    }

    #[test]
    fn of_many_names_only_the_most_similar_are_listed() {
        let names: Vec<String> = (0..300).map(|number| format!("query-{number}")).collect();
        let help = suggest("migrate-status", names.iter().map(String::as_str).chain(["migrate-continue"]));
        assert!(help.starts_with("301 available, nearest: migrate-continue, "), "{help}");
    }
}
