//! Converts positions of the YAML parser to places, and explains its errors.

use std::sync::Arc;

use saphyr_parser::Span;

use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

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
    let help = if info.contains("flow") {
        "a `{` or `[` above is not closed, or a line between it and its end is not indented"
    } else if info.contains("mapping values") {
        "put a text with `: ` in quotes"
    } else if info.contains("quoted scalar") {
        "the quotes that start here are not closed"
    } else if info.contains("quote") || info.contains("scalar") {
        "put a text with `:`, `#`, `{`, `[`, `*`, `&` or quotes in quotes"
    } else if info.contains("indent") || info.contains("mapping") || info.contains("block") {
        "give all items of a list or map the same indentation"
    } else {
        ""
    };
    let message = format!("not valid YAML: {info}");
    Box::new(Diagnostic::error(Code::Syntax, &place, message).help(help))
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
