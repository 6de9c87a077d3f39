//! The keys, items and scalars of a YAML text with their places. Unlike [`crate::yaml`], it also reads texts that are
//! incomplete or wrong, as they are while somebody types: it goes by indentation and brackets, line by line.

use std::ops::Range;

/// A part of a path: a key, or an item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    Item,
}

/// A key with the scalar that is its value, or a scalar without a key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The path to it; ends with its own key if it has one.
    pub path: Vec<Part>,
    /// The lists and maps that it is in, the innermost last: an identifier of each.
    pub inside: Vec<usize>,
    /// Its key.
    pub key: Option<Range<usize>>,
    /// Its scalar, with quotes.
    pub value: Option<Range<usize>>,
    /// Whether it is inside brackets.
    pub flow: bool,
}

impl Entry {
    /// The list or map that it is in.
    pub(super) fn within(&self) -> usize {
        self.inside.last().copied().unwrap_or_default()
    }

    /// The name of its key.
    pub(super) fn name(&self) -> Option<&str> {
        match (&self.key, self.path.last()) {
            (Some(_), Some(Part::Key(name))) => Some(name),
            _ => None,
        }
    }
}

/// A part of the path to the current place.
struct Frame {
    part: Part,
    indent: usize,
    /// The identifier of the list or map below it.
    inner: usize,
}

/// An open bracket.
struct Bracket {
    is_map: bool,
    /// The number of frames outside it.
    depth: usize,
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    frames: Vec<Frame>,
    entries: Vec<Entry>,
    inner: usize,
}

/// Reads a text.
pub(super) fn outline(text: &str) -> Vec<Entry> {
    let mut scanner = Scanner { text, at: 0, frames: Vec::new(), entries: Vec::new(), inner: 0 };
    while scanner.at < text.len() {
        scanner.line();
    }
    scanner.entries
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The rest of the line, without its line break.
    fn rest_of_line(&self) -> &'t str {
        self.rest().split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }

    fn column(&self, at: usize) -> usize {
        at - self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    /// Goes to the start of the next line.
    fn next_line(&mut self) {
        self.at = self.rest().find('\n').map_or(self.text.len(), |at| self.at + at + 1);
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// Reads one line outside of brackets.
    fn line(&mut self) {
        let line = self.rest_of_line();
        self.skip_spaces();
        let content = line.trim_start_matches([' ', '\t']);
        if line.starts_with("---") || line.starts_with("...") {
            self.frames.clear();
        }
        if content.is_empty() || content.starts_with('#') || line.starts_with("---") {
            return self.next_line();
        }
        let mut column = line.len() - content.len();
        while is_dash(self.rest_of_line()) {
            self.leave(|frame| frame.indent > column || (frame.indent == column && frame.part == Part::Item));
            self.enter(Part::Item, column);
            self.at += 1;
            self.skip_spaces();
            column = self.column(self.at);
        }
        if self.rest_of_line().is_empty() {
            return self.next_line();
        }
        if let Some((key, end)) = self.key() {
            self.leave(|frame| frame.indent >= column);
            self.push_key(key, column, false);
            self.at = end;
            self.skip_spaces();
        } else {
            self.leave(|frame| frame.indent >= column);
        }
        self.value();
    }

    /// The key at this place, and the end of its colon.
    fn key(&self) -> Option<(Range<usize>, usize)> {
        if self.rest().starts_with(['{', '[']) {
            return None;
        }
        let token = self.token(false);
        let after = &self.text[token.end..];
        let colon = after.len() - after.trim_start_matches(' ').len();
        let after = &after[colon..];
        let is_key =
            after.starts_with(':') && after[1..].starts_with([' ', '\n', '\r', '\t']) || after == ":";
        (is_key && !token.is_empty()).then_some((token.clone(), token.end + colon + 1))
    }

    /// Reads a value up to the end of its line, or of its brackets.
    fn value(&mut self) {
        self.skip_anchor();
        let line = self.rest_of_line();
        if line.starts_with(['|', '>']) {
            return self.block_scalar();
        }
        if line.starts_with(['{', '[']) && !line.starts_with("{{") {
            self.brackets();
        } else if !(line.is_empty() || line.starts_with('#')) {
            let token = self.token(false);
            self.at = token.end;
            self.push_value(token, false);
        }
        self.next_line();
    }

    /// Skips the anchor or tag of a value.
    fn skip_anchor(&mut self) {
        while self.rest().starts_with(['&', '!']) {
            let line = self.rest_of_line();
            self.at += line.find(' ').unwrap_or(line.len());
            self.skip_spaces();
        }
    }

    /// Skips the text of a `|` or `>`.
    fn block_scalar(&mut self) {
        let limit = self.frames.last().map(|frame| frame.indent);
        self.next_line();
        while self.at < self.text.len() {
            let line = self.rest_of_line();
            let content = line.trim_start_matches(' ');
            if !content.is_empty() && Some(line.len() - content.len()) <= limit {
                break;
            }
            self.next_line();
        }
    }

    /// Reads everything up to the matching bracket, or to a line that is not indented further than the key or the item.
    fn brackets(&mut self) {
        let limit = self.frames.last().map(|frame| frame.indent);
        let mut open: Vec<Bracket> = Vec::new();
        loop {
            self.skip_spaces();
            let Some(next) = self.rest().chars().next() else {
                return;
            };
            match next {
                '\n' | '\r' => {
                    let line = self.rest().trim_start_matches(['\n', '\r', ' ', '\t']);
                    let start = self.text.len() - line.len();
                    if Some(self.column(start)) <= limit && !line.starts_with([']', '}']) {
                        return;
                    }
                    self.at = start;
                }
                '#' => self.at += self.rest_of_line().len(),
                '{' | '[' if !self.rest().starts_with("{{") => {
                    self.item(open.last());
                    open.push(Bracket { is_map: next == '{', depth: self.frames.len() });
                    self.at += 1;
                }
                '}' | ']' => {
                    self.at += 1;
                    if let Some(closed) = open.pop() {
                        self.frames.truncate(closed.depth);
                    }
                    if open.is_empty() {
                        return;
                    }
                }
                ',' => {
                    self.at += 1;
                    self.frames.truncate(open.last().map_or(0, |bracket| bracket.depth));
                }
                ':' => self.at += 1,
                '&' | '!' => self.skip_anchor(),
                _ => self.in_brackets(open.last()),
            }
        }
    }

    /// Starts an item, if this is a list.
    fn item(&mut self, bracket: Option<&Bracket>) {
        if bracket.is_some_and(|bracket| !bracket.is_map && self.frames.len() == bracket.depth) {
            self.enter(Part::Item, usize::MAX);
        }
    }

    /// Reads a key or a scalar inside brackets.
    fn in_brackets(&mut self, bracket: Option<&Bracket>) {
        let Some(bracket) = bracket else {
            return;
        };
        let token = self.token(true);
        // A character that starts no token, such as a space of another kind.
        let next = self.rest().chars().next().map_or(0, char::len_utf8);
        self.at = token.end.max(self.at + next);
        let is_first = self.frames.len() == bracket.depth;
        let after = self.rest().trim_start_matches(' ');
        // In a list, `[a: 1]` is an item with one key.
        if is_first && after.starts_with(':') {
            self.item(Some(bracket));
            let column = self.column(token.start);
            self.push_key(token, column, true);
            self.at = self.text.len() - after.len() + 1;
        } else {
            self.item(Some(bracket));
            if is_first && bracket.is_map {
                self.push_bare(token, true);
            } else {
                self.push_value(token, true);
            }
        }
    }

    /// A quoted or plain scalar. A template without quotes is one, too.
    fn token(&self, flow: bool) -> Range<usize> {
        let rest = self.rest();
        let end = match rest.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => quoted(rest, char::from(*quote)),
            _ => plain(self.rest_of_line(), flow),
        };
        self.at..self.at + end
    }

    fn leave(&mut self, inside: impl Fn(&Frame) -> bool) {
        while self.frames.last().is_some_and(&inside) {
            self.frames.pop();
        }
    }

    fn enter(&mut self, part: Part, indent: usize) {
        self.inner += 1;
        self.frames.push(Frame { part, indent, inner: self.inner });
    }

    fn inside(&self) -> Vec<usize> {
        self.frames.iter().map(|frame| frame.inner).collect()
    }

    fn push_key(&mut self, key: Range<usize>, column: usize, flow: bool) {
        let inside = self.inside();
        let name = unquoted(&self.text[key.clone()]);
        self.enter(Part::Key(name), if flow { usize::MAX } else { column });
        self.entries.push(Entry { path: self.path(), inside, key: Some(key), value: None, flow });
    }

    /// A scalar: the value of the key before it on its line, or one without a key.
    fn push_value(&mut self, value: Range<usize>, flow: bool) {
        let (path, text) = (self.path(), self.text);
        let is_after = |key: &Range<usize>| !text[key.end..value.start].contains('\n');
        match self.entries.last_mut() {
            Some(last)
                if last.value.is_none() && last.path == path && last.key.as_ref().is_some_and(is_after) =>
            {
                last.value = Some(value);
            }
            _ => self.push_bare(value, flow),
        }
    }

    fn push_bare(&mut self, value: Range<usize>, flow: bool) {
        let (path, inside) = (self.path(), self.inside());
        self.entries.push(Entry { path, inside, key: None, value: Some(value), flow });
    }

    fn path(&self) -> Vec<Part> {
        self.frames.iter().map(|frame| frame.part.clone()).collect()
    }
}

fn is_dash(line: &str) -> bool {
    line == "-" || line.starts_with("- ")
}

/// The length of a quoted scalar; up to the end of the line if the quote is not closed in it.
fn quoted(text: &str, quote: char) -> usize {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let mut escaped = false;
    let mut letters = line.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if letter == quote
                && quote == '\''
                && letters.peek().is_some_and(|(_, next)| *next == quote) =>
            {
                letters.next();
            }
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    line.trim_end().len()
}

/// The length of a plain scalar in a line.
fn plain(line: &str, flow: bool) -> usize {
    let mut at = 0;
    while let Some(letter) = line[at..].chars().next() {
        let rest = &line[at..];
        let after = &rest[letter.len_utf8()..];
        if rest.starts_with("{{") {
            at += rest.find("}}").map_or(rest.len(), |end| end + 2);
            continue;
        }
        let ends = match letter {
            ':' => {
                after.is_empty()
                    || after.starts_with([' ', '\t'])
                    || (flow && after.starts_with([',', ']', '}']))
            }
            '#' => line[..at].ends_with([' ', '\t']),
            ',' | '[' | ']' | '{' | '}' => flow,
            _ => false,
        };
        if ends {
            break;
        }
        at += letter.len_utf8();
    }
    line[..at].trim_end().len()
}

/// The text of a scalar without its quotes; escapes are kept as they are.
pub(super) fn unquoted(scalar: &str) -> String {
    let inner = |quote: char| {
        let open = scalar.strip_prefix(quote)?;
        Some(open.strip_suffix(quote).unwrap_or(open))
    };
    inner('"').or_else(|| inner('\'')).unwrap_or(scalar).to_owned()
}

#[cfg(test)]
#[path = "outline_tests.rs"]
mod tests;
