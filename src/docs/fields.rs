//! The keys of a type in words: what each takes, whether it must be given, what it means, its default.

use serde_json::{Map, Value};

use super::text::{joined, wrap};

/// How wide the generated lines are.
pub(super) const WIDTH: usize = 100;

/// The JSON Schema of a scenario, to be put into words.
pub(super) struct Schema(pub Value);

/// A key of a map.
pub(super) struct Field<'s> {
    pub name: &'s str,
    pub schema: &'s Value,
    pub required: bool,
}

impl Schema {
    /// The schema behind a reference, and behind the choices of null or a template that every value has.
    pub(super) fn behind<'s>(&'s self, schema: &'s Value) -> &'s Value {
        if let Some(name) = schema["$ref"].as_str() {
            return self.behind(self.0.pointer(name.trim_start_matches('#')).unwrap_or(&Value::Null));
        }
        let choices: Vec<&Value> = choices(schema).into_iter().filter(|choice| !is_nothing(choice)).collect();
        match choices.as_slice() {
            [one] => self.behind(one),
            _ => schema,
        }
    }

    /// The keys of a map; none where it is no map with keys of its own.
    pub(super) fn fields<'s>(&'s self, schema: &'s Value) -> Vec<Field<'s>> {
        let schema = self.behind(schema);
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, schema)| Field { name, schema, required: required.contains(&name.as_str()) })
            .collect()
    }

    /// What is said of a value where it stands, else what is said of its type.
    pub(super) fn doc(&self, schema: &Value) -> String {
        let own = schema["description"].as_str();
        own.or_else(|| self.behind(schema)["description"].as_str()).unwrap_or_default().to_owned()
    }

    /// One key as an item of a list, with the keys of its own value below it.
    pub(super) fn item(&self, field: &Field<'_>, indent: usize) -> String {
        let kind = self.kind(field.schema);
        let required = if field.required { ", required" } else { "" };
        let doc = one_line(&with_default(self.doc(field.schema), field.schema));
        let gap = if doc.is_empty() { "" } else { ": " };
        let pad = " ".repeat(indent);
        let line = format!("{pad}- `{}` ({kind}{required}){gap}{doc}", field.name);
        let mut text = wrap(&line, WIDTH, indent + 2);
        text.push('\n');
        for inner in self.inner(field.schema) {
            text.push_str(&self.item(&inner, indent + 2));
        }
        text
    }

    /// The keys of the maps that a value may be, and the words that have something said of them.
    pub(super) fn inner<'s>(&'s self, schema: &'s Value) -> Vec<Field<'s>> {
        self.maps(schema).into_iter().flat_map(|map| self.fields(map)).collect()
    }

    /// The maps with keys of their own that a value may be; not those that have a section of their own.
    fn maps<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            let elsewhere = ["Wait", "Step", "VmSpec", "Exit"].contains(&name);
            return if elsewhere { Vec::new() } else { self.maps(&self.0["$defs"][name]) };
        }
        if schema["properties"].is_object() {
            return vec![schema];
        }
        // A map by names that the author chooses, of maps with keys of their own.
        if schema["additionalProperties"]["$ref"].is_string() {
            return self.maps(&schema["additionalProperties"]);
        }
        choices(schema).into_iter().flat_map(|choice| self.maps(choice)).collect()
    }

    /// What is said of the type of a value, which is more than what is said where it stands.
    pub(super) fn type_doc(&self, schema: &Value) -> Option<String> {
        let name = schema["$ref"].as_str()?;
        let doc = self.0.pointer(name.trim_start_matches('#'))?["description"].as_str()?;
        Some(doc.to_owned())
    }

    /// What a value may be, in words.
    pub(super) fn kind(&self, schema: &Value) -> String {
        joined(&self.kinds(schema), "or")
    }

    fn kinds(&self, schema: &Value) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            let words: &[&str] = match name {
                "Duration" => &["duration"],
                "Share" => &["share"],
                "Size" => &["size"],
                "Step" => &["step"],
                "VmSpec" => &["map of VM keys"],
                "Wait" => &["map as `wait` takes it"],
                "VersionRange" => &["version range"],
                "Scalar" => &["single value"],
                "Bound" => &["duration", "number"],
                "Exit" => &["status", "`{signal: NAME}`", "`any`"],
                _ => return self.kinds(&self.0["$defs"][name]),
            };
            return words.iter().map(|&word| word.to_owned()).collect();
        }
        let mut words: Vec<String> = Vec::new();
        for choice in choices(schema).into_iter().filter(|choice| !is_nothing(choice)) {
            let more = self.kinds(choice);
            // Several words, or a list of the same.
            let same = words.len() > 1 && more == [list_of(&words)];
            let more = if same { vec!["list of them".to_owned()] } else { more };
            words.extend(more.into_iter().filter(|word| !words.contains(word)).collect::<Vec<_>>());
        }
        if !words.is_empty() {
            return words;
        }
        let quoted = |word: &Value| word.as_str().map(|word| format!("`{word}`"));
        if let Some(word) = quoted(&schema["const"]) {
            return vec![word];
        }
        if let Some(words) = schema["enum"].as_array() {
            return words.iter().filter_map(quoted).collect();
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return vec!["any value".to_owned()],
        };
        types.into_iter().filter(|name| *name != "null").flat_map(|name| self.typed(name, schema)).collect()
    }

    fn typed(&self, name: &str, schema: &Value) -> Vec<String> {
        let word = match name {
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            "boolean" => return vec!["`true`".to_owned(), "`false`".to_owned()],
            "array" if schema["items"].is_object() => list_of(&self.kinds(&schema["items"])),
            "array" => "list".to_owned(),
            "object" => "map".to_owned(),
            other => other.to_owned(),
        };
        vec![word]
    }
}

fn list_of(kinds: &[String]) -> String {
    let kinds: Vec<String> = kinds.iter().map(|kind| plural(kind)).collect();
    format!("list of {}", joined(&kinds, "or"))
}

fn plural(kind: &str) -> String {
    match kind {
        "text" | "map" | "step" | "size" | "whole number" | "single value" => format!("{kind}s"),
        "any value" => "values".to_owned(),
        other => other.to_owned(),
    }
}

fn choices(schema: &Value) -> Vec<&Value> {
    ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten().collect()
}

/// Null, or the template that may stand for any value: said once for all.
fn is_nothing(schema: &Value) -> bool {
    schema["type"] == "null" || schema["$ref"] == "#/$defs/Template"
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is said of a key, and its default where that is not said yet.
pub(super) fn with_default(doc: String, schema: &Value) -> String {
    let default = &schema["default"];
    let empty = default.as_array().is_some_and(Vec::is_empty);
    if default.is_null() || empty || doc.contains("efault") {
        return doc;
    }
    format!("{doc} Default: `{}`.", flow(default))
}

/// A value as YAML writes it in one line.
fn flow(value: &Value) -> String {
    let entry = |(key, value): (&String, &Value)| format!("{key}: {}", flow(value));
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The keys that belong to one kind of a `wait` or `check`: its own, and those that say "With `kind`:".
pub(super) fn companions<'s>(kind: &str, properties: &'s Map<String, Value>) -> Vec<&'s str> {
    let with = format!("ith `{kind}`");
    let belongs = |(name, schema): &(&String, &Value)| {
        *name == kind || schema["description"].as_str().is_some_and(|doc| doc.contains(&with))
    };
    properties.iter().filter(belongs).map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_told_in_words_and_without_what_every_value_may_be() {
        let schema = Schema(json!({"$defs": {
            "Template": {"type": "string"},
            "OneOrMany_string": {"anyOf": [
                {"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"$ref": "#/$defs/Template"}
            ]},
        }}));
        let kind = |value| schema.kind(&value);
        assert_eq!(kind(json!({"$ref": "#/$defs/OneOrMany_string"})), "text or list of texts");
        assert_eq!(kind(json!({"type": ["integer", "null"]})), "whole number");
        let words = json!({"enum": ["a", "b"]});
        assert_eq!(
            kind(json!({"anyOf": [words, {"type": "array", "items": words}]})),
            "`a`, `b` or list of them"
        );
        assert_eq!(kind(json!({"enum": ["a", "b", "c"]})), "`a`, `b` or `c`");
        assert_eq!(kind(json!({"description": "anything"})), "any value");
    }

    #[test]
    fn a_default_is_told_once() {
        let told = |doc: &str, default: Value| with_default(doc.to_owned(), &json!({"default": default}));
        assert_eq!(told("A word.", json!(["kvm", "tcg"])), "A word. Default: `[kvm, tcg]`.");
        assert_eq!(told("A word. Default: none.", json!(false)), "A word. Default: none.");
        assert_eq!(told("A list.", json!([])), "A list.");
    }
}
