//! Rules for combinations of keys, written so that editors show our message and not one of JSON Schema's: `errorMessage`
//! only works next to `required` and next to a property that is `false`, not above them.

use serde_json::{Map, Value, json};

use crate::scenario::flow::{NOT_WITH_FLOW, Repeat};
use crate::scenario::merge::LISTS;
use crate::step::forms::{Form, companions, selecting};
use crate::step::{ABOUT, ACTIONS, Bytes, FLOW, Holds, Rule, Watched, Words, alternatives};

/// Adds the rules to the definitions.
pub(super) fn put(definitions: &mut Value) {
    let mut rules = |name: &str, put: &dyn Fn(&mut Value)| {
        if let Some(schema) = definitions.pointer_mut(&format!("/{name}")) {
            put(schema);
        }
    };
    rules("Step", &step);
    rules("VmSpec", &|vm| {
        for name in LISTS {
            let more = format!("+{name}");
            let message =
                format!("`{more}` cannot be combined with `{name}`, which replaces the inherited list.");
            at_most_one(vm, &[name, &more], |_| message.clone());
        }
    });
    let of_actions = ABOUT.iter().map(|about| (about.name, about.rules));
    let of_others = [
        ("Watched", Watched::RULES),
        ("Bytes", Bytes::RULES),
        ("Holds", Holds::RULES),
        ("Step/properties/repeat", Repeat::RULES),
    ];
    for (name, of_type) in of_actions.chain(of_others) {
        rules(name, &|schema| of_type.iter().for_each(|rule| put_rule(schema, rule)));
    }
}

/// Adds a rule of a type to its definition.
fn put_rule(schema: &mut Value, rule: &Rule) {
    let none = |words: &Words, keys: &[&str]| sentence(words.0, &Rule::help(words, keys));
    let both =
        |help: &'static str| move |key: &str| sentence(&format!("cannot be combined with `{key}`"), help);
    match rule {
        Rule::OneForm { forms, none: words, both: help } => {
            let keys = selecting(forms);
            at_least_one(schema, &keys, &none(words, &keys));
            for form in *forms {
                let others = forms.iter().filter(|other| !other.goes_with(form)).map(Form::key);
                schema["dependentSchemas"][form.key()] = refused(others, &both(help)(form.key()));
            }
            for (key, owners) in companions(forms) {
                goes_with(schema, key, &owners);
            }
        }
        Rule::ExactlyOne { keys, none: words, both: help } => {
            exactly_one(schema, keys, &none(words, keys), both(help));
        }
        Rule::AtLeastOne { keys, none: words } => at_least_one(schema, keys, &none(words, keys)),
        Rule::AtMostOne { keys, both: help } => at_most_one(schema, keys, both(help)),
        Rule::GoesWith { key, owners } => goes_with(schema, key, owners),
        Rule::Needs { key, any, none: words } => needs(schema, key, any, &none(words, any)),
        Rule::Unless { key, others, none: words } => unless(schema, key, others, &none(words, &[key])),
        Rule::Excludes { key, others, help } => not_with(schema, key, others, &both(help)(key)),
    }
}

/// A message and its help as a sentence.
fn sentence(message: &str, help: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}: {help}.", letters.as_str())
}

fn step(schema: &mut Value) {
    let actions: Vec<&str> = ACTIONS.iter().chain(FLOW).copied().collect();
    let none = format!("The step has no action: add one of {}.", alternatives(&actions));
    exactly_one(schema, &actions, &none, |key| {
        format!("A step has one action, and this one already has `{key}`: make it two steps.")
    });
    let message = "Not allowed on a step that expands to other steps: put it on those steps.";
    for flow in FLOW.iter().filter(|flow| **flow != "repeat") {
        not_with(schema, flow, NOT_WITH_FLOW, message);
    }
}

fn rule(schema: &mut Value, rule: Value) {
    match &mut schema["allOf"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
}

fn exactly_one(schema: &mut Value, keys: &[&str], none: &str, two: impl Fn(&str) -> String) {
    at_least_one(schema, keys, none);
    at_most_one(schema, keys, two);
}

fn at_least_one(schema: &mut Value, keys: &[&str], message: &str) {
    unless(schema, keys[0], keys, message);
}

/// If one of the keys is present, each other one is an error.
fn at_most_one(schema: &mut Value, keys: &[&str], message: impl Fn(&str) -> String) {
    for key in keys {
        let others = keys.iter().copied().filter(|other| other != key);
        schema["dependentSchemas"][*key] = refused(others, &message(key));
    }
}

/// One of the keys is present.
fn any_of(keys: &[&str]) -> Value {
    json!({"anyOf": keys.iter().map(|key| json!({"required": [key]})).collect::<Value>()})
}

/// The key must be present.
fn required(key: &str, message: &str) -> Value {
    json!({"required": [key], "errorMessage": message})
}

/// None of the keys may be present.
fn refused<'k>(keys: impl IntoIterator<Item = &'k str>, message: &str) -> Value {
    let keys: Map<String, Value> = keys.into_iter().map(|key| (key.to_owned(), json!(false))).collect();
    json!({"properties": keys, "errorMessage": message})
}

fn goes_with(schema: &mut Value, key: &str, owners: &[&str]) {
    let message = format!("{}.", Rule::needs_owner(key, owners));
    rule(schema, json!({"if": any_of(owners), "else": refused([key], &message)}));
}

/// The key must be present unless one of the others is.
fn unless(schema: &mut Value, key: &str, others: &[&str], message: &str) {
    rule(schema, json!({"if": any_of(others), "else": required(key, message)}));
}

/// If the key is present, one of the others must be; the first one is shown as missing.
fn needs(schema: &mut Value, key: &str, any: &[&str], message: &str) {
    let lacks = json!({"allOf": [{"required": [key]}, {"not": any_of(any)}]});
    rule(schema, json!({"if": lacks, "then": required(any[0], message)}));
}

fn not_with(schema: &mut Value, key: &str, others: &[&str], message: &str) {
    rule(schema, json!({"if": {"required": [key]}, "then": refused(others.iter().copied(), message)}));
}
