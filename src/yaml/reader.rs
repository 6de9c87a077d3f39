//! Builds the tree of a file from the events of the YAML parser.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
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

/// The value of an anchor, and its size.
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
        let help = "a scenario file is a single map with keys such as `vms` and `steps`";
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
                    return Err(fail(&place, "the file has more than one document"));
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
                let value = scalar(&text, style, tag.as_deref(), &at)?;
                let kind = Kind::Scalar(value);
                (anchor, Anchored { node: Node { kind, at }, nodes: 1, height: 1 })
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
                let Some(known) = self.anchors.get(&anchor).cloned() else {
                    let message = "the alias is inside its own value";
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
                let message = "not valid YAML: expected a value";
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
                let node = Node { kind, at: self.whole(&at, span) };
                return Ok(Anchored { node, nodes, height: height + 1 });
            }
            let item = self.node(event, span, depth + 1)?;
            nodes += item.nodes;
            height = height.max(item.height);
            items.push(item.node);
        }
    }

    fn mapping(&mut self, at: Location, depth: usize) -> Result<Anchored, Failure> {
        // Checked before the key is read, because the rest of such a text is rarely valid YAML.
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
                return Ok(Anchored { node, nodes, height: height + 1 });
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
                wrong(&at, "a key cannot be a template", "use templates in values only")
            }
            Event::Scalar(text, _, _, _) => Ok(Key { name: text.into_owned(), at }),
            _ if at.file.text[at.start..].starts_with("{{") => Err(unquoted(&self.places, at.start)),
            _ => wrong(&at, "a key is a single word", "lists, maps and aliases cannot be keys"),
        }
    }

    fn count(&mut self, nodes: usize, at: &Location) -> Result<(), Failure> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.too_much(at, format!("the file has more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn too_much(&self, at: &Location, message: String) -> Failure {
        Box::new(
            Diagnostic::error(Code::TooMuch, at, message).help("an alias counts with the size of its value"),
        )
    }

    /// The place of a list or map from its start to its end.
    fn whole(&self, at: &Location, end: Span) -> Location {
        self.places.place(at.start, self.places.byte(end.end.index()).max(at.end))
    }

    fn syntax(&self, error: &ScanError) -> Failure {
        explain(&self.places, self.places.byte(error.marker().index()), error.info())
    }
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
    Err(tagged(at, &help))
}

fn no_tag(tag: Option<&Tag>, at: &Location) -> Result<(), Failure> {
    tag.map_or(Ok(()), |_| Err(tagged(at, "remove it")))
}

fn tagged(at: &Location, help: &str) -> Failure {
    Box::new(Diagnostic::error(Code::Syntax, at, "YAML tags (`!…`) are not supported").help(help))
}
