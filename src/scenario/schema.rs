//! The JSON Schema of a scenario file, for editors: made from the same types that read it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::load::TOP;
use super::model::{KnownIssue, MustFail, Requires};
use crate::qemu::spec::VmSpec;
use crate::step::{Action, Wait};
use crate::units::{OneOrMany, Span};

/// The JSON Schema (draft 2020-12) of a scenario file, of a template, and of a file for `use`.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let properties: Map<String, Value> =
        TOP.iter().map(|key| ((*key).to_owned(), top(key, &mut generator))).collect();
    let mut definitions = Map::new();
    definitions.insert("Step".to_owned(), step(&mut generator));
    definitions.insert("Param".to_owned(), param());
    for (name, mut definition) in generator.take_definitions(true) {
        if name == "VmSpec" {
            definition["properties"]["like"] =
                json!({"type": "string", "description": "Another VM, whose options these are laid over."});
        }
        definitions.insert(name, definition);
    }
    definitions.remove("Action");
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lockstep scenario",
        "description": "A scenario of QEMU fault tolerance or migration, as Lockstep runs it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    });
    inside(&mut root);
    root["$defs"]["Template"] = json!({
        "type": "string",
        "pattern": "\\{\\{",
        "description": "A template, such as `\"{{survivor}}\"`: it has the value of what it names.",
    });
    root
}

fn top(key: &str, generator: &mut SchemaGenerator) -> Value {
    let of = |schema: schemars::Schema| schema.to_value();
    let steps = json!({"type": "array", "items": {"$ref": "#/$defs/Step"}});
    let (doc, schema) = match key {
        "name" => (
            "The case's name, a path with `/`, unique in a run. Default: the file's stem and `axis=value` for each axis.",
            json!({"type": "string"}),
        ),
        "description" => ("What the scenario shows, in prose.", json!({"type": "string"})),
        "tags" => (
            "Words to select by; those of the template it extends count as well.",
            of(generator.subschema_for::<OneOrMany<String>>()),
        ),
        "extends" => ("A template to build on, relative to this file.", json!({"type": "string"})),
        "with" => ("Values for the template's params.", json!({"type": "object"})),
        "params" => (
            "Parameters: `name: default`, or `name: {required, default, one_of, description}`.",
            json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/Param"}}),
        ),
        "matrix" => (
            "Axes, each a list of values; there is a case for each combination.",
            json!({
                "type": "object",
                "properties": {
                    "exclude": {"type": "array", "items": {"type": "object"},
                        "description": "Combinations to leave out: each drops every cell that has its values."},
                    "include": {"type": "array", "items": {"type": "object"},
                        "description": "Whole combinations to add."},
                },
                "additionalProperties": {"type": "array", "minItems": 1},
            }),
        ),
        "requires" => (
            "What must hold for the case to be run; otherwise it is skipped, with the reason.",
            of(generator.subschema_for::<Requires>()),
        ),
        "known_issue" => ("Failures that are known: the case is expected to fail in one of these ways.", {
            let issue = of(generator.subschema_for::<KnownIssue>());
            json!({"anyOf": [issue, {"type": "array", "items": issue}]})
        }),
        "must_fail" => (
            "A negative control: the case passes only if it fails as this says.",
            of(generator.subschema_for::<MustFail>()),
        ),
        "timeout" => {
            ("How long the whole case may take. Default: `120s`.", of(generator.subschema_for::<Span>()))
        }
        "vms" => ("The VMs, by name.", {
            let vm = of(generator.subschema_for::<VmSpec>());
            json!({"type": "object", "additionalProperties": {"anyOf": [vm, {"type": "null"}]}})
        }),
        "hooks" => (
            "Steps to be placed where the template says `hook: name`.",
            json!({"type": "object", "additionalProperties": steps}),
        ),
        "finally" => ("Steps that run whatever happened, before everything is torn down.", steps),
        _ => ("What the scenario does.", steps),
    };
    with_doc(doc, schema)
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
        "name": {"type": "string", "description": "What a person calls the step."},
        "when": {
            "type": ["string", "boolean", "number", "null"],
            "description": "Whether to do it: not where this is `\"\"`, `false`, `0` or null.",
        },
        "timeout": with_doc("How long it may take. Default: `30s`.", of::<Span>(generator)),
        "capture": {"type": "string", "description": "The name its result gets in `run.captures`."},
        "expect_error": {
            "type": "string",
            "description": "The step must fail, with a message that matches this regular expression.",
        },
    });
    let mut keys = Vec::new();
    let actions = Action::json_schema(generator).to_value();
    for action in actions["oneOf"].as_array().into_iter().flatten() {
        for (key, schema) in action["properties"].as_object().into_iter().flatten() {
            let doc = action["description"].as_str().unwrap_or_default();
            properties[key] = with_doc(doc, schema.clone());
            keys.push(key.clone());
        }
    }
    let steps = json!({"type": "array", "items": {"$ref": "#/$defs/Step"}});
    let flow = json!({
        "hook": {"type": "string", "description": "A point at which the extending file may place steps."},
        "use": {
            "description": "The steps of another file, which has `params` and `steps` only.",
            "type": "object",
            "properties": {
                "file": {"type": "string", "description": "The file, relative to the one that uses it."},
                "with": {"type": "object", "description": "Values for its params."},
            },
            "required": ["file"],
            "additionalProperties": false,
        },
        "repeat": {
            "description": "Steps again and again: `times`, or `over` a list, or `until` a condition is met.",
            "type": "object",
            "properties": {
                "times": {"type": "integer", "minimum": 0, "description": "How often."},
                "over": {"type": "array", "description": "Once for each of these values."},
                "as": {"type": "string", "description": "With `over`: the name of the loop variable."},
                "until": with_doc("Until this condition is met, asked after each round.", of::<Wait>(generator)),
                "steps": with_doc("What is repeated.", steps.clone()),
            },
            "required": ["steps"],
            "oneOf": [{"required": ["times"]}, {"required": ["over", "as"]}, {"required": ["until"]}],
            "additionalProperties": false,
        },
    });
    for (key, schema) in flow.as_object().into_iter().flatten() {
        properties[key] = schema.clone();
        keys.push(key.clone());
    }
    let one_of: Vec<Value> = keys.iter().map(|key| json!({"required": [key]})).collect();
    json!({
        "description": "One action, and modifiers beside it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "oneOf": one_of,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn param() -> Value {
    json!({
        "description": "A default, or `{required, default, one_of, description}`.",
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "required": {"type": "boolean"},
                    "default": true,
                    "one_of": {"type": "array", "minItems": 1},
                    "description": {"type": "string"},
                },
            },
            true,
        ],
    })
}

/// Lets a template stand wherever a value is expected that is no text anyway.
fn inside(schema: &mut Value) {
    let Value::Object(map) = schema else {
        return;
    };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(children)) => children.values_mut().for_each(value_of),
            ("items" | "additionalProperties", child) => value_of(child),
            ("anyOf" | "oneOf" | "allOf", Value::Array(choices)) => choices.iter_mut().for_each(inside),
            _ => {}
        }
    }
}

fn value_of(schema: &mut Value) {
    inside(schema);
    if takes_text(schema) {
        return;
    }
    let Value::Object(map) = schema else {
        return;
    };
    let mut outer = Map::new();
    for key in ["description", "default"] {
        outer.extend(map.shift_remove(key).map(|value| (key.to_owned(), value)));
    }
    let template = json!({"$ref": "#/$defs/Template"});
    let only_any_of = map.keys().all(|key| key == "anyOf");
    match map.get_mut("anyOf") {
        Some(Value::Array(choices)) if only_any_of => {
            choices.push(template);
            outer.insert("anyOf".to_owned(), Value::Array(std::mem::take(choices)));
        }
        _ => {
            outer.insert("anyOf".to_owned(), json!([std::mem::take(map), template]));
        }
    }
    *map = outer;
}

/// Whether any text fits already, or what is referred to sees to it.
fn takes_text(schema: &Value) -> bool {
    let Value::Object(map) = schema else {
        return true;
    };
    let free = !["enum", "const", "pattern"].iter().any(|key| map.contains_key(*key));
    let text = match map.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => !["properties", "anyOf", "oneOf", "allOf"].iter().any(|key| map.contains_key(*key)),
    };
    map.contains_key("$ref") || (free && text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{ACTIONS, FLOW, MODIFIERS};

    const PATH: &str = "schemas/scenario.schema.json";

    #[test]
    fn the_schema_that_is_checked_in_is_current() {
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("LOCKSTEP_BLESS").is_some() {
            std::fs::write(PATH, &text).unwrap();
        }
        let kept = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(kept == text, "{PATH} is stale: run `LOCKSTEP_BLESS=1 cargo test`");
    }

    #[test]
    fn every_key_is_in_the_schema_with_a_word_on_it() {
        let schema = schema();
        for key in TOP {
            assert!(schema["properties"][key]["description"].is_string(), "{key}");
        }
        let step = &schema["$defs"]["Step"]["anyOf"][0];
        for key in ACTIONS.iter().chain(FLOW).chain(MODIFIERS) {
            assert!(step["properties"][key]["description"].is_string(), "{key}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
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
    fn a_template_may_stand_for_a_number_a_list_and_a_word() {
        let schema = schema();
        let template = json!({"$ref": "#/$defs/Template"});
        let wait = &schema["$defs"]["Wait"]["anyOf"][0]["properties"];
        let allows = |schema: &Value| schema["anyOf"].as_array().is_some_and(|any| any.contains(&template));
        assert!(allows(&wait["ticks"]), "{}", wait["ticks"]);
        assert!(allows(&schema["$defs"]["Accel"]) && allows(&schema["properties"]["steps"]));
        assert_eq!(schema["$defs"]["VmSpec"]["anyOf"][0]["properties"]["cpu"]["type"], "string");
    }
}
