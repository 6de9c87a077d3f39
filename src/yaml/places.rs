//! Converts positions of the YAML parser to places, and explains its errors.

use std::sync::Arc;

use saphyr_parser::Span;

use crate::diagnostic::{Code, Diagnostic, Location, SourceFile, suggest};

/// Converts the parser's positions, in characters, to places.
pub(super) struct Places<'f> {
    pub file: &'f Arc<SourceFile>,
    /// The first byte of each character; empty if every character is one byte.
    bytes: Vec<usize>,
}

impl<'f> Places<'f> {
    pub(super) fn new(file: &'f Arc<SourceFile>) -> Self {
        let text = &file.text;
        let bytes =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { file, bytes }
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
        let line = self.file.text[start..].split('\n').next().unwrap_or_default();
        let length = line.len().min(end.saturating_sub(start));
        let length = line.as_bytes()[..length].trim_ascii_end().len();
        Location::of(self.file, start, start + length)
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

/// The line at a byte and the lines above it, upwards, each with its first byte.
fn upwards(text: &str, at: usize) -> impl Iterator<Item = (usize, &str)> {
    let end = text[at..].find('\n').map_or(text.len(), |more| at + more);
    text[..end].rsplit('\n').scan(end + 1, |below, line| {
        *below -= line.len() + 1;
        Some((*below, line))
    })
}

/// The diagnostic for a parser error, with a better explanation for common causes.
pub(super) fn explain(places: &Places<'_>, at: usize, info: &str) -> Box<Diagnostic> {
    let text = &places.file.text;
    let at = at.min(text.trim_end().len());
    let wrong = |start: usize, end: usize, message: &str, help: &str| {
        Box::new(Diagnostic::error(Code::Syntax, &places.place(start, end), message).help(help))
    };
    // The parser stops at the error, or some lines below.
    let template = |(start, line): (usize, &str)| {
        let before = line.find(": {{").or_else(|| line.find("- {{"))?;
        Some(start + before + 2)
    };
    if let Some(start) = upwards(text, at).take(4).find_map(template) {
        return unquoted(places, start);
    }
    let tab = |(start, line): (usize, &str)| {
        let indent = line.len() - line.trim_start().len();
        Some(start + line[..indent].find('\t')?)
    };
    if let Some(start) = upwards(text, at).take(2).find_map(tab) {
        return wrong(start, start + 1, "a tab is used for indentation", "use spaces for indentation");
    }
    // The key without a colon is on this line or above it.
    let is_key = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.contains(':');
    let mut keys = upwards(text, at).take(4).filter(is_key);
    if let Some((start, line)) = keys.next().filter(|_| info.contains("simple key")) {
        let (start, key) = (start + line.len() - line.trim_start().len(), line.trim());
        let message = format!("not valid YAML: the line `{key}` has no colon");
        return wrong(start, start + key.len(), &message, &format!("write `{key}:`"));
    }
    if info.contains("unknown anchor") {
        let name = text[at..].strip_prefix('*').unwrap_or(&text[at..]);
        let name: String = name.chars().take_while(|letter| is_of_anchor(*letter)).collect();
        let message = format!("not valid YAML: there is no anchor `&{name}` above");
        return wrong(at, at, &message, &suggest(&name, anchors(&text[..at])));
    }
    let help = HELP.iter().find(|(words, _)| words.iter().any(|word| info.contains(word)));
    wrong(at, at, &format!("not valid YAML: {info}"), help.map_or("", |(_, help)| help))
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
