//! Writes a resolved case as a scenario file.

use serde_json::{Map, Value, json};

use super::model::{Block, Case, CaseStep, DEFAULT_CASE_TIMEOUT, When};
use super::typed::escaped;
use crate::template;
use crate::units::Span;

/// The case as YAML: a scenario without templates, except those that are only known when a step runs. It loads to an equal
/// case.
#[must_use]
pub fn to_yaml(case: &Case) -> String {
    let mut top = Map::new();
    let mut put = |key: &str, value: Value| {
        top.insert(key.to_owned(), value);
    };
    put("name", Value::String(template::escape(&case.name)));
    if let Some(description) = &case.description {
        put("description", Value::String(template::escape(description)));
    }
    if !case.tags.is_empty() {
        put("tags", escaped(json!(case.tags)));
    }
    if !case.params.is_empty() {
        // Use the long form: a default that is a map could be mistaken for it.
        let params = case.params.iter().map(|(name, value)| {
            let short = !value.is_object();
            let value = escaped(value.clone());
            (name.clone(), if short { value } else { json!({"default": value}) })
        });
        put("params", Value::Object(params.collect()));
    }
    let requires = plain(&case.requires);
    if requires.as_object().is_some_and(|map| !map.is_empty()) {
        put("requires", requires);
    }
    if !case.known_issues.is_empty() {
        put("known_issue", plain(&case.known_issues));
    }
    if let Some(must_fail) = &case.must_fail {
        put("must_fail", plain(must_fail));
    }
    if case.timeout != DEFAULT_CASE_TIMEOUT.0 {
        put("timeout", plain(&Span(case.timeout)));
    }
    if !case.artifacts.is_empty() {
        put("artifacts", escaped(json!(case.artifacts)));
    }
    let vms = case.vms.iter().map(|(name, spec)| {
        let value = case.deferred_vms.get(name).cloned().unwrap_or_else(|| plain(spec));
        (name.clone(), value)
    });
    put("vms", Value::Object(vms.collect()));
    if !case.roles.is_empty() {
        put("roles", plain(&case.roles));
    }
    if !case.disks.is_empty() {
        put("disks", plain(&case.disks));
    }
    if !case.credentials.is_empty() {
        put("credentials", plain(&case.credentials));
    }
    for (key, value) in case.net.sections() {
        put(key, value);
    }
    put("steps", blocks(&case.steps, 0));
    if !case.finally.is_empty() {
        put("finally", blocks(&case.finally, 0));
    }
    serde_yaml::to_string(&Value::Object(top)).unwrap_or_default()
}

/// A value in which texts with braces are escaped.
fn plain(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).map(escaped).unwrap_or_default()
}

/// The blocks; `depth` is the number of named groups around them.
fn blocks(list: &[Block], depth: usize) -> Value {
    list.iter().map(|one| block(one, depth)).collect()
}

fn block(block: &Block, depth: usize) -> Value {
    match block {
        Block::Step(step) => {
            let raw = if step.deferred { step.raw.clone() } else { escaped(step.raw.clone()) };
            grouped(&step.groups[depth..], under(&step.when, &step.locals, raw))
        }
        Block::RepeatUntil { until, timeout, when, index, steps, .. } => {
            let condition = |until: &CaseStep| {
                let wait = until.raw.get("wait").cloned().unwrap_or_default();
                if until.deferred { wait } else { escaped(wait) }
            };
            let mut body = json!({
                "timeout": timeout,
                "repeat": {"until": condition(until), "steps": blocks(steps, until.groups.len())},
            });
            if let Some(index) = index {
                body["repeat"]["index"] = json!(index);
            }
            grouped(&until.groups[depth..], under(when, &until.locals, body))
        }
    }
}

/// Puts a step in its named groups, outermost first.
fn grouped(groups: &[String], step: Value) -> Value {
    let name = |name: &String| escaped(Value::String(name.clone()));
    groups.iter().rev().fold(step, |step, group| json!({"name": name(group), "block": [step]}))
}

/// Puts a step under its conditions, outermost first. A loop over one value provides the names of each condition.
fn under(when: &[When], locals: &Map<String, Value>, mut step: Value) -> Value {
    match when {
        [] => within(locals, step),
        [only] if only.locals == *locals => {
            step["when"] = Value::String(only.template.clone());
            within(locals, step)
        }
        [outer, inner @ ..] => {
            let step = under(inner, locals, step);
            within(&outer.locals, json!({"when": outer.template, "block": [step]}))
        }
    }
}

fn within(locals: &Map<String, Value>, step: Value) -> Value {
    locals.iter().rev().fold(step, |step, (name, value)| {
        json!({"repeat": {"over": [escaped(value.clone())], "as": name, "steps": [step]}})
    })
}
