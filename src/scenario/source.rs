//! From text to a tree in which every value and every key knows its place.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Value;

use super::scalar;
use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

/// Larger files are refused, and so are deeper and more numerous values, aliases counted as what they stand for.
const MAX_BYTES: u64 = 8 << 20;
const MAX_DEPTH: usize = 100;
const MAX_NODES: usize = 500_000;

/// A value with its place. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands; for a list or map of several lines the part on its first line.
    pub at: Location,
}

/// What a [`Node`] is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Null, a truth value, a number or a text.
    Scalar(Value),
    /// A list.
    Seq(Arc<Vec<Node>>),
    /// A map, in the order it was written.
    Map(Arc<Vec<(Key, Node)>>),
}

/// A map's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key. Numbers and truth values as keys stand for their text.
    pub name: String,
    /// Where it stands.
    pub at: Location,
}

impl Node {
    /// A map.
    #[must_use]
    pub fn map(entries: Vec<(Key, Self)>, at: Location) -> Self {
        Self {
            kind: Kind::Map(Arc::new(entries)),
            at,
        }
    }

    /// A JSON value, all of it at one place.
    #[must_use]
    pub fn of_value(value: &Value, at: &Location) -> Self {
        let kind = match value {
            Value::Array(list) => Kind::Seq(Arc::new(list.iter().map(|v| Self::of_value(v, at)).collect())),
            Value::Object(map) => {
                let entry = |(name, value): (&String, &Value)| {
                    let key = Key {
                        name: name.clone(),
                        at: at.clone(),
                    };
                    (key, Self::of_value(value, at))
                };
                Kind::Map(Arc::new(map.iter().map(entry).collect()))
            }
            single => Kind::Scalar(single.clone()),
        };
        Self { kind, at: at.clone() }
    }

    /// The entries of a map; none where it is no map.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none where it is no list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    /// The value of a map's key, with the key.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(key, _)| key.name == name)
    }

    /// The value of a map's key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The text of a scalar that is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    /// What it is, in a word.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Scalar(Value::Null) => "nothing",
            Kind::Scalar(Value::String(_)) => "a text",
            Kind::Scalar(Value::Bool(_)) => "a truth value",
            Kind::Scalar(_) => "a number",
        }
    }
}

/// Reads a scenario file.
///
/// # Errors
/// One diagnostic where the file cannot be read or is no YAML; one for each key that a map has twice.
pub fn read(path: &Path) -> Result<Node, Vec<Diagnostic>> {
    let empty = |text: String| {
        Arc::new(SourceFile {
            path: path.to_owned(),
            text,
        })
    };
    let unreadable = |message: String| {
        let place = Location::top_of(&empty(String::new()));
        vec![Diagnostic::error(Code::Unreadable, &place, message)]
    };
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable("there is no such file".to_owned()),
        _ => unreadable(format!("the file cannot be read: {error}")),
    })?;
    if meta.is_dir() {
        return Err(unreadable("it is a directory, not a file".to_owned()));
    }
    if meta.len() > MAX_BYTES {
        return Err(unreadable(format!(
            "the file is larger than {} MiB",
            MAX_BYTES >> 20
        )));
    }
    let bytes =
        std::fs::read(path).map_err(|error| unreadable(format!("the file cannot be read: {error}")))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let file = empty(String::from_utf8_lossy(error.as_bytes()).into_owned());
            let place = Location::of(&file, at, at + 1);
            let message = "the file is not UTF-8 text";
            return Err(vec![Diagnostic::error(Code::Unreadable, &place, message)]);
        }
    };
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    parse(&empty(text))
}

/// Reads a text.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    let text = &file.text;
    let mut reader = Reader {
        places: Places::new(file),
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        duplicates: Vec::new(),
    };
    match reader.document() {
        Ok(node) if reader.duplicates.is_empty() => Ok(node),
        Ok(_) => Err(reader.duplicates),
        Err(error) => {
            reader.duplicates.push(*error);
            Err(reader.duplicates)
        }
    }
}

type Failure = Box<Diagnostic>;

/// Turns the parser's positions, in characters, into places.
struct Places<'f> {
    file: &'f Arc<SourceFile>,
    /// The byte at which each character begins; empty where every character is one byte.
    bytes: Vec<usize>,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl<'f> Places<'f> {
    fn new(file: &'f Arc<SourceFile>) -> Self {
        let text = &file.text;
        let bytes = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            file,
            bytes,
            lines: lines.collect(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        let end = self.file.text.len();
        if self.bytes.is_empty() {
            character.min(end)
        } else {
            self.bytes.get(character).copied().unwrap_or(end)
        }
    }

    /// The place of some bytes, cut at the end of their first line.
    fn place(&self, start: usize, end: usize) -> Location {
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

    fn span(&self, span: Span) -> Location {
        self.place(self.byte(span.start.index()), self.byte(span.end.index()))
    }
}

/// What an anchor stands for, and how much of it there is.
#[derive(Clone)]
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Reader<'f> {
    places: Places<'f>,
    parser: Parser<'f, StrInput<'f>>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    duplicates: Vec<Diagnostic>,
}

impl<'f> Reader<'f> {
    fn next(&mut self) -> Result<(Event<'f>, Span), Failure> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Failure> {
        let help = "a scenario file holds one map, with `steps` and what belongs to them";
        let fail = |place: &Location, message: &str| {
            Box::new(Diagnostic::error(Code::NotOneDocument, place, message).help(help))
        };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    let place = self.places.span(span);
                    return Err(fail(&place, "the file holds more than one document"));
                }
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) | Event::DocumentEnd => {}
                other => root = Some(self.node(other, span, 1)?.node),
            }
        }
        match root {
            Some(node) if !node.is_null() => Ok(node),
            _ => Err(fail(&Location::top_of(self.places.file), "the file is empty")),
        }
    }

    fn node(&mut self, event: Event<'f>, span: Span, depth: usize) -> Result<Anchored, Failure> {
        let at = self.places.span(span);
        if depth > MAX_DEPTH {
            return Err(self.too_much(&at, format!("the values are nested more than {MAX_DEPTH} deep")));
        }
        self.count(1, &at)?;
        let (anchor, anchored) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &at)?;
                let kind = Kind::Scalar(value);
                (
                    anchor,
                    Anchored {
                        node: Node { kind, at },
                        nodes: 1,
                        height: 1,
                    },
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), &at)?;
                (anchor, self.list(at, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), &at)?;
                (anchor, self.mapping(at, depth)?)
            }
            Event::Alias(anchor) => {
                let Some(known) = self.anchors.get(&anchor).cloned() else {
                    let message = "the alias stands inside the value it stands for";
                    return Err(Box::new(Diagnostic::error(Code::Syntax, &at, message)));
                };
                self.count(known.nodes, &at)?;
                if depth + known.height > MAX_DEPTH {
                    return Err(
                        self.too_much(&at, format!("the values are nested more than {MAX_DEPTH} deep"))
                    );
                }
                let node = Node { at, ..known.node };
                return Ok(Anchored { node, ..known });
            }
            _ => {
                let message = "this is not YAML: a value was expected";
                return Err(Box::new(Diagnostic::error(Code::Syntax, &at, message)));
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, anchored.clone());
        }
        Ok(anchored)
    }

    fn list(&mut self, at: Location, depth: usize) -> Result<Anchored, Failure> {
        let (mut items, mut nodes, mut height) = (Vec::new(), 1, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let kind = Kind::Seq(Arc::new(items));
                let node = Node {
                    kind,
                    at: self.whole(&at, span),
                };
                return Ok(Anchored {
                    node,
                    nodes,
                    height: height + 1,
                });
            }
            let item = self.node(event, span, depth + 1)?;
            nodes += item.nodes;
            height = height.max(item.height);
            items.push(item.node);
        }
    }

    fn mapping(&mut self, at: Location, depth: usize) -> Result<Anchored, Failure> {
        // Seen before the key is read, because what follows in such a text is seldom YAML any more.
        if at.file.text[at.start..].starts_with("{{") {
            return Err(unquoted(&self.places, at.start));
        }
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut known: HashMap<String, Location> = HashMap::new();
        let (mut nodes, mut height) = (1, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let node = Node::map(entries, self.whole(&at, span));
                return Ok(Anchored {
                    node,
                    nodes,
                    height: height + 1,
                });
            }
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            nodes += value.nodes;
            height = height.max(value.height);
            if let Some(first) = known.get(&key.name) {
                let diagnostic = Diagnostic::error(
                    Code::DuplicateKey,
                    &key.at,
                    format!("the key `{}` is given twice", key.name),
                )
                .label("again here")
                .related(first, "first here")
                .help("keep one of them");
                self.duplicates.push(diagnostic);
                continue;
            }
            known.insert(key.name.clone(), key.at.clone());
            entries.push((key, value.node));
        }
    }

    fn key(&mut self, event: Event<'f>, span: Span) -> Result<Key, Failure> {
        let at = self.places.span(span);
        self.count(1, &at)?;
        let wrong = |at: &Location, message: &str, help: &str| {
            Err(Box::new(Diagnostic::error(Code::Syntax, at, message).help(help)))
        };
        match event {
            Event::Scalar(text, _, _, _) if text == "<<" => {
                let help = "share VM options with `like`, and whole parts with `extends` or `use`";
                wrong(&at, "merge keys (`<<`) are not part of YAML 1.2", help)
            }
            Event::Scalar(text, _, _, _) if text.is_empty() => wrong(&at, "a key is empty", ""),
            Event::Scalar(text, _, _, _) if text.contains("{{") => {
                wrong(&at, "a key cannot be a template", "templates stand in values")
            }
            Event::Scalar(text, _, _, _) => Ok(Key {
                name: text.into_owned(),
                at,
            }),
            _ if at.file.text[at.start..].starts_with("{{") => Err(unquoted(&self.places, at.start)),
            _ => wrong(
                &at,
                "a key is a single word",
                "lists, maps and aliases cannot be keys",
            ),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: &Location,
    ) -> Result<Value, Failure> {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                Ok(Value::String(text.to_owned()))
            }
            Some(_) => self.no_tag(tag, at).map(|()| Value::Null),
            None if style == ScalarStyle::Plain => Ok(scalar::plain(text)),
            None => Ok(Value::String(text.to_owned())),
        }
    }

    fn no_tag(&self, tag: Option<&Tag>, at: &Location) -> Result<(), Failure> {
        match tag {
            None => Ok(()),
            Some(_) => {
                let message = "YAML tags (`!…`) mean nothing in a scenario";
                Err(Box::new(
                    Diagnostic::error(Code::Syntax, at, message).help("leave it out"),
                ))
            }
        }
    }

    fn count(&mut self, nodes: usize, at: &Location) -> Result<(), Failure> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.too_much(at, format!("the file holds more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn too_much(&self, at: &Location, message: String) -> Failure {
        Box::new(Diagnostic::error(Code::TooMuch, at, message).help("aliases count as what they stand for"))
    }

    /// The place of a list or map, now that its end is known.
    fn whole(&self, at: &Location, end: Span) -> Location {
        self.places
            .place(at.start, self.places.byte(end.end.index()).max(at.end))
    }

    fn syntax(&self, error: &ScanError) -> Failure {
        explain(
            &self.places,
            self.places.byte(error.marker().index()),
            error.info(),
        )
    }
}

/// What is wrong with a text that the parser refused, in an author's words where they are known.
fn explain(places: &Places<'_>, at: usize, info: &str) -> Failure {
    let text = &places.file.text;
    let at = at.min(text.trim_end().len());
    let place = places.place(at, at);
    let begin = |line: usize| places.lines[line - 1];
    let line_of = |line: usize| {
        let end = places.lines.get(line).map_or(text.len(), |next| next - 1);
        &text[begin(line)..end]
    };
    // The parser stops at, or some lines below, what led it astray.
    for line in (place.line.saturating_sub(3).max(1)..=place.line).rev() {
        let content = line_of(line);
        let value = content
            .find(": {{")
            .map(|at| at + 2)
            .or_else(|| content.find("- {{").map(|at| at + 2));
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
            return Box::new(diagnostic.help("YAML indents with spaces only"));
        }
    }
    Box::new(Diagnostic::error(
        Code::Syntax,
        &place,
        format!("this is not YAML: {info}"),
    ))
}

fn unquoted(places: &Places<'_>, start: usize) -> Failure {
    let text = &places.file.text[start..];
    let line = text.lines().next().unwrap_or_default();
    // Inside a flow list or map the template ends at its first `}}`, else the whole rest of the line is meant.
    let before = places.file.text[..start].rsplit('\n').next().unwrap_or_default();
    let end = if before.contains(['{', '[']) {
        line.find("}}")
    } else {
        line.rfind("}}")
    };
    let end = end.map_or(line.len(), |at| at + 2);
    let template = line[..end].trim_end();
    let quoted = if template.contains('"') {
        format!("'{}'", template.replace('\'', "''"))
    } else {
        format!("\"{template}\"")
    };
    let message = "a template without quotes is a map to YAML";
    Box::new(
        Diagnostic::error(Code::Unquoted, &places.place(start, start + end), message)
            .help(format!("write {quoted}")),
    )
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
