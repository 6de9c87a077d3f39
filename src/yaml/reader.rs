//! Builds the tree of a file from the events of the YAML parser.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::Value;

use super::node::{Key, Kind, Node};
use super::places::{Places, explain, unquoted};
use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

/// The maximum depth and number of values. An alias counts with the size of its value.
const MAX_DEPTH: usize = 100;
const MAX_NODES: usize = 500_000;

/// The one document of a text.
pub(super) fn document(file: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    let mut reader = Reader {
        places: Places::new(file),
        parser: Parser::new_from_str(&file.text),
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

fn fail<T>(code: Code, at: &Location, message: impl Into<String>, help: &str) -> Result<T, Failure> {
    Err(Box::new(Diagnostic::error(code, at, message).help(help)))
}

struct Reader<'f> {
    places: Places<'f>,
    parser: Parser<'f, StrInput<'f>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    duplicates: Vec<Diagnostic>,
}

impl<'f> Reader<'f> {
    fn next(&mut self) -> Result<(Event<'f>, Span), Failure> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(explain(&self.places, self.places.byte(error.marker().index()), error.info()))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Failure> {
        let help = "a scenario file is a single map with keys such as `vms` and `steps`";
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    let message = "the file has more than one document";
                    return fail(Code::NotOneDocument, &self.places.span(span), message, help);
                }
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) | Event::DocumentEnd => {}
                other => root = Some(self.node(other, span, 1)?),
            }
        }
        match root {
            Some(node) if !node.is_null() => Ok(node),
            _ => fail(Code::NotOneDocument, &Location::top_of(self.places.file), "the file is empty", help),
        }
    }

    fn node(&mut self, event: Event<'f>, span: Span, depth: usize) -> Result<Node, Failure> {
        let at = self.places.span(span);
        self.count(1, depth, &at)?;
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::Scalar(scalar(&text, style, tag.as_deref(), &at)?);
                (anchor, Node { kind, at })
            }
            Event::SequenceStart(anchor, tag) => {
                no_tag(tag.as_deref(), &at)?;
                (anchor, self.list(at, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                no_tag(tag.as_deref(), &at)?;
                (anchor, self.mapping(at, depth)?)
            }
            Event::Alias(anchor) => {
                let Some(known) = self.anchors.get(&anchor) else {
                    return fail(Code::Syntax, &at, "the alias is inside its own value", "");
                };
                let ((nodes, height), kind) = (extent(known), known.kind.clone());
                self.count(nodes, depth + height, &at)?;
                return Ok(Node { kind, at });
            }
            _ => return fail(Code::Syntax, &at, "not valid YAML: expected a value", ""),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, at: Location, depth: usize) -> Result<Node, Failure> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node::seq(items, self.whole(&at, span)));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, at: Location, depth: usize) -> Result<Node, Failure> {
        // Checked before the key is read, because the rest of such a text is rarely valid YAML.
        if at.file.text[at.start..].starts_with("{{") {
            return Err(unquoted(&self.places, at.start));
        }
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut known: HashMap<String, Location> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node::map(entries, self.whole(&at, span)));
            }
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if let Some(first) = known.get(&key.name) {
                let message = format!("the key `{}` is given twice", key.name);
                let wrong = Diagnostic::error(Code::DuplicateKey, &key.at, message).label("again here");
                self.duplicates.push(wrong.related(first, "first here").help("keep one of them"));
                continue;
            }
            known.insert(key.name.clone(), key.at.clone());
            entries.push((key, value));
        }
    }

    fn key(&mut self, event: Event<'f>, span: Span) -> Result<Key, Failure> {
        let at = self.places.span(span);
        self.count(1, 1, &at)?;
        let (message, help) = match event {
            Event::Scalar(text, ..) if text == "<<" => (
                "merge keys (`<<`) are not part of YAML 1.2",
                "share VM options with `like`, and whole parts with `extends` or `use`",
            ),
            Event::Scalar(text, ..) if text.is_empty() => ("a key is empty", ""),
            Event::Scalar(text, ..) if text.contains("{{") => {
                ("a key cannot be a template", "use templates in values only")
            }
            Event::Scalar(text, ..) => return Ok(Key { name: text.into_owned(), at }),
            _ if at.file.text[at.start..].starts_with("{{") => return Err(unquoted(&self.places, at.start)),
            _ => ("a key is a single word", "lists, maps and aliases cannot be keys"),
        };
        fail(Code::Syntax, &at, message, help)
    }

    /// Counts values at this depth.
    fn count(&mut self, nodes: usize, depth: usize, at: &Location) -> Result<(), Failure> {
        self.nodes += nodes;
        let message = if depth > MAX_DEPTH {
            format!("the values are nested more than {MAX_DEPTH} deep")
        } else if self.nodes > MAX_NODES {
            format!("the file has more than {MAX_NODES} values")
        } else {
            return Ok(());
        };
        fail(Code::TooMuch, at, message, "an alias counts with the size of its value")
    }

    /// The place of a list or map from its start to its end.
    fn whole(&self, at: &Location, end: Span) -> Location {
        self.places.place(at.start, self.places.byte(end.end.index()).max(at.end))
    }
}

/// The number of values in a value, and how deep they are nested.
fn extent(node: &Node) -> (usize, usize) {
    let inner = node.items().iter().chain(node.entries().iter().map(|(_, value)| value));
    inner.map(extent).fold((1, 1), |(nodes, height), inner| (nodes + inner.0, height.max(inner.1 + 1)))
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: &Location) -> Result<Value, Failure> {
    let help = match tag {
        None if style == ScalarStyle::Plain => return Ok(super::plain(text)),
        None => return Ok(Value::String(text.to_owned())),
        Some(tag) if !tag.is_yaml_core_schema() => "remove it".to_owned(),
        Some(tag) if tag.suffix == "str" => format!("write {}", Value::from(text)),
        Some(_) if text.is_empty() => "remove it".to_owned(),
        Some(_) => format!("write `{text}`"),
    };
    tagged(at, &help)
}

fn no_tag(tag: Option<&Tag>, at: &Location) -> Result<(), Failure> {
    tag.map_or(Ok(()), |_| tagged(at, "remove it"))
}

fn tagged<T>(at: &Location, help: &str) -> Result<T, Failure> {
    fail(Code::Syntax, at, "YAML tags (`!…`) are not supported", help)
}
