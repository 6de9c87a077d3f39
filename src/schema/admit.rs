//! Applied to every part of the schema: allows a template in place of a value, and adds the doc text for editors.

use serde_json::{Map, Value, json};

/// The pattern of a template in place of a value.
const TEMPLATE: &str = "\\{\\{";

/// Allows a template wherever something other than a text is expected. Of several choices only one allows it.
pub(super) fn templates(schema: &mut Value) {
    let Value::Object(map) = schema else {
        return;
    };
    consts_to_enum(map);
    flatten(map);
    parts(map);
    let choices = map.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten();
    for choice in choices.filter_map(Value::as_object_mut) {
        consts_to_enum(choice);
        parts(choice);
    }
    or_a_template(map);
}

/// Applies [`templates`] to what is in a list or map.
fn parts(map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(children)) => children.values_mut().for_each(templates),
            ("items" | "additionalProperties", child) => templates(child),
            _ => {}
        }
    }
}

/// Converts an enum of documented words to the form that editors show best: one list, one message.
fn consts_to_enum(map: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = map.get("oneOf") else {
        return;
    };
    let Some(words) = choices.iter().map(|choice| choice.get("const").cloned()).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let docs: Vec<Value> = choices.iter().map(|choice| choice["description"].clone()).collect();
    map.shift_remove("oneOf");
    map.insert("enum".to_owned(), Value::Array(words));
    map.insert("markdownEnumDescriptions".to_owned(), Value::Array(docs));
}

/// Converts an `anyOf` of plain types to one schema with several types, so that a message names the error inside it and not
/// just that no choice matches.
fn flatten(map: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = map.get("anyOf") else {
        return;
    };
    let plain = |choice: &Value| {
        choice.get("type").is_some()
            && ["enum", "const", "pattern"].iter().all(|key| choice.get(key).is_none())
    };
    if !choices.iter().all(plain) {
        return;
    }
    let mut types = Vec::new();
    let mut all = Map::new();
    for (key, value) in choices.iter().filter_map(Value::as_object).flatten() {
        match (key.as_str(), value) {
            ("type", Value::Array(several)) => types.extend(several.clone()),
            ("type", one) => types.push(one.clone()),
            _ if all.contains_key(key) => return,
            _ => drop(all.insert(key.clone(), value.clone())),
        }
    }
    map.shift_remove("anyOf");
    map.insert("type".to_owned(), Value::Array(types));
    map.extend(all);
}

fn or_a_template(map: &mut Map<String, Value>) {
    if map.contains_key("$ref") || map.contains_key("pattern") {
        return;
    }
    let template = || json!({"$ref": "#/$defs/Template"});
    if map.contains_key("enum") {
        let moved = ["enum", "type", "markdownEnumDescriptions"];
        let words: Map<String, Value> =
            moved.iter().filter_map(|key| Some(((*key).to_owned(), map.shift_remove(*key)?))).collect();
        map.insert("anyOf".to_owned(), json!([words, template()]));
    } else if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.push(template());
    } else if let Some(kinds) = map.get_mut("type") {
        let mut all = match kinds.take() {
            Value::Array(all) => all,
            one => vec![one],
        };
        if all.iter().any(|kind| kind == "string") {
            *kinds = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
            return;
        }
        let expected: Vec<&str> = all.iter().filter_map(Value::as_str).filter_map(word).collect();
        let message = format!(
            "Expected {}. A text here must be a template, such as `\"{{{{name}}}}\"`.",
            expected.join(" or ")
        );
        all.push(json!("string"));
        *kinds = Value::Array(all);
        map.insert("pattern".to_owned(), json!(TEMPLATE));
        map.insert("patternErrorMessage".to_owned(), json!(message));
    }
}

fn word(kind: &str) -> Option<&'static str> {
    match kind {
        "object" => Some("a map"),
        "array" => Some("a list"),
        "integer" => Some("a whole number"),
        "number" => Some("a number"),
        "boolean" => Some("`true` or `false`"),
        _ => None,
    }
}

/// The definition of a template as a choice of its own.
pub(super) fn template() -> Value {
    json!({
        "type": "string",
        "pattern": TEMPLATE,
        "patternErrorMessage": "Not an allowed value; any other text must be a template, such as `\"{{name}}\"`.",
        "description": "A template, such as `\"{{survivor}}\"`.",
    })
}

/// Puts each doc text on one line per paragraph, and adds a copy for editors that show Markdown.
pub(super) fn docs(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get("description") {
                let text = one_line_per_paragraph(text);
                // Markdown renders `code`; as plain text, an editor shows the backquotes.
                map.insert("description".to_owned(), json!(text));
                map.insert("markdownDescription".to_owned(), json!(text));
            }
            map.values_mut().for_each(docs);
        }
        Value::Array(list) => list.iter_mut().for_each(docs),
        _ => {}
    }
}

/// A doc comment without the line breaks of the source.
fn one_line_per_paragraph(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}
