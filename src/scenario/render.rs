//! Writes the parts of a resolved case as in a scenario file.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::model::{Block, CaseStep, When};
use super::typed::escaped;

/// A value in which texts with braces are escaped.
pub(super) fn literal(value: &(impl Serialize + ?Sized)) -> Value {
    serde_json::to_value(value).map(escaped).unwrap_or_default()
}

/// The blocks; `depth` is the number of named groups around them.
pub(super) fn blocks(list: &[Block], depth: usize) -> Value {
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
        Block::Parallel { when, groups, locals, branches, .. } => {
            let branches = branches.iter().map(|(name, steps)| (name.clone(), blocks(steps, groups.len())));
            let body = json!({"parallel": branches.collect::<Map<_, _>>()});
            grouped(&groups[depth..], under(when, locals, body))
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
