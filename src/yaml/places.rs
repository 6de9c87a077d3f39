//! Converts positions of the YAML parser to places, and explains its errors.

use std::sync::Arc;

use saphyr_parser::Span;

use crate::diagnostic::{Code, Diagnostic, Location, SourceFile, suggest};

/// Converts the parser's positions, in characters, to places.
pub(super) struct Places<'f> {
    pub file: &'f Arc<SourceFile>,
    /// The first byte of each character; empty if every character is one byte.
    bytes: Vec<usize>,
    /// The first byte of each line.
    lines: Vec<usize>,
}

impl<'f> Places<'f> {
    pub(super) fn new(file: &'f Arc<SourceFile>) -> Self {
        let text = &file.text;
        let bytes =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { file, bytes, lines: lines.collect() }
    }

    pub(super) fn byte(&self, character: usize) -> usize {
        let end = self.file.text.len();
        if self.bytes.is_empty() {
            character.min(end)
        } else {
            self.bytes.get(character).copied().unwrap_or(end)
        }
    }

    /// The place of a range of bytes, cut at the end of its first line.
    pub(super) fn place(&self, start: usize, end: usize) -> Location {
        let text = &self.file.text;
        let line = self.lines.partition_point(|&begin| begin <= start).max(1);
        let begin = self.lines[line - 1];
        let line_end = self.lines.get(line).map_or(text.len(), |next| next - 1);
        let mut end = end.min(line_end).max(start);
        while end > start && text.as_bytes()[end - 1].is_ascii_whitespace() {
            end -= 1;
        }
        Location {
            file: Arc::clone(self.file),
            line,
            column: 1 + text[begin..start].chars().count(),
            start,
            end,
        }
    }

    pub(super) fn span(&self, span: Span) -> Location {
        self.place(self.byte(span.start.index()), self.byte(span.end.index()))
    }
}

/// The help for a parser error that has one of these words; the first one counts.
const HELP: &[(&[&str], &str)] = &[
    (
        &["unknown escape"],
        "a backslash in double quotes needs another one; in single quotes it is itself: `'\\d+'`",
    ),
    (&["flow"], "a `{` or `[` above is not closed, or a line between it and its end is not indented"),
    (&["mapping values"], "put a text with `: ` in quotes"),
    (&["quoted scalar"], "the quotes that start here are not closed"),
    (&["quote", "scalar"], "put a text with `:`, `#`, `{`, `[`, `*`, `&` or quotes in quotes"),
    (&["indent", "mapping", "block"], "give all items of a list or map the same indentation"),
];

/// The diagnostic for a parser error, with a better explanation for common causes.
pub(super) fn explain(places: &Places<'_>, at: usize, info: &str) -> Box<Diagnostic> {
    let text = &places.file.text;
    let at = at.min(text.trim_end().len());
    let place = places.place(at, at);
    let begin = |line: usize| places.lines[line - 1];
    let line_of = |line: usize| {
        let end = places.lines.get(line).map_or(text.len(), |next| next - 1);
        &text[begin(line)..end]
    };
    // The parser stops at the error, or some lines below.
    for line in (place.line.saturating_sub(3).max(1)..=place.line).rev() {
        let content = line_of(line);
        let value = content.find(": {{").map(|at| at + 2).or_else(|| content.find("- {{").map(|at| at + 2));
        if let Some(column) = value {
            return unquoted(places, begin(line) + column);
        }
    }
    for line in (place.line.saturating_sub(1).max(1)..=place.line).rev() {
        let content = line_of(line);
        let indent = content.len() - content.trim_start().len();
        if let Some(tab) = content[..indent].find('\t') {
            let start = begin(line) + tab;
            let diagnostic = Diagnostic::error(
                Code::Syntax,
                &places.place(start, start + 1),
                "a tab is used for indentation",
            );
            return Box::new(diagnostic.help("use spaces for indentation"));
        }
    }
    if info.contains("simple key") {
        // The key without a colon is on this line or above it.
        let is_key = |line: &usize| !line_of(*line).trim().is_empty() && !line_of(*line).contains(':');
        if let Some(line) = (1..=place.line).rev().take(4).find(is_key) {
            let content = line_of(line).trim();
            let start = begin(line) + line_of(line).find(content).unwrap_or_default();
            let message = format!("not valid YAML: the line `{content}` has no colon");
            let diagnostic =
                Diagnostic::error(Code::Syntax, &places.place(start, start + content.len()), message);
            return Box::new(diagnostic.help(format!("write `{content}:`")));
        }
    }
    if info.contains("unknown anchor") {
        let name = text[at..].strip_prefix('*').unwrap_or(&text[at..]);
        let name: String = name.chars().take_while(|letter| is_of_anchor(*letter)).collect();
        let message = format!("not valid YAML: there is no anchor `&{name}` above");
        let help = suggest(&name, anchors(&text[..at]));
        return Box::new(Diagnostic::error(Code::Syntax, &place, message).help(help));
    }
    let help = HELP.iter().find(|(words, _)| words.iter().any(|word| info.contains(word)));
    let help = help.map_or("", |(_, help)| help);
    let message = format!("not valid YAML: {info}");
    Box::new(Diagnostic::error(Code::Syntax, &place, message).help(help))
}

const fn is_of_anchor(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// The names of the anchors in a text.
fn anchors(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split([' ', '\n', '[', '{', ',']).filter_map(|word| word.strip_prefix('&'));
    after.map(|word| word.split(|letter| !is_of_anchor(letter)).next().unwrap_or_default())
}

pub(super) fn unquoted(places: &Places<'_>, start: usize) -> Box<Diagnostic> {
    let text = &places.file.text[start..];
    let line = text.lines().next().unwrap_or_default();
    // Inside a flow list or map the template ends at its first `}}`, else at the last one of the line.
    let before = places.file.text[..start].rsplit('\n').next().unwrap_or_default();
    let end = if before.contains(['{', '[']) { line.find("}}") } else { line.rfind("}}") };
    let end = end.map_or(line.len(), |at| at + 2);
    let template = line[..end].trim_end();
    let quoted = if template.contains('"') {
        format!("'{}'", template.replace('\'', "''"))
    } else {
        format!("\"{template}\"")
    };
    let message = "a template must be in quotes: YAML reads it as a map";
    Box::new(
        Diagnostic::error(Code::Unquoted, &places.place(start, start + end), message)
            .help(format!("write {quoted}")),
    )
}
