//! What the JSON Schema says about a path of keys, and the reference text of a key.

use std::sync::LazyLock;

use serde_json::Value;

use super::outline::Part;
use crate::docs::{self, Topic};

static SCHEMA: LazyLock<Value> = LazyLock::new(crate::schema::schema);

/// A schema for the value at a path, with the name of its definition; empty for a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub schema: &'static Value,
    pub of: &'static str,
}

/// A key that a map may have.
pub(super) struct Key {
    pub name: &'static str,
    pub schema: &'static Value,
    pub is_required: bool,
}

/// A word that a value may be, with its meaning.
pub(super) struct Word {
    pub text: String,
    pub doc: &'static str,
}

/// The schemas for the value at a path: several if it may be of several kinds.
pub(super) fn at(path: &[Part]) -> Vec<Found> {
    let start = vec![Found { schema: &SCHEMA, of: "" }];
    path.iter().fold(start, |found, part| {
        let mut next = Vec::new();
        for Found { schema, .. } in found {
            let below = match part {
                Part::Item => &schema["items"],
                Part::Key(name) if schema["properties"][name].is_object() => &schema["properties"][name],
                Part::Key(_) => &schema["additionalProperties"],
            };
            expand(below, "", &mut next);
        }
        next
    })
}

/// A schema with those that it refers to.
fn expand(schema: &'static Value, of: &'static str, found: &mut Vec<Found>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        expand(&SCHEMA["$defs"][name], name, found);
    } else if schema.is_object() {
        found.push(Found { schema, of });
        let choices = ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
        choices.for_each(|choice| expand(choice, of, found));
    }
}

/// The definitions that a path leads through, the innermost last.
pub(super) fn definitions(path: &[Part]) -> Vec<Vec<&'static str>> {
    let of = |length: usize| at(&path[..length]).iter().map(|found| found.of).collect();
    (0..=path.len()).map(of).collect()
}

/// The keys that a map may have besides those that it has.
pub(super) fn keys(found: &[Found], given: &[&str]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for Found { schema, .. } in found {
        let required =
            |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|it| it == name));
        let is_refused = |name: &str| {
            given.iter().any(|given| schema["dependentSchemas"][*given]["properties"][name] == false)
        };
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_known = given.contains(&name.as_str()) || keys.iter().any(|key| key.name == name);
            if !(is_known || is_refused(name)) {
                keys.push(Key { name, schema, is_required: required(name) });
            }
        }
    }
    keys
}

/// The words that a value may be.
pub(super) fn words(found: &[Found]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut add = |value: &Value, doc: &'static str| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !(value.is_null() || words.iter().any(|word| word.text == text)) {
            words.push(Word { text, doc });
        }
    };
    for Found { schema, .. } in found {
        let docs = schema["markdownEnumDescriptions"].as_array();
        let doc = |at: usize| docs.and_then(|docs| docs.get(at)?.as_str()).unwrap_or_default();
        let all = schema["enum"].as_array().into_iter().flatten();
        all.enumerate().for_each(|(at, value)| add(value, doc(at)));
        add(&schema["const"], doc_of(schema));
        if is_of_type(schema, "boolean") {
            [true, false].iter().for_each(|word| add(&Value::Bool(*word), ""));
        }
    }
    words
}

fn is_of_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::Array(names) => names.iter().any(|other| other == name),
        one => one == name,
    }
}

/// The doc text of a schema, else that of its type.
pub(super) fn doc_of(schema: &'static Value) -> &'static str {
    let own = schema["markdownDescription"].as_str();
    let reference = || schema["$ref"].as_str()?.rsplit('/').next();
    let of_type = || SCHEMA["$defs"][reference()?]["markdownDescription"].as_str();
    own.or_else(of_type).unwrap_or_default()
}

/// The reference text of the last key of a path, in Markdown.
pub(super) fn reference(path: &[Part]) -> Option<String> {
    let (Part::Key(name), above) = path.split_last()? else {
        return None;
    };
    let found = at(above);
    if let Some(topic) = found.iter().find_map(|found| topic(found.of, name, above.is_empty())) {
        return Some(docs::without_links(&topic.text));
    }
    let schemas = found.iter().map(|found| &found.schema["properties"][name]);
    let schema = schemas.filter(|schema| schema.is_object()).collect::<Vec<_>>();
    schema.first().map(|schema| doc_of(schema).to_owned()).filter(|doc| !doc.is_empty())
}

/// The topic of the reference for a key of a definition.
fn topic(of: &str, name: &str, is_top: bool) -> Option<&'static Topic> {
    let names = match of {
        _ if is_top => vec![name.to_owned()],
        "VmSpec" => vec![format!("vms.{name}")],
        "Step" => vec![format!("step.{name}"), name.to_owned()],
        "Wait" => vec![format!("wait.{name}")],
        "Check" => vec![format!("check.{name}")],
        _ => Vec::new(),
    };
    names.iter().find_map(|name| docs::TOPICS.iter().find(|topic| topic.name == *name && !topic.is_chapter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Part> {
        let part = |part: &str| if part == "-" { Part::Item } else { Part::Key(part.to_owned()) };
        text.split('.').filter(|part| !part.is_empty()).map(part).collect()
    }

    fn names(text: &str, given: &[&str]) -> Vec<&'static str> {
        keys(&at(&path(text)), given).iter().map(|key| key.name).collect()
    }

    #[test]
    fn keys_are_those_of_the_path_without_those_that_do_not_fit() {
        assert!(names("", &["vms"]).contains(&"steps") && !names("", &["vms"]).contains(&"vms"));
        assert!(names("vms.a", &[]).contains(&"machine"));
        assert!(names("vms.a", &["like"]).contains(&"+devices"));
        assert!(!names("vms.a", &["devices"]).contains(&"+devices"));
        assert!(names("vms.a.+args.-", &[]).contains(&"when"));
        assert!(names("steps.-", &[]).contains(&"wait"));
        assert!(
            !names("steps.-", &["wait"]).contains(&"quit")
                && names("steps.-", &["wait"]).contains(&"timeout")
        );
        assert!(names("steps.-.repeat.steps.-.wait", &["vm"]).contains(&"ticks"));
        assert!(!names("steps.-.wait", &["ticks"]).contains(&"event"));
        assert!(names("nothing.of.the.kind", &[]).is_empty());
    }

    #[test]
    fn words_are_those_of_enums_and_booleans() {
        let words = |text: &str| -> Vec<String> {
            words(&at(&path(text))).into_iter().map(|word| word.text).collect()
        };
        assert!(words("steps.-.signal.send").contains(&"KILL".to_owned()));
        assert_eq!(words("vms.a.start"), ["true", "false"]);
        assert!(words("vms.a.accel.-").contains(&"tcg".to_owned()));
    }

    #[test]
    fn every_key_of_a_file_a_vm_a_step_a_wait_and_a_check_has_its_reference() {
        for (of, at_least) in
            [("", 15), ("vms.a", 20), ("steps.-", 20), ("steps.-.wait", 15), ("steps.-.check", 10)]
        {
            let all = names(of, &[]);
            assert!(all.len() >= at_least, "{of}: {all:?}");
            for name in all {
                let text = reference(&path(&format!("{of}.{name}")));
                assert!(text.is_some_and(|text| !text.contains("](#")), "{of}.{name}");
            }
        }
        let text = reference(&path("steps.-.wait.ticks")).unwrap();
        assert!(text.contains("```") && text.contains("built-in guest prints"), "{text}");
    }
}
