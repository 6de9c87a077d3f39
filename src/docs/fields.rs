//! Describes the keys of a type: what each takes, whether it is required, its meaning, its default.

use serde_json::Value;

use super::text::{joined, wrap};

/// The width of the generated lines.
pub(super) const WIDTH: usize = 100;

/// The JSON Schema of a scenario.
pub(super) struct Schema(pub Value);

/// A key of a map.
pub(super) struct Field<'s> {
    pub name: &'s str,
    pub schema: &'s Value,
    pub required: bool,
}

impl Schema {
    /// The schema behind a reference, without the choices of null and a template that every value has.
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

    /// The keys of a map; empty if it is not a map with fixed keys.
    pub(super) fn fields<'s>(&'s self, schema: &'s Value) -> Vec<Field<'s>> {
        let schema = self.behind(schema);
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, schema)| Field { name, schema, required: required.contains(&name.as_str()) })
            .collect()
    }

    /// The doc text of a value, else that of its type.
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

    /// The keys of the maps that a value can be, and the words with a doc text.
    pub(super) fn inner<'s>(&'s self, schema: &'s Value) -> Vec<Field<'s>> {
        self.maps(schema).into_iter().flat_map(|map| self.fields(map)).collect()
    }

    /// The maps with fixed keys that a value can be, except those with their own section.
    fn maps<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            let elsewhere = ["Wait", "Step", "VmSpec", "Exit"].contains(&name);
            return if elsewhere { Vec::new() } else { self.maps(&self.0["$defs"][name]) };
        }
        if schema["properties"].is_object() {
            return vec![schema];
        }
        // A map from arbitrary names to maps with fixed keys.
        if schema["additionalProperties"]["$ref"].is_string() {
            return self.maps(&schema["additionalProperties"]);
        }
        choices(schema).into_iter().flat_map(|choice| self.maps(choice)).collect()
    }

    /// The doc text of a value's type, if it adds to the value's own.
    pub(super) fn type_doc(&self, schema: &Value) -> Option<String> {
        let name = schema["$ref"].as_str()?;
        let doc = self.0.pointer(name.trim_start_matches('#'))?["description"].as_str()?;
        Some(doc.to_owned())
    }

    /// The types of a value, in words.
    pub(super) fn kind(&self, schema: &Value) -> String {
        joined(&self.kinds(schema), "or")
    }

    fn kinds(&self, schema: &Value) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            let words: &[&str] = match name {
                "Duration" => &["duration"],
                "Share" => &["share"],
                "Size" => &["size"],
                "ByteCount" => &["size", "number of bytes"],
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

/// Whether it is null, or the template that any value can be; these are not listed.
fn is_nothing(schema: &Value) -> bool {
    schema["type"] == "null" || schema["$ref"] == "#/$defs/Template"
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The doc text of a key, with its default if the text does not have it.
pub(super) fn with_default(doc: String, schema: &Value) -> String {
    let default = &schema["default"];
    let empty = default.as_array().is_some_and(Vec::is_empty);
    if default.is_null() || empty || doc.contains("efault") {
        return doc;
    }
    format!("{doc} Default: `{}`.", flow(default))
}

/// A value as YAML in one line.
fn flow(value: &Value) -> String {
    let entry = |(key, value): (&String, &Value)| format!("{key}: {}", flow(value));
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_described_without_null_and_templates() {
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
    fn a_default_is_shown_once() {
        let shown = |doc: &str, default: Value| with_default(doc.to_owned(), &json!({"default": default}));
        assert_eq!(shown("A word.", json!(["kvm", "tcg"])), "A word. Default: `[kvm, tcg]`.");
        assert_eq!(shown("A word. Default: none.", json!(false)), "A word. Default: none.");
        assert_eq!(shown("A list.", json!([])), "A list.");
    }
}
