//! The JSON Schema of a scenario file, for editors: made from the same types that read it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

mod admit;
mod choices;

use super::load::TOP;
use super::model::{DEFAULT_CASE_TIMEOUT, KnownIssue, MustFail, Requires};
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::network::NetworkSpec;
use crate::qemu::spec::VmSpec;
use crate::session::link::LinkSpec;
use crate::step::{ABOUT, Action, DEFAULT_TIMEOUT, Wait};
use crate::units::{OneOrMany, Span};

/// The text of a path, which cannot be a template.
const PATH_TEXT: &str = "^([^{]|\\{[^{])*\\{?$";

/// The JSON Schema (draft 2020-12) of a scenario file, of a template, and of a file for `use`.
///
/// Beside the standard's own keywords it has those that editors show to a person (`markdownDescription`,
/// `errorMessage`, `defaultSnippets`…), as the YAML language server understands them.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let properties: Map<String, Value> =
        TOP.iter().map(|key| ((*key).to_owned(), top(key, &mut generator))).collect();
    let mut definitions = Map::new();
    let step = step(&mut generator);
    definitions.insert("Step".to_owned(), step);
    definitions.insert("Param".to_owned(), param());
    definitions.extend(generator.take_definitions(true));
    definitions.shift_remove("Action");
    let mut definitions = Value::Object(definitions);
    finish(&mut definitions);
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lockstep scenario",
        "description": "A scenario of QEMU fault tolerance or migration, as Lockstep runs it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    });
    admit::docs(&mut root);
    root
}

/// What only the schema knows of the definitions that were made from the types.
fn finish(definitions: &mut Value) {
    let vm = &mut definitions["VmSpec"];
    // A VM with nothing but defaults may be left empty.
    vm["type"] = json!(["object", "null"]);
    vm["properties"]["like"] =
        json!({"type": "string", "description": "Another VM, whose options these are laid over."});
    vm["properties"]["copies"] = json!({
        "type": "integer", "minimum": 0, "maximum": 100,
        "description": "How many of it there are: `copies: 3` of `spare` makes the VMs `spare1`, `spare2` and `spare3`. \
            Default: one, with this very name.",
    });
    let raw = vm["properties"]["args"]["items"].take();
    vm["properties"]["args"]["items"] = json!({"anyOf": [raw, {
        "type": "object",
        "description": "Arguments that are there only where `when` says so.",
        "properties": {
            "when": {"type": ["string", "boolean", "number", "null"],
                "description": "Whether they are there: not where this is `\"\"`, `false`, `0` or null."},
            "args": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                "description": "The arguments."},
        },
        "required": ["when", "args"],
        "additionalProperties": false,
    }]});
    let mut args = vm["properties"]["args"].take();
    let description = args.as_object_mut().and_then(|args| args.shift_remove("description"));
    vm["properties"]["args"] = json!({"description": description, "anyOf": [{"type": "string"}, args]});
    for (action, snippet) in snippets() {
        let body: Value = serde_json::from_str(snippet).unwrap_or_default();
        let keys = body.as_object().into_iter().flat_map(Map::keys);
        let label = keys.map(String::as_str).collect::<Vec<_>>().join(", ");
        definitions["Step"]["properties"][action]["defaultSnippets"] =
            json!([{"label": label, "body": body}]);
    }
    definitions
        .as_object_mut()
        .into_iter()
        .flatten()
        .for_each(|(_, definition)| admit::templates(definition));
    // At the top of a file, where only a map will do.
    definitions["Requires"]["type"] = json!("object");
    choices::put(definitions);
    definitions["Template"] = admit::template();
}

/// What an editor writes below an action, or a step that stands for others, that is chosen from its list.
fn snippets() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_actions = ABOUT.iter().filter_map(|about| Some((about.key, about.snippet?)));
    of_actions.chain([("use", r#"{"file": "$1"}"#), ("repeat", r#"{"times": "${1:2}", "steps": []}"#)])
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
        "extends" => ("A template to build on, relative to this file.", path()),
        "with" => ("Values for the template's params.", json!({"type": "object"})),
        "params" => (
            "Parameters: `name: default`, or `name: {required, default, one_of, description}`.",
            json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/Param"}}),
        ),
        "matrix" => (
            "Axes, each a list of values or a range; there is a case for each combination.",
            json!({
                "type": "object",
                "properties": {
                    "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1},
                        "description": "Combinations to leave out: each drops every cell that has its values."},
                    "include": {"type": "array", "items": {"type": "object", "minProperties": 1},
                        "description": "Whole combinations to add."},
                },
                "additionalProperties": admitted(json!({
                    "description": "An axis: a list of single values, or of maps (`{{axis.field}}`); or a range, in steps \
                                    or drawn by `--seed`.",
                    "anyOf": [
                        {"type": "array", "minItems": 1},
                        {"type": "object", "required": ["from", "to", "step"], "additionalProperties": false,
                            "properties": {"from": true, "to": true, "step": true}},
                        {"type": "object", "required": ["random"], "additionalProperties": false,
                            "properties": {"random": {"type": "object", "required": ["count", "from", "to"],
                                "additionalProperties": false,
                                "properties": {"count": true, "from": true, "to": true}}}},
                    ],
                })),
            }),
        ),
        "requires" => (
            "What must hold for the case to be run; otherwise it is skipped, with the reason.",
            of(generator.subschema_for::<Requires>()),
        ),
        "known_issue" => ("Failures that are known: the case is expected to fail in one of these ways.", {
            let issue = of(generator.subschema_for::<KnownIssue>());
            json!({"anyOf": [{"type": "array", "items": issue}, issue]})
        }),
        "must_fail" => (
            "A negative control: the case passes only if it fails as this says.",
            of(generator.subschema_for::<MustFail>()),
        ),
        "timeout" => {
            let doc = "How long the whole case may take. Default: `120s`.";
            return defaulting(doc, of(generator.subschema_for::<Span>()), DEFAULT_CASE_TIMEOUT);
        }
        "artifacts" => (
            "Files that steps leave in the case's folder and that are kept with its artifacts, below `files`: paths or \
             patterns (`*`, `?`, `[…]`, `**`), relative to that folder; those of the template it extends count as well.",
            of(generator.subschema_for::<OneOrMany<String>>()),
        ),
        "vms" => ("The VMs, by name.", {
            let vm = of(generator.subschema_for::<VmSpec>());
            json!({"type": "object", "additionalProperties": vm})
        }),
        "roles" => (
            "Names that stand for VMs wherever a step names one; a `rebind` step has them stand for others. So steps can \
             speak of `primary` and `secondary` whichever VM that is by now.",
            json!({"type": "object", "additionalProperties": {"type": "string",
                "description": "The VM that it stands for at first."}}),
        ),
        "disks" => (
            "Disk images that belong to no VM alone, made before anything is started; `{{disk.NAME}}` is the path of one.",
            {
                let disk = of(generator.subschema_for::<Disk>());
                json!({"type": "object", "additionalProperties": disk})
            },
        ),
        "credentials" => (
            "TLS credentials, by name, made anew for each case before anything is started; `{{credential.NAME}}` is the \
             folder, as `dir` of `tls-creds-x509` and `tls-creds-psk`.",
            {
                let credential = of(generator.subschema_for::<Credential>());
                json!({"type": "object", "additionalProperties": credential})
            },
        ),
        "ports" => (
            "Names of TCP ports of 127.0.0.1 that are free, and held for the case: `{{port.NAME}}` is the number.",
            of(generator.subschema_for::<OneOrMany<String>>()),
        ),
        "links" => ("Relays of byte streams, by name, to be cut and slowed down by `link` steps.", {
            let link = of(generator.subschema_for::<LinkSpec>());
            json!({"type": "object", "additionalProperties": link})
        }),
        "networks" => ("Networks, by name, that join VMs and the host without root.", {
            let network = of(generator.subschema_for::<NetworkSpec>());
            json!({"type": "object", "additionalProperties": network})
        }),
        "hooks" => (
            "Steps to be placed where the template says `hook: name`.",
            json!({"type": "object", "additionalProperties": admitted(steps)}),
        ),
        "finally" => ("Steps that run whatever happened, before everything is torn down.", steps),
        _ => ("What the scenario does.", steps),
    };
    with_doc(doc, schema)
}

/// The path of a file.
fn path() -> Value {
    json!({
        "type": "string",
        "pattern": PATH_TEXT,
        "patternErrorMessage": "The path of a file cannot be a template: write it out, or use `when` on several steps.",
    })
}

fn admitted(mut schema: Value) -> Value {
    admit::templates(&mut schema);
    schema
}

fn with_doc(doc: &str, schema: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), json!(doc));
    if let Value::Object(schema) = schema {
        all.extend(schema.into_iter().filter(|(key, _)| key != "description"));
    }
    Value::Object(all)
}

fn defaulting(doc: &str, schema: Value, default: Span) -> Value {
    let mut schema = with_doc(doc, schema);
    schema["default"] = json!(default);
    schema
}

/// A step: one action, and modifiers.
fn step(generator: &mut SchemaGenerator) -> Value {
    let mut properties = json!({
        "name": {"type": "string", "description": "What a person calls the step."},
        "when": {
            "type": ["string", "boolean", "number", "null"],
            "description": "Whether to do it: not where this is `\"\"`, `false`, `0` or null.",
        },
        "timeout": defaulting("How long it may take. Default: `30s`.", of::<Span>(generator), DEFAULT_TIMEOUT),
        "capture": {"type": "string", "description": "The name its result gets in `run.captures`."},
        "expect_error": {
            "type": "string",
            "description": "The step must fail, with a message that matches this regular expression.",
        },
    });
    let actions = Action::json_schema(generator).to_value();
    for action in actions["oneOf"].as_array().into_iter().flatten() {
        for (key, schema) in action["properties"].as_object().into_iter().flatten() {
            // What the type says of itself says more than the line in the list of actions.
            let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let own = generator.definitions().get(name).and_then(|own| own["description"].as_str());
            let doc = own.or_else(|| action["description"].as_str()).unwrap_or_default().to_owned();
            properties[key] = with_doc(&doc, schema.clone());
        }
    }
    let steps = json!({"type": "array", "items": {"$ref": "#/$defs/Step"}});
    let doc = "Steps that belong together: under one `when`, or one `name` for the reader.";
    let flow = json!({
        "block": with_doc(doc, steps.clone()),
        "hook": {"type": "string", "description": "A point at which the extending file may place steps."},
        "use": {
            "description": "The steps of another file, which has `params` and `steps` only.",
            "type": "object",
            "properties": {
                "file": with_doc("The file, relative to the one in which this stands.", path()),
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
                "index": {"type": "string",
                    "description": "A name for the number of the round, from 1 on."},
                "until": with_doc(
                    "A condition as in `wait`, asked after each round. The step's `timeout` is the loop's.",
                    of::<Wait>(generator),
                ),
                "steps": with_doc("What is repeated.", steps),
            },
            "required": ["steps"],
            "additionalProperties": false,
        },
    });
    for (key, schema) in flow.as_object().into_iter().flatten() {
        properties[key] = schema.clone();
    }
    json!({
        "description": "One action, and modifiers beside it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// A param: any value, and a map may be the long form.
fn param() -> Value {
    let in_long = ["required", "default", "one_of", "description"];
    json!({
        "description": "A default, or `{required, default, one_of, description}`.",
        "if": {"type": "object", "anyOf": in_long.map(|key| json!({"required": [key]}))},
        "then": {
            "additionalProperties": false,
            "properties": {
                "required": {"type": "boolean", "default": false, "description": "Whether something must set it."},
                "default": {"description": "Its value where nothing sets it. May name params declared above it."},
                "one_of": {"type": "array", "minItems": 1, "description": "The values it may have."},
                "description": {"type": "string", "description": "What it is for."},
            },
        },
    })
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
        let step = &schema["$defs"]["Step"];
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
    fn a_template_may_stand_for_a_number_a_list_and_a_word_but_not_for_a_section() {
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
    fn every_key_that_a_rule_names_is_there() {
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
    fn every_snippet_is_one_of_an_action_and_can_be_read() {
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
