//! The JSON Schema of a scenario file, for editors: generated from the types that parse it.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

mod admit;
mod choices;

use crate::scenario::flow::{Repeat, Use};
use crate::scenario::keys::{KEYS, TopKey, of};
use crate::scenario::merge::LISTS;
use crate::scenario::vms::MAX_COPIES;
use crate::scenario::{params, when};
use crate::step::{ABOUT, Action, DEFAULT_TIMEOUT, Step};
use crate::units::Span;

/// The JSON Schema (draft 2020-12) of a scenario file, of a template, and of a file for `use`.
///
/// In addition to the standard's keywords it has those of the YAML language server (`markdownDescription`, `errorMessage`,
/// `defaultSnippets`…).
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let properties: Map<String, Value> =
        KEYS.iter().map(|key| (key.name.to_owned(), top(key, &mut generator))).collect();
    let mut definitions = Map::new();
    let step = step(&mut generator);
    definitions.insert("Step".to_owned(), step);
    definitions.insert("Param".to_owned(), params::schema(&mut generator));
    definitions.extend(generator.take_definitions(true));
    definitions.shift_remove("Action");
    let mut definitions = Value::Object(definitions);
    finish(&mut definitions);
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lockstep scenario",
        "description": "A Lockstep scenario of QEMU fault tolerance or migration.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    });
    admit::docs(&mut root);
    root
}

/// A key of a file. What is in its map can be a template; the map itself cannot.
fn top(key: &TopKey, generator: &mut SchemaGenerator) -> Value {
    let mut schema = with_doc(key.doc, (key.schema)(generator));
    schema.get_mut("additionalProperties").into_iter().for_each(admit::templates);
    schema
}

/// Adds to the generated definitions what the types do not express.
fn finish(definitions: &mut Value) {
    let vm = &mut definitions["VmSpec"];
    // A VM with only defaults may be empty.
    vm["type"] = json!(["object", "null"]);
    vm["properties"]["like"] =
        json!({"type": "string", "description": "Another VM; these options are merged over its options."});
    vm["properties"]["copies"] = json!({
        "type": "integer", "minimum": 0, "maximum": MAX_COPIES,
        "description": "The number of copies: `copies: 3` of `spare` makes the VMs `spare1`, `spare2` and `spare3`. \
            Default: one, with this very name.",
    });
    for (name, what, one_text) in [("args", "Arguments", true), ("trace", "Patterns", false)] {
        let whole = json!({"type": "array", "items": {"type": "string"}});
        let text = one_text.then(|| json!({"type": "string"}));
        let several: Vec<Value> = text.into_iter().chain([whole]).collect();
        let items = &mut vm["properties"][name]["items"];
        *items = json!({"anyOf": [items.take(), {
            "type": "object",
            "description": format!("{what} that are only used if `when` is true."),
            "properties": {
                "when": when::schema("Whether to use them: a template, `true` or `false`."),
                name: {"anyOf": several, "description": format!("The {}.", what.to_lowercase())},
            },
            "required": ["when", name],
            "additionalProperties": false,
        }]});
    }
    let mut args = vm["properties"]["args"].take();
    let description = args.as_object_mut().and_then(|args| args.shift_remove("description"));
    vm["properties"]["args"] = json!({"description": description, "anyOf": [{"type": "string"}, args]});
    for name in LISTS {
        let mut more = vm["properties"][name].clone();
        more["description"] = json!(format!(
            "Items to add at the end of the inherited `{name}`: that of the VM that this one is `like`, or of the template."
        ));
        vm["properties"][format!("+{name}")] = more;
    }
    for (action, snippet) in snippets() {
        let body: Value = serde_json::from_str(snippet).unwrap_or_default();
        let keys = body.as_object().into_iter().flat_map(Map::keys);
        let label = keys.map(String::as_str).collect::<Vec<_>>().join(", ");
        definitions["Step"]["properties"][action]["defaultSnippets"] =
            json!([{"label": label, "body": body}]);
    }
    definitions.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(admit::templates);
    // At the top of a file only a map is allowed.
    definitions["Requires"]["type"] = json!("object");
    choices::put(definitions);
    definitions["Template"] = admit::template();
}

/// The snippets that an editor inserts for an action, `use` or `repeat`.
fn snippets() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_actions = ABOUT.iter().filter_map(|about| Some((about.key, about.snippet?)));
    of_actions.chain([("use", r#"{"file": "$1"}"#), ("repeat", r#"{"times": "${1:2}", "steps": []}"#)])
}

fn with_doc(doc: &str, schema: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), json!(doc));
    if let Value::Object(schema) = schema {
        all.extend(schema.into_iter().filter(|(key, _)| key != "description"));
    }
    Value::Object(all)
}

/// A step: one action, and modifiers.
fn step(generator: &mut SchemaGenerator) -> Value {
    let mut properties = json!({
        "name": {"type": "string", "description": "The step's name, for people."},
        "when": when::schema("Whether to run the step: a template, `true` or `false`. It does not run if the template is \
            `\"\"`, `false`, `0` or null."),
        "timeout": with_doc("The timeout of the step. Default: `30s`.", of::<Span>(generator)),
        "capture": {"type": "string", "description": "The name of its result in `run.captures`."},
        "expect_error": {
            "type": "string",
            "description": "A regular expression: the step must fail with a message that matches it.",
        },
    });
    properties["timeout"]["default"] = json!(DEFAULT_TIMEOUT);
    let actions = Action::json_schema(generator).to_value();
    for action in actions["oneOf"].as_array().into_iter().flatten() {
        for (key, schema) in action["properties"].as_object().into_iter().flatten() {
            // The type's own doc comment is longer than that of its variant.
            let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let own = generator.definitions().get(name).and_then(|own| own["description"].as_str());
            let doc = own.or_else(|| action["description"].as_str()).unwrap_or_default().to_owned();
            properties[key] = with_doc(&doc, schema.clone());
        }
    }
    let block = "Steps that belong together: under one `when`, or with one `name` for the reader.";
    let repeat = "Repeats steps: `times`, or `over` a list, or `until` a condition is met.";
    properties["block"] = with_doc(block, of::<Vec<Step>>(generator));
    let parallel = "Branches of steps that run at the same time, by name. It ends when all have ended. The first failure ends the others.";
    properties["parallel"] = with_doc(parallel, of::<BTreeMap<String, Vec<Step>>>(generator));
    properties["parallel"]["minProperties"] = json!(1);
    properties["hook"] =
        json!({"type": "string", "description": "A place where the extending file can add steps."});
    properties["use"] = json!(Use::json_schema(generator));
    properties["repeat"] = with_doc(repeat, Repeat::json_schema(generator).to_value());
    properties["repeat"]["additionalProperties"] = json!(false);
    json!({
        "description": "One action, and modifiers.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use snapbox::{Data, assert_data_eq};

    use super::*;
    use crate::scenario::keys;
    use crate::step::{ACTIONS, FLOW, MODIFIERS};

    #[test]
    fn the_schema_that_is_checked_in_is_current() {
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        assert_data_eq!(text, Data::read_from(Path::new("schemas/scenario.schema.json"), None).raw());
    }

    #[test]
    fn every_key_is_in_the_schema_with_a_description() {
        let schema = schema();
        for key in keys::names() {
            assert!(schema["properties"][key]["description"].is_string(), "{key}");
        }
        let step = &schema["$defs"]["Step"];
        for key in ACTIONS.iter().chain(FLOW).chain(MODIFIERS) {
            assert!(step["properties"][key]["description"].is_string(), "{key}");
        }
    }

    #[test]
    fn every_reference_has_a_definition() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let schema = schema();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            assert!(schema.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_template_can_replace_a_number_a_list_and_a_word_but_not_a_section() {
        let schema = schema();
        let wait = &schema["$defs"]["Wait"]["properties"];
        let takes_text =
            |schema: &Value| schema["type"].as_array().is_some_and(|all| all.contains(&json!("string")));
        assert!(takes_text(&wait["ticks"]) && takes_text(&schema["$defs"]["Step"]), "{}", wait["ticks"]);
        assert!(
            schema["$defs"]["Accel"]["anyOf"]
                .as_array()
                .unwrap()
                .contains(&json!({"$ref": "#/$defs/Template"}))
        );
        for section in ["steps", "vms", "params", "matrix", "hooks"] {
            assert!(!takes_text(&schema["properties"][section]), "{section}");
        }
        assert_eq!(schema["$defs"]["VmSpec"]["properties"]["cpu"]["type"], "string");
    }

    #[test]
    fn every_key_of_a_rule_exists() {
        fn look(schema: &Value) {
            let properties = &schema["properties"];
            for (key, rule) in schema["dependentSchemas"].as_object().into_iter().flatten() {
                assert!(properties[key].is_object(), "{key}");
                assert!(
                    rule["properties"].as_object().unwrap().keys().all(|key| properties[key].is_object()),
                    "{rule}"
                );
            }
        }
        let schema = schema();
        schema["$defs"].as_object().unwrap().values().for_each(look);
        look(&schema["$defs"]["Step"]["properties"]["repeat"]);
    }

    #[test]
    fn every_snippet_belongs_to_an_action_and_is_valid_json() {
        let schema = schema();
        for (action, snippet) in snippets() {
            assert!(ACTIONS.iter().chain(FLOW).any(|known| *known == action), "{action}");
            let body: Value = serde_json::from_str(snippet).unwrap();
            let of = &schema["$defs"]["Step"]["properties"][action];
            let keys = of["properties"].as_object().or_else(|| {
                schema.pointer(of["$ref"].as_str()?.trim_start_matches('#'))?["properties"].as_object()
            });
            let keys = keys.unwrap();
            assert!(body.as_object().unwrap().keys().all(|key| keys.contains_key(key)), "{action}");
        }
    }
}
