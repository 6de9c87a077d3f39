//! Converts the tree of a file to typed values, and misfits to diagnostics.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::step::{ABOUT, Action, DEFAULT_TIMEOUT, MODIFIERS, Misfit, Read, Step, Wrong, fit};
use crate::template::{self, Origins, Rendered, Scope};
use crate::yaml::{Key, Kind, Node};

/// A rendered part of a file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Its value; what is only known in a run is still a template, or an assumed value.
    pub value: Value,
    /// If some of it is only known in a run: the value as a template, to render then.
    pub raw: Option<Value>,
    /// The first template in it with names that are only known in a run: `run`, `case.dir`, `port`, `link`.
    pub deferred: Option<Location>,
}

/// Reads parts of a file.
pub(super) struct Reader<'r, 'v> {
    /// The names that their templates may use.
    pub scope: &'r Scope<'v>,
    /// Where errors are reported.
    pub diagnostics: &'r mut Diagnostics,
}

impl<'v> Reader<'_, 'v> {
    /// The same with other names.
    pub(super) const fn with<'s>(&'s mut self, scope: &'s Scope<'v>) -> Reader<'s, 'v> {
        Reader { scope, diagnostics: self.diagnostics }
    }

    /// Reports an error; an empty help adds none.
    pub(super) fn error(
        &mut self,
        code: Code,
        at: &Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics.error(code, at, message, help);
    }

    /// Renders a part of a file; `None` after reporting an invalid template.
    pub(super) fn render(&mut self, node: &Node) -> Option<Piece> {
        let with = self.with(self.scope);
        let mut pass = Pass { with, raw: false, deferred: None, unprobed: false, failed: false, weight: 0 };
        let value = pass.value(node);
        if pass.failed {
            return None;
        }
        let deferred = pass.deferred.clone();
        let raw = (deferred.is_some() || pass.unprobed).then(|| {
            (pass.raw, pass.weight) = (true, 0);
            pass.value(node)
        });
        Some(Piece { value, raw, deferred })
    }

    /// Renders a part of a file that must be known before the run.
    pub(super) fn render_now(&mut self, node: &Node) -> Option<Value> {
        let piece = self.render(node)?;
        self.now(piece)
    }

    /// The value of a part that must be known before the run; reports it if it is not.
    pub(super) fn now(&mut self, piece: Piece) -> Option<Value> {
        self.known(piece, "this value must be known before the run")
    }

    /// The same with another help.
    pub(super) fn known(&mut self, piece: Piece, help: &str) -> Option<Value> {
        if let Some(at) = &piece.deferred {
            let message = "`run`, `case.dir`, `port`, `link` and the `index` of `until` are only known when a step runs";
            self.error(Code::Deferred, at, message, help);
            return None;
        }
        Some(piece.value)
    }

    /// Renders and reads a part of a file that must be known before the run; reports errors.
    pub(super) fn read<T: Read>(&mut self, key: &Location, node: &Node) -> Option<T> {
        let value = self.render_now(node)?;
        self.fit(&value, key, node)
    }

    /// Reads the value of a map's key, if it has the key.
    pub(super) fn read_key<T: Read>(&mut self, map: &Node, name: &str) -> Option<T> {
        let (key, node) = map.entry(name)?;
        self.read(&key.at, node)
    }

    /// As [`Self::read`] without the keys whose values are read `later`; these only count as given.
    pub(super) fn read_outer<T: Read>(&mut self, key: &Location, node: &Node, later: &[&str]) -> Option<T> {
        let mut value = self.render_now(&node.without(later))?;
        for name in later {
            if let Some(inner) = node.get(name) {
                value[*name] = (!inner.is_null()).then_some(true).into();
            }
        }
        self.fit(&value, key, node)
    }

    /// Reads a rendered part of a file. Reports all misfits: serde stops at the first one, so remove it and try the rest
    /// again.
    pub(super) fn fit<T: Read>(&mut self, value: &Value, key: &Location, node: &Node) -> Option<T> {
        let mut misfits = match T::read(value) {
            Ok(typed) => return Some(typed),
            Err(misfit) => vec![misfit],
        };
        let mut rest = value.clone();
        while let Some(last) = misfits.last().filter(|_| misfits.len() < MAX_MISFITS)
            && !matches!(last.wrong, Wrong::MissingKey(_))
            && remove(&mut rest, last)
            && let Err(next) = T::read(&rest)
            && !is_consequence(&next, &misfits)
        {
            misfits.push(next);
        }
        self.diagnostics.extend(misfits.iter().map(|misfit| explain(misfit, key, node, self.scope)));
        None
    }
}

struct Pass<'r, 'v> {
    with: Reader<'r, 'v>,
    /// Whether the result is a template again.
    raw: bool,
    deferred: Option<Location>,
    unprobed: bool,
    failed: bool,
    /// The size of the rendered templates so far; see [`weight`].
    weight: usize,
}

/// The maximum size of the rendered templates in one part of a file. Each can contain another one ten times, so that
/// nesting grows exponentially.
const MAX_WEIGHT: usize = 500_000;

/// The maximum number of misfits to report for one part of a file.
const MAX_MISFITS: usize = 20;

/// The size of a value: the number of its parts; a long text counts as several.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / 16,
        Value::Array(list) => 1 + list.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(weight).sum::<usize>(),
        _ => 1,
    }
}

impl Pass<'_, '_> {
    fn value(&mut self, node: &Node) -> Value {
        match &node.kind {
            Kind::Seq(items) => items.iter().map(|item| self.value(item)).collect(),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.name.clone(), self.value(value)));
                Value::Object(entries.collect())
            }
            Kind::Scalar(Value::String(text)) if template::is_template(text) => self.template(text, &node.at),
            Kind::Scalar(value) => value.clone(),
        }
    }

    fn template(&mut self, text: &str, at: &Location) -> Value {
        if self.weight > MAX_WEIGHT {
            return Value::Null;
        }
        let rendered = template::render(text, self.with.scope);
        if let Ok(Rendered::Value(value) | Rendered::Round(value) | Rendered::Unprobed(value)) = &rendered {
            self.weight += weight(value);
            if self.weight > MAX_WEIGHT {
                let message = format!("the templates here expand to more than {MAX_WEIGHT} values");
                let help = "a long text counts as several values, and a list with all its items";
                self.with.error(Code::TooMuch, at, message, help);
                self.failed = true;
                return Value::Null;
            }
        }
        match rendered {
            Ok(Rendered::Value(value)) if self.raw => escaped(value),
            Ok(Rendered::Value(value)) => value,
            Ok(Rendered::Deferred) => {
                self.deferred.get_or_insert_with(|| at.clone());
                text.into()
            }
            Ok(Rendered::Round(value)) => {
                self.deferred.get_or_insert_with(|| at.clone());
                if self.raw { text.into() } else { value }
            }
            Ok(Rendered::Unprobed(value)) => {
                self.unprobed = true;
                if self.raw { text.into() } else { value }
            }
            Err(error) => {
                let code = if error.unknown_name { Code::UnknownName } else { Code::Template };
                self.with.error(code, at, error.message, error.help);
                self.failed = true;
                Value::Null
            }
        }
    }
}

/// A value as a template that renders to that value.
pub(crate) fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(template::escape(&text)),
        Value::Array(list) => list.into_iter().map(escaped).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, escaped(value))).collect(),
        single => single,
    }
}

/// Whether an error only occurs because a part was removed.
fn is_consequence(next: &Misfit, before: &[Misfit]) -> bool {
    let around = |last: &Misfit| next.path.len() < last.path.len() && last.path.starts_with(&next.path);
    // Rules are checked before the values, so a value was removed that a rule needs.
    let is_value = |last: &Misfit| !last.is_rule() && last.unknown_key().is_none();
    let is_about = |last: &Misfit| {
        last.path.last().is_some_and(|removed| next.wrong.to_string().contains(&format!("`{removed}`")))
    };
    matches!(next.wrong, Wrong::MissingKey(_) | Wrong::Empty(_))
        || before.iter().any(around)
        || next.is_rule() && before.iter().any(|last| is_value(last) || is_about(last))
}

fn remove(value: &mut Value, misfit: &Misfit) -> bool {
    let path = misfit.full_path();
    let Some((last, above)) = path.split_last() else {
        return false;
    };
    let inner = above.iter().try_fold(value, |inner, name| inner.get_mut(*name));
    inner.and_then(Value::as_object_mut).is_some_and(|map| map.shift_remove(*last).is_some())
}

/// The actions whose value is a list.
const LISTS: &[&str] = &["start", "quit", "connect"];

impl Read for Step {
    /// Reads a rendered step, a map of an action and modifiers.
    fn read(value: &Value) -> Result<Self, Misfit> {
        fn modifier<T: DeserializeOwned>(step: &Value, key: &str) -> Result<Option<T>, Misfit> {
            step.get(key).map(fit).transpose().map_err(|misfit: Misfit| misfit.under(key))
        }
        let entries = value.as_object().into_iter().flatten();
        let Some((key, own)) = entries.into_iter().find(|(key, _)| !MODIFIERS.contains(&key.as_str())) else {
            return Err(Misfit::new(Vec::new(), Wrong::MissingKey("action".to_owned())));
        };
        // serde would accept a list for a struct, with the values in the order of its fields.
        if own.is_array() && !LISTS.contains(&key.as_str()) {
            let wrong = Wrong::Kind { given: own.clone(), expected: "map".to_owned() };
            return Err(Misfit::new(vec![key.clone()], wrong));
        }
        let action = Action::read(key, own)?;
        Ok(Self {
            name: modifier(value, "name")?,
            timeout: modifier(value, "timeout")?.unwrap_or(DEFAULT_TIMEOUT),
            capture: modifier(value, "capture")?,
            expect_error: modifier(value, "expect_error")?,
            vms: action.vm_names(),
            action,
        })
    }
}

/// The place of the key at a path, if the file has it.
pub(super) fn key_place(node: &Node, path: &[impl AsRef<str>]) -> Option<Location> {
    let (last, above) = path.split_last()?;
    let map =
        above.iter().try_fold(node, |inner, name| inner.child(name.as_ref()).map(|(_, value)| value))?;
    map.entry(last.as_ref()).map(|(key, _)| key.at.clone())
}

/// The place and the value at a path of keys, as deep as the file goes. For scalars it is the place of the value, for lists
/// and maps that of the key.
pub(super) fn place<'n>(key: &Location, node: &'n Node, path: &[impl AsRef<str>]) -> (Location, &'n Node) {
    let (mut at, mut value) = (key, node);
    for name in path {
        let Some(next) = value.child(name.as_ref()) else {
            break;
        };
        (at, value) = next;
    }
    match value.kind {
        Kind::Scalar(Value::Null) | Kind::Seq(_) | Kind::Map(_) => (at.clone(), value),
        Kind::Scalar(_) => (value.at.clone(), value),
    }
}

/// The place of the key at a path, if the message names that key.
pub(super) fn named_key(node: &Node, path: &[String], message: &str) -> Option<Location> {
    let is_named = path.last().is_some_and(|key| message.contains(&format!("`{key}`")));
    key_place(node, path).filter(|_| is_named)
}

/// A misfit as a diagnostic.
fn explain(misfit: &Misfit, key: &Location, node: &Node, scope: &Scope<'_>) -> Diagnostic {
    let (mut at, value) = place(key, node, &misfit.path);
    let template = value.text().filter(|text| template::is_template(text));
    let is_deferred = template.is_some_and(|text| template::render(text, scope) == Ok(Rendered::Deferred));
    let owner = owner(&misfit.path, key);
    let (code, message, help) = match &misfit.wrong {
        Wrong::Rule(message, help) => {
            at = named_key(node, &misfit.path, message).unwrap_or(at);
            (Code::Action, message.clone(), help.clone())
        }
        _ if is_deferred => {
            let message = "`run`, `case.dir`, `port` and `link` are only known when the step runs, but this value must be known before";
            let help = "use such a template where a text, or any value, is allowed";
            (Code::Deferred, message.to_owned(), help.to_owned())
        }
        Wrong::UnknownKey { key: wrong, known } => {
            at = key_place(node, &misfit.full_path()).unwrap_or(at);
            let (message, help) = unknown_key(wrong, known, misfit, key, node);
            (Code::UnknownKey, message, help)
        }
        Wrong::UnknownWord { word, known } => {
            (Code::WrongValue, format!("`{word}` is not a value of `{owner}`"), suggest(word, known))
        }
        Wrong::MissingKey(missing) => {
            let help = match missing.as_str() {
                "fence" => "add `fence: true`, `after` or `false`: whether and when to stop the other side"
                    .to_owned(),
                missing => format!("add `{missing}: …`"),
            };
            (Code::MissingKey, format!("`{owner}` needs the key `{missing}`"), help)
        }
        Wrong::Kind { given, expected } => {
            let expected = Wrong::kind(expected);
            // For example a number that a template turned into a text.
            let help = if template.is_some_and(|text| text.contains("{{#")) && given.is_string() {
                "a template with a block is a text; `\"{{choose x a b}}\"` keeps the type of `a` and `b`"
                    .to_owned()
            } else {
                help_for_kind(owner, given, expected)
            };
            let message = format!("`{owner}` takes {expected}, not {}", Wrong::given(given));
            (Code::WrongValue, message, help)
        }
        Wrong::Other(message) | Wrong::Empty(message) => {
            let (plain, help) = message.split_once("; ").unwrap_or((message, ""));
            (Code::WrongValue, plain.to_owned(), help.to_owned())
        }
    };
    at_origin(Diagnostic::error(code, &at, message).help(help), value, scope.origins())
}

/// The name of a value: its key, or that of the list it is in.
fn owner<'p>(path: &'p [impl AsRef<str>], key: &'p Location) -> &'p str {
    let mut keys = path.iter().rev().map(AsRef::as_ref).filter(|key| key.parse::<usize>().is_err());
    keys.next().unwrap_or_else(|| key.excerpt())
}

/// The message and the help for an unknown key.
fn unknown_key(
    wrong: &str,
    known: &[String],
    misfit: &Misfit,
    key: &Location,
    node: &Node,
) -> (String, String) {
    let path = misfit.full_path();
    let above = &path[..path.len() - 1];
    let owner = owner(above, key);
    if MODIFIERS.contains(&wrong) && ABOUT.iter().any(|action| action.key == owner) {
        let message = format!("`{wrong}` belongs to the step, not to `{owner}`");
        return (message, format!("write `{wrong}` beside `{owner}`"));
    }
    // `machine:q35` is one word in YAML.
    if let Some((name, value)) =
        wrong.split_once(':').filter(|(name, _)| known.iter().any(|known| known == name))
    {
        let message = format!("`{wrong}` is one word: there is no space after the colon");
        return (message, format!("write `{name}: {value}`"));
    }
    let inside = if owner.is_empty() { String::new() } else { format!(" in `{owner}`") };
    let (_, map) = place(key, node, above);
    let help = map.entry(wrong).and_then(|(key, _)| indentation(map, key));
    (format!("unknown key `{wrong}`{inside}"), help.unwrap_or_else(|| suggest(wrong, known)))
}

/// An error about a value. If the value here is only the name of a parameter, the error is about the place that sets it.
pub(super) fn at_origin(diagnostic: Diagnostic, value: &Node, origins: &Origins) -> Diagnostic {
    match setter(value, origins).filter(|_| diagnostic.location == value.at) {
        Some(setter) => Diagnostic { location: setter.clone(), ..diagnostic }.related(&value.at, "used here"),
        None => diagnostic,
    }
}

/// The help for a key that belongs to an earlier key without a value: it is not indented.
pub(super) fn indentation(map: &Node, wrong: &Key) -> Option<String> {
    let before = map.entries().iter().take_while(|(key, _)| key.at != wrong.at);
    let (owner, _) = before.filter(|(_, value)| value.is_null()).last()?;
    let Location { column, line, .. } = owner.at;
    Some(if line != wrong.at.line && column == wrong.at.column {
        format!("indent the keys of `{0}` further than `{0}`", owner.name)
    } else {
        format!("write the keys of `{0}` inside it: `{0}: {{…}}`", owner.name)
    })
}

/// The place that sets a value: its own, or that of the parameter whose name is all it has.
pub(super) fn origin(value: &Node, scope: &Scope<'_>) -> Location {
    setter(value, scope.origins()).unwrap_or(&value.at).clone()
}

fn setter<'o>(value: &Node, origins: &'o Origins) -> Option<&'o Location> {
    origins.get(&template::only_name(value.text()?)?)
}

/// Examples of keys whose value is a map.
const EXAMPLES: &[(&str, &str)] = &[
    ("use", "{file: steps.yaml}"),
    ("repeat", "{times: 3, steps: […]}"),
    ("parallel", "{NAME: […], NAME: […]}"),
    ("must_fail", "{match: \"…\"}"),
    ("known_issue", "{reason: …, match: \"…\"}"),
    ("requires", "{qemu: \">=11.0\"}"),
    ("needs", "{cpus: 2, memory: 1G}"),
    ("commands", "[{execute: NAME}]"),
    ("instances", "[{type: migration}]"),
    ("roles", "{ROLE: VM}"),
    ("disks", "{NAME: {size: 64M}}"),
    ("credentials", "{NAME: {psk: {}}}"),
    ("x509", "{server: {cn: NAME}}"),
    ("psk", "{}"),
    ("open", "{path: FILE}"),
    ("holds", "{client: NAME}"),
];

/// How to write a value of the expected kind.
fn help_for_kind(owner: &str, given: &Value, expected: &str) -> String {
    let text = match given {
        Value::String(text) => text.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => Wrong::given(given),
        other => other.to_string(),
    };
    match (expected, text.as_str()) {
        (number, text) if given.is_string() && number.contains("number") && text.parse::<f64>().is_ok() => {
            format!("write `{text}`, without quotes")
        }
        ("a map", _) => EXAMPLES
            .iter()
            .copied()
            .chain(ABOUT.iter().map(|about| (about.key, about.example)))
            .find(|(name, _)| *name == owner)
            .map(|(name, example)| format!("write `{name}: {example}`"))
            .unwrap_or_default(),
        ("a list", "a map") => "put it in a list: `[{…}]`".to_owned(),
        ("a list", value) if !matches!(value, "nothing" | "a map") => format!("write `[{value}]`"),
        ("a text", "a map") if owner == "args" => "write `{when: …, args: […]}`, or a text".to_owned(),
        ("a text", "a map") if owner == "trace" => "write `{when: …, trace: […]}`, or a text".to_owned(),
        ("a text", "a list") => "name one of them".to_owned(),
        ("a text", "true") if owner == "expect_error" => {
            "it is a pattern that the error must match; to accept any error, write `\".\"`".to_owned()
        }
        ("a text", number) if !matches!(number, "nothing" | "a list" | "a map") => {
            format!("write \"{number}\"")
        }
        (span, number) if span.starts_with("a duration") && number.parse::<f64>().is_ok() => {
            format!("write `{number}s` for seconds, `{number}ms` for milliseconds")
        }
        ("`true` or `false`", "yes" | "on") => "write `true`".to_owned(),
        ("`true` or `false`", "no" | "off") => "write `false`".to_owned(),
        _ => String::new(),
    }
}
