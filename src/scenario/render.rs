//! Writes the parts of a resolved case as in a scenario file.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::model::{Block, CaseStep, When};
use super::typed::escaped;

/// A value in which texts with braces are escaped.
pub(super) fn literal(value: &(impl Serialize + ?Sized)) -> Value {
    serde_json::to_value(value).map(escaped).unwrap_or_default()
}

/// The blocks.
pub(super) fn blocks(list: &[Block]) -> Value {
    Around { depth: 0, names: Map::new() }.blocks(list)
}

/// What is around blocks where they are written.
struct Around {
    /// The number of named groups.
    depth: usize,
    /// The names with their values.
    names: Map<String, Value>,
}

impl Around {
    fn blocks(&self, list: &[Block]) -> Value {
        list.iter().map(|one| self.block(one)).collect()
    }

    fn block(&self, block: &Block) -> Value {
        match block {
            Block::Step(step) => {
                let raw = if step.deferred { step.raw.clone() } else { escaped(step.raw.clone()) };
                self.grouped(&step.groups, under(&step.when, &step.locals, &self.names, raw))
            }
            Block::RepeatUntil { until, timeout, when, index, steps, .. } => {
                let condition = |until: &CaseStep| {
                    let wait = until.raw.get("wait").cloned().unwrap_or_default();
                    if until.deferred { wait } else { escaped(wait) }
                };
                let steps = self.inside(&until.groups, when, &until.locals).blocks(steps);
                let mut body = json!({
                    "timeout": timeout,
                    "repeat": {"until": condition(until), "steps": steps},
                });
                if let Some(index) = index {
                    body["repeat"]["index"] = json!(index);
                }
                self.grouped(&until.groups, under(when, &until.locals, &self.names, body))
            }
            Block::Parallel { when, groups, locals, branches, .. } => {
                let inside = self.inside(groups, when, locals);
                let branches = branches.iter().map(|(name, steps)| (name.clone(), inside.blocks(steps)));
                let body = json!({"parallel": branches.collect::<Map<_, _>>()});
                self.grouped(groups, under(when, locals, &self.names, body))
            }
        }
    }

    /// What is around the steps of a block.
    fn inside(&self, groups: &[String], when: &[When], locals: &Map<String, Value>) -> Self {
        let mut names = self.names.clone();
        when.iter().map(|when| &when.locals).chain([locals]).for_each(|more| names.extend(more.clone()));
        Self { depth: groups.len(), names }
    }

    /// Puts a step in its named groups, outermost first.
    fn grouped(&self, groups: &[String], step: Value) -> Value {
        let name = |name: &String| escaped(Value::String(name.clone()));
        let groups = groups[self.depth..].iter().rev();
        groups.fold(step, |step, group| json!({"name": name(group), "block": [step]}))
    }
}

/// Puts a step under its conditions, outermost first. A loop over one value provides each name of a condition or the step
/// that is not known around it.
fn under(when: &[When], locals: &Map<String, Value>, known: &Map<String, Value>, mut step: Value) -> Value {
    let [outer, inner @ ..] = when else {
        return within(locals, known, step);
    };
    let mut inside = known.clone();
    inside.extend(outer.locals.clone());
    if inner.is_empty() && unknown(locals, &inside).next().is_none() {
        step["when"] = Value::String(outer.template.clone());
        return within(&outer.locals, known, step);
    }
    let step = under(inner, locals, &inside, step);
    within(&outer.locals, known, json!({"when": outer.template, "block": [step]}))
}

fn within(locals: &Map<String, Value>, known: &Map<String, Value>, step: Value) -> Value {
    unknown(locals, known).rev().fold(step, |step, (name, value)| {
        json!({"repeat": {"over": [escaped(value.clone())], "as": name, "steps": [step]}})
    })
}

/// The names that have another value, or none, in `known`.
fn unknown<'l>(
    locals: &'l Map<String, Value>,
    known: &'l Map<String, Value>,
) -> impl DoubleEndedIterator<Item = (&'l String, &'l Value)> {
    locals.iter().filter(|(name, value)| known.get(*name) != Some(*value))
}
