//! Converts the tree of a file to typed values, and misfits to diagnostics.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::source::{at_origin, indentation};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::step::{ABOUT, Action, DEFAULT_TIMEOUT, MODIFIERS, Read, Step, Wrong};
pub(super) use crate::step::{Misfit, fit};
use crate::template::{self, Rendered, Scope};
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

/// Renders a part of a file; `None` after reporting an invalid template.
pub(super) fn render(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<Piece> {
    let mut pass =
        Pass { scope, diagnostics, raw: false, deferred: None, unprobed: false, failed: false, weight: 0 };
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
pub(super) fn render_now(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<Value> {
    let piece = render(node, scope, diagnostics)?;
    if let Some(at) = &piece.deferred {
        let message =
            "`run`, `case.dir`, `port`, `link` and the `index` of `until` are only known when a step runs";
        diagnostics.push(
            Diagnostic::error(Code::Deferred, at, message).help("this value must be known before the run"),
        );
        return None;
    }
    Some(piece.value)
}

struct Pass<'p, 's> {
    scope: &'p Scope<'s>,
    diagnostics: &'p mut Diagnostics,
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
        let rendered = template::render(text, self.scope);
        if let Ok(Rendered::Value(value) | Rendered::Round(value) | Rendered::Unprobed(value)) = &rendered {
            self.weight += weight(value);
            if self.weight > MAX_WEIGHT {
                let message = format!("the templates here expand to more than {MAX_WEIGHT} values");
                let help = "a long text counts as several values, and a list with all its items";
                self.diagnostics.push(Diagnostic::error(Code::TooMuch, at, message).help(help));
                self.failed = true;
                return Value::Null;
            }
        }
        match rendered {
            Ok(Rendered::Value(value)) if self.raw => escaped(value),
            Ok(Rendered::Value(value)) => value,
            Ok(Rendered::Deferred) => {
                self.deferred.get_or_insert_with(|| at.clone());
                Value::String(text.to_owned())
            }
            Ok(Rendered::Round(value)) => {
                self.deferred.get_or_insert_with(|| at.clone());
                if self.raw { Value::String(text.to_owned()) } else { value }
            }
            Ok(Rendered::Unprobed(value)) => {
                self.unprobed = true;
                if self.raw { Value::String(text.to_owned()) } else { value }
            }
            Err(error) => {
                let code = if error.unknown_name { Code::UnknownName } else { Code::Template };
                self.diagnostics.push(Diagnostic::error(code, at, error.message).help(error.help));
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

/// Renders and reads a part of a file that must be known before the run; reports errors.
pub(super) fn read<T: Read>(
    key: &Location,
    node: &Node,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let value = render_now(node, scope, diagnostics)?;
    fit_all(&value, key, node, scope, diagnostics)
}

/// The same without the keys whose values are read `later`; these only count as given.
pub(super) fn read_outer<T: Read>(
    key: &Location,
    node: &Node,
    later: &[&str],
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let given = |(key, value): &(Key, Node)| {
        let is_later = later.contains(&key.name.as_str()) && !value.is_null();
        let value = if is_later { Node::of_value(&Value::Bool(true), &value.at) } else { value.clone() };
        (key.clone(), value)
    };
    let outer = match node.kind {
        Kind::Map(_) => Node::map(node.entries().iter().map(given).collect(), node.at.clone()),
        _ => node.clone(),
    };
    let value = render_now(&outer, scope, diagnostics)?;
    fit_all(&value, key, node, scope, diagnostics)
}

/// Reads a part of a file whose templates are rendered later.
pub(super) fn read_as_is<T: Read>(key: &Location, node: &Node, diagnostics: &mut Diagnostics) -> Option<T> {
    let scope = Scope::new(Map::new(), &template::NoVersions);
    fit_all(&node.to_value(), key, node, &scope, diagnostics)
}

/// Reads a rendered part of a file; reports all misfits.
pub(super) fn fit_all<T: Read>(
    value: &Value,
    key: &Location,
    node: &Node,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    match T::read(value) {
        Ok(typed) => Some(typed),
        Err(misfit) => {
            let misfits = all_misfits(misfit, value, |value| T::read(value).err());
            diagnostics.extend(misfits.iter().map(|misfit| explain(misfit, key, node, scope)));
            None
        }
    }
}

/// All misfits: serde stops at the first one, so remove it and try the rest again.
pub(super) fn all_misfits(
    first: Misfit,
    value: &Value,
    again: impl Fn(&Value) -> Option<Misfit>,
) -> Vec<Misfit> {
    let mut rest = value.clone();
    let mut misfits = vec![first];
    while misfits.len() < 20 {
        let Some(last) = misfits.last() else {
            break;
        };
        if matches!(last.wrong, Wrong::MissingKey(_)) || !remove(&mut rest, last) {
            break;
        }
        match again(&rest) {
            Some(next) if !is_consequence(&next, &misfits) => misfits.push(next),
            _ => break,
        }
    }
    misfits
}

/// Whether an error only occurs because a part was removed.
fn is_consequence(next: &Misfit, before: &[Misfit]) -> bool {
    let around = |last: &Misfit| next.path.len() < last.path.len() && last.path.starts_with(&next.path);
    // Rules are checked before the values, so a value was removed that a rule needs.
    if next.is_rule() && before.iter().any(|last| !last.is_rule() && last.unknown_key().is_none()) {
        return true;
    }
    let is_about = |last: &Misfit| {
        last.path.last().is_some_and(|removed| next.wrong.to_string().contains(&format!("`{removed}`")))
    };
    if next.is_rule() && before.iter().any(is_about) {
        return true;
    }
    let is_missing = match &next.wrong {
        Wrong::MissingKey(_) => true,
        Wrong::Other(message) => message.starts_with("an empty map"),
        _ => false,
    };
    is_missing || before.iter().any(around)
}

fn remove(value: &mut Value, misfit: &Misfit) -> bool {
    let mut path: Vec<&str> = misfit.path.iter().map(String::as_str).collect();
    if let Some(unknown) = misfit.unknown_key()
        && path.last() != Some(&unknown)
    {
        path.push(unknown);
    }
    let Some((last, above)) = path.split_last() else {
        return false;
    };
    let mut inner = value;
    for name in above {
        match inner.get_mut(*name) {
            Some(next) => inner = next,
            None => return false,
        }
    }
    inner.as_object_mut().is_some_and(|map| map.shift_remove(*last).is_some())
}

/// The actions whose value is a list.
const LISTS: &[&str] = &["start", "quit", "connect"];

/// Deserializes a rendered step, a map of an action and modifiers.
pub(super) fn step(map: &Map<String, Value>) -> Result<Step, Misfit> {
    fn modifier<T: DeserializeOwned>(map: &Map<String, Value>, key: &str) -> Result<Option<T>, Misfit> {
        map.get(key).map(fit).transpose().map_err(|misfit: Misfit| misfit.under(key))
    }
    let mut action = map.iter().filter(|(key, _)| !MODIFIERS.contains(&key.as_str()));
    let Some((key, value)) = action.next() else {
        return Err(Misfit::new(Vec::new(), Wrong::Other("the step has no action".to_owned())));
    };
    // serde would accept a list for a struct, with the values in the order of its fields.
    if value.is_array() && !LISTS.contains(&key.as_str()) {
        let wrong = Wrong::Kind { given: value.clone(), expected: "map".to_owned() };
        return Err(Misfit::new(vec![key.clone()], wrong));
    }
    let action = Action::read(key, value)?;
    Ok(Step {
        name: modifier(map, "name")?,
        timeout: modifier(map, "timeout")?.unwrap_or(DEFAULT_TIMEOUT),
        capture: modifier(map, "capture")?,
        expect_error: modifier(map, "expect_error")?,
        vms: action.vm_names(),
        action,
    })
}

/// The place of the key at a path, if the file has it.
pub(super) fn key_place(node: &Node, path: &[String]) -> Option<Location> {
    let (last, above) = path.split_last()?;
    let mut inner = node;
    for name in above {
        inner = match &inner.kind {
            Kind::Seq(items) => items.get(name.parse::<usize>().ok()?)?,
            _ => inner.get(name)?,
        };
    }
    inner.entry(last).map(|(key, _)| key.at.clone())
}

/// The place and the value at a path of keys, as deep as the file goes. For scalars it is the place of the value, for lists
/// and maps that of the key.
pub(super) fn place<'n>(key: &Location, node: &'n Node, path: &[String]) -> (Location, &'n Node) {
    let (mut at, mut value) = (key.clone(), node);
    for name in path {
        let next = match &value.kind {
            Kind::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == *name).map(|(key, value)| (&key.at, value))
            }
            Kind::Seq(items) => {
                name.parse().ok().and_then(|at: usize| items.get(at)).map(|item| (&item.at, item))
            }
            Kind::Scalar(_) => None,
        };
        match next {
            Some((place, inner)) => (at, value) = (place.clone(), inner),
            None => break,
        }
    }
    match value.kind {
        Kind::Scalar(Value::Null) => (at, value),
        Kind::Scalar(_) => (value.at.clone(), value),
        _ => (at, value),
    }
}

/// The place of the key at a path, if the message names that key.
pub(super) fn named_key(node: &Node, path: &[String], message: &str) -> Option<Location> {
    let is_named = path.last().is_some_and(|key| message.contains(&format!("`{key}`")));
    key_place(node, path).filter(|_| is_named)
}

/// A misfit as a diagnostic.
pub(super) fn explain(misfit: &Misfit, key: &Location, node: &Node, scope: &Scope<'_>) -> Diagnostic {
    let (_, value) = place(key, node, &misfit.path);
    at_origin(explain_here(misfit, key, node, scope), value, scope.origins())
}

fn explain_here(misfit: &Misfit, key: &Location, node: &Node, scope: &Scope<'_>) -> Diagnostic {
    let (at, value) = place(key, node, &misfit.path);
    if let Wrong::Rule(message, help) = &misfit.wrong {
        let at = named_key(node, &misfit.path, message).unwrap_or(at);
        return Diagnostic::error(Code::Action, &at, message).help(help);
    }
    if let Some(text) = value.text()
        && template::is_template(text)
        && template::render(text, scope) == Ok(Rendered::Deferred)
    {
        let message = "`run`, `case.dir`, `port` and `link` are only known when the step runs, but this value must be known before";
        return Diagnostic::error(Code::Deferred, &at, message)
            .help("use such a template where a text, or any value, is allowed");
    }
    // The name of the value: its key, or that of the list it is in.
    let owner = misfit.path.iter().rev().find(|key| key.parse::<usize>().is_err());
    let owner = owner.map_or_else(|| key.excerpt(), String::as_str);
    match &misfit.wrong {
        Wrong::UnknownKey { key: wrong, known } => unknown_key(wrong, known, misfit, key, node),
        Wrong::UnknownWord { word, known } => {
            Diagnostic::error(Code::WrongValue, &at, format!("`{word}` is not a value of `{owner}`"))
                .help(suggest(word, known.iter().map(String::as_str)))
        }
        Wrong::MissingKey(missing) => {
            let message = format!("`{owner}` needs the key `{missing}`");
            let help = match missing.as_str() {
                "fence" => "add `fence: true`, `after` or `false`: whether and when to stop the other side"
                    .to_owned(),
                missing => format!("add `{missing}: …`"),
            };
            Diagnostic::error(Code::MissingKey, &at, message).help(help)
        }
        Wrong::Kind { given, expected } => {
            let expected = Wrong::kind(expected);
            // For example a number that a template turned into a text.
            let is_text =
                value.text().is_some_and(|text| template::is_template(text) && text.contains("{{#"));
            let help = if is_text && given.is_string() {
                "a template with a block is a text; `\"{{choose x a b}}\"` keeps the type of `a` and `b`"
                    .to_owned()
            } else {
                help_for_kind(owner, given, expected)
            };
            let given = Wrong::given(given);
            Diagnostic::error(Code::WrongValue, &at, format!("`{owner}` takes {expected}, not {given}"))
                .help(help)
        }
        Wrong::Rule(message, _) | Wrong::Other(message) => {
            let (plain, help) = message.split_once("; ").unwrap_or((message, ""));
            Diagnostic::error(Code::WrongValue, &at, plain).help(help)
        }
    }
}

fn unknown_key(wrong: &str, known: &[String], misfit: &Misfit, key: &Location, node: &Node) -> Diagnostic {
    let mut path = misfit.path.clone();
    if path.last().is_none_or(|last| last != wrong) {
        path.push(wrong.to_owned());
    }
    let at = key_place(node, &path).unwrap_or_else(|| place(key, node, &misfit.path).0);
    let owner = path.iter().rev().skip(1).find(|key| key.parse::<usize>().is_err());
    let owner = owner.map_or_else(|| key.excerpt(), String::as_str);
    if MODIFIERS.contains(&wrong) && ABOUT.iter().any(|action| action.key == owner) {
        let message = format!("`{wrong}` belongs to the step, not to `{owner}`");
        return Diagnostic::error(Code::UnknownKey, &at, message)
            .help(format!("write `{wrong}` beside `{owner}`"));
    }
    // `machine:q35` is one word in YAML.
    if let Some((name, value)) =
        wrong.split_once(':').filter(|(name, _)| known.iter().any(|known| known == name))
    {
        let message = format!("`{wrong}` is one word: there is no space after the colon");
        return Diagnostic::error(Code::UnknownKey, &at, message).help(format!("write `{name}: {value}`"));
    }
    let inside = if owner.is_empty() { String::new() } else { format!(" in `{owner}`") };
    let help = path.split_last().and_then(|(_, above)| {
        let (_, map) = place(key, node, above);
        map.entry(wrong).and_then(|(key, _)| indentation(map, key))
    });
    Diagnostic::error(Code::UnknownKey, &at, format!("unknown key `{wrong}`{inside}"))
        .help(help.unwrap_or_else(|| suggest(wrong, known.iter().map(String::as_str))))
}

/// Examples of keys whose value is a map.
const EXAMPLES: &[(&str, &str)] = &[
    ("use", "{file: steps.yaml}"),
    ("repeat", "{times: 3, steps: […]}"),
    ("must_fail", "{match: \"…\"}"),
    ("known_issue", "{reason: …, match: \"…\"}"),
    ("requires", "{qemu: \">=11.0\"}"),
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
