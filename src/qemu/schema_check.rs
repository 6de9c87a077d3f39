//! Checks values against the [`Schema`].

use serde_json::{Map, Value};

use super::contains::is_condition;
use super::schema::{Complaint, Object, Schema, Type};
use crate::diagnostic::suggest;
use crate::units::Size;

/// Commands whose arguments the schema describes only in part: the rest are properties of the device.
const OPEN: &[&str] = &["device_add"];

impl Schema {
    /// The errors in a command and its arguments. Texts with `{{…}}` are only known later, and skipped.
    #[must_use]
    pub fn check(&self, command: &str, arguments: &Value) -> Vec<Complaint> {
        match self.commands.get(command) {
            None => vec![self.unknown_command(command)],
            Some(known) => Checker::new(self, Extent::Whole).object(command, &known.argument, arguments),
        }
    }

    /// The parts of a pattern that no reply of a command can ever match; nothing for an unknown command.
    #[must_use]
    pub fn check_reply(&self, command: &str, pattern: &Value) -> Vec<Complaint> {
        let known = self.commands.get(command);
        known.map_or_else(Vec::new, |known| {
            Checker::new(self, Extent::Part).value(command, &known.reply, pattern)
        })
    }

    /// The parts of a pattern that the data of an event can never match; nothing for an unknown event.
    #[must_use]
    pub fn check_event(&self, event: &str, pattern: &Value) -> Vec<Complaint> {
        let known = self.events.get(event);
        known.map_or_else(Vec::new, |data| Checker::new(self, Extent::Part).value(event, data, pattern))
    }
}

/// Whether a value must be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Complete: it is sent to QEMU.
    Whole,
    /// Partial: it is a pattern for what QEMU sends.
    Part,
}

/// A check of one value.
pub(super) struct Checker<'s> {
    schema: &'s Schema,
    extent: Extent,
    path: Vec<String>,
    complaints: Vec<Complaint>,
}

/// The members that an object may have.
#[derive(Default)]
struct Members<'s> {
    /// Each with its type and whether it is optional.
    known: Vec<(&'s str, &'s str, bool)>,
    /// The tags that selected the variants, as `tag: value`.
    chosen: Vec<String>,
}

impl<'s> Checker<'s> {
    pub(super) fn new(schema: &'s Schema, extent: Extent) -> Self {
        Self { schema, extent, path: Vec::new(), complaints: Vec::new() }
    }

    /// Checks the arguments of a command.
    pub(super) fn object(mut self, command: &str, kind: &str, value: &Value) -> Vec<Complaint> {
        match (value, self.schema.types.get(kind)) {
            (Value::Object(map), Some(Type::Object(object))) => {
                self.members(command, object, map, OPEN.contains(&command));
            }
            _ => self.one(command, kind, value),
        }
        self.complaints
    }

    /// Checks a value of a type; `owner` is its name in messages.
    pub(super) fn value(mut self, owner: &str, kind: &str, value: &Value) -> Vec<Complaint> {
        self.one(owner, kind, value);
        self.complaints
    }

    fn complain(&mut self, message: String, help: String) {
        self.complaints.push(Complaint { path: self.path.clone(), message, help });
    }

    fn one(&mut self, owner: &str, kind: &str, value: &Value) {
        let schema = self.schema;
        let Some(kind) = schema.types.get(kind).filter(|_| !is_late(value)) else {
            return;
        };
        match (kind, value) {
            (Type::Enum(values), Value::String(word)) => {
                if !values.contains(word) {
                    let help = suggest(word, values.iter().map(String::as_str));
                    self.complain(format!("`{word}` is not a value of `{owner}`"), help);
                }
            }
            (Type::Array(element), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.path.push(at.to_string());
                    self.one(owner, element, item);
                    self.path.pop();
                }
            }
            (Type::Object(object), Value::Object(map)) => self.members(owner, object, map, false),
            (kind, Value::Object(map)) if self.extent == Extent::Part && is_condition(map) => {
                self.condition(owner, kind, map);
            }
            (Type::Alternate(kinds), value) => self.alternate(owner, kinds, value),
            (Type::Plain(json), value) if fits(json, value) => {}
            (kind, value) => {
                let expected = self.what(kind);
                self.wrong_type(owner, &expected, value);
            }
        }
    }

    /// A condition on a single value, which must have a suitable type.
    fn condition(&mut self, owner: &str, kind: &Type, condition: &Map<String, Value>) {
        for key in condition.keys() {
            let possible = match kind {
                Type::Plain(json) if key == "matches" => json == "string",
                Type::Plain(json) => json == "int" || json == "number",
                Type::Enum(_) => key == "matches",
                Type::Array(_) | Type::Object(_) => false,
                Type::Alternate(_) => true,
            };
            if !possible {
                let message = format!("`{owner}` takes {}, so `{key}` never matches", self.what(kind));
                self.complain(message, String::new());
            }
        }
    }

    fn alternate(&mut self, owner: &str, kinds: &'s [String], value: &Value) {
        let candidate = kinds.iter().find(|name| match (self.schema.types.get(*name), value) {
            (Some(Type::Plain(json)), value) => fits(json, value),
            (Some(Type::Enum(_)), Value::String(_))
            | (Some(Type::Array(_)), Value::Array(_))
            | (Some(Type::Object(_)), Value::Object(_)) => true,
            _ => false,
        });
        match candidate {
            Some(kind) => self.one(owner, kind, value),
            None => {
                let known = kinds.iter().filter_map(|kind| self.schema.types.get(kind));
                let words: Vec<String> = known.map(|kind| self.what(kind)).collect();
                self.wrong_type(owner, &words.join(" or "), value);
            }
        }
    }

    /// The members that an object may have with these values.
    fn known(&self, object: &'s Object, value: &Map<String, Value>, members: &mut Members<'s>, sure: bool) {
        let own = object
            .members
            .iter()
            .map(|member| (member.name.as_str(), member.kind.as_str(), member.optional || !sure));
        members.known.extend(own);
        let Some(tag) = &object.tag else {
            return;
        };
        let chosen = value.get(tag).filter(|value| !is_late(value)).and_then(Value::as_str);
        let is_case = |case: &str| chosen.is_none_or(|chosen| chosen == case);
        for (case, kind) in object.variants.iter().filter(|(case, _)| is_case(case)) {
            if let Some(Type::Object(variant)) = self.schema.types.get(kind) {
                self.known(variant, value, members, sure && chosen.is_some());
            }
            members.chosen.extend(chosen.map(|_| format!("{tag}: {case}")));
        }
    }

    fn members(&mut self, owner: &str, object: &'s Object, value: &Map<String, Value>, open: bool) {
        let mut members = Members::default();
        self.known(object, value, &mut members, self.extent == Extent::Whole);
        let whole = self.extent == Extent::Whole && self.path.is_empty();
        let part = if whole { "argument" } else { "member" };
        for (key, inner) in value {
            // In a union whose tag is unknown, several variants may have the member, with different types.
            let kinds: Vec<&str> =
                members.known.iter().filter(|(name, ..)| name == key).map(|(_, kind, _)| *kind).collect();
            self.path.push(key.clone());
            match kinds.as_slice() {
                [] if open => {}
                [] => {
                    let mut names: Vec<&str> = members.known.iter().map(|(name, ..)| *name).collect();
                    names.sort_unstable();
                    names.dedup();
                    let help =
                        if names.is_empty() { format!("it has no {part}s") } else { suggest(key, names) };
                    let with = members.chosen.first().map(|tag| format!(" with `{tag}`")).unwrap_or_default();
                    self.complain(format!("`{owner}`{with} has no {part} `{key}`"), help);
                }
                [kind] => self.one(key, kind, inner),
                [..] => {}
            }
            self.path.pop();
        }
        for (name, _, optional) in &members.known {
            if !optional && !value.contains_key(*name) {
                self.complain(format!("`{owner}` needs the {part} `{name}`"), String::new());
            }
        }
    }

    /// A short name of a type.
    fn what(&self, kind: &Type) -> String {
        match kind {
            Type::Plain(json) => match json.as_str() {
                "string" => "a text",
                "int" => "a whole number",
                "number" => "a number",
                "boolean" => "`true` or `false`",
                "array" => "a list",
                "object" => "a map",
                other => other,
            }
            .to_owned(),
            Type::Enum(values) if values.len() <= 8 => format!("one of {}", values.join(", ")),
            Type::Enum(_) => "a text".to_owned(),
            Type::Array(_) => "a list".to_owned(),
            Type::Object(_) => "a map".to_owned(),
            Type::Alternate(kinds) => {
                let known = kinds.iter().filter_map(|kind| self.schema.types.get(kind));
                known.map(|kind| self.what(kind)).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    fn wrong_type(&mut self, owner: &str, expected: &str, value: &Value) {
        let given = match value {
            Value::Null => "nothing".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a map".to_owned(),
            Value::String(text) => format!("`{text}`"),
            single => format!("`{single}`"),
        };
        let help = match value {
            Value::String(text) if expected.contains("number") => match text.parse::<Size>() {
                Ok(Size(bytes)) => format!("write {bytes}"),
                Err(_) => String::new(),
            },
            Value::String(text) if expected.contains("true") => match text.as_str() {
                "yes" | "on" => "write `true`".to_owned(),
                "no" | "off" => "write `false`".to_owned(),
                _ => String::new(),
            },
            Value::Number(_) | Value::Bool(_) if expected.contains("text") => format!("write \"{value}\""),
            single if expected == "a list" && !single.is_null() => "write `[…]` around it".to_owned(),
            _ => String::new(),
        };
        self.complain(format!("`{owner}` takes {expected}, not {given}"), help);
    }
}

fn fits(json: &str, value: &Value) -> bool {
    match json {
        "string" => value.is_string(),
        "int" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// Whether a value is only known when its step runs.
fn is_late(value: &Value) -> bool {
    value.as_str().is_some_and(crate::template::is_template)
}
