//! Shorter deadlines for trials: a step that was done in a moment need not be waited for half a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::tape::Tape;
use crate::scenario::model::{Block, Case};
use crate::units::Span;

/// What a trial waits at least for a step.
const LEAST: Duration = Duration::from_secs(4);
/// How many times as long as in the straight run a step may take.
const TIMES: f64 = 4.0;

/// A case with deadlines that follow from its straight run. Those of steps that must fail stay: they may be what is
/// tested.
pub(crate) fn shortened(case: &Case, tape: &Tape) -> Case {
    let mut took: BTreeMap<&str, f64> = BTreeMap::new();
    for step in tape.steps.iter().filter(|step| step.done) {
        let longest = took.entry(&step.place).or_default();
        *longest = longest.max(step.ended - step.began);
    }
    let mut case = case.clone();
    let (mut steps, mut finally) = (std::mem::take(&mut case.steps), std::mem::take(&mut case.finally));
    shorten(&mut steps, &took);
    shorten(&mut finally, &took);
    (case.steps, case.finally) = (steps, finally);
    case.timeout = case.timeout.min(least(tape.seconds) + 5 * LEAST);
    case
}

fn least(seconds: f64) -> Duration {
    // Whole milliseconds: the step may be read again from its text.
    Duration::from_millis((seconds * TIMES * 1e3) as u64) + LEAST
}

fn shorten(blocks: &mut [Block], took: &BTreeMap<&str, f64>) {
    for block in blocks {
        match block {
            Block::Step(own) => {
                let place = own.at.to_string();
                let Some(seconds) = took.get(place.as_str()).filter(|_| own.step.expect_error.is_none())
                else {
                    continue;
                };
                let span = Span(own.step.timeout.0.min(least(*seconds)));
                let parsed = Arc::make_mut(&mut own.parsed);
                parsed.step.timeout = span;
                if parsed.deferred
                    && let Value::Object(raw) = &mut parsed.raw
                {
                    raw.insert("timeout".to_owned(), Value::String(span.to_string()));
                }
            }
            Block::RepeatUntil { steps, .. } => shorten(steps, took),
            Block::Parallel { branches, .. } => {
                branches.iter_mut().for_each(|(_, steps)| shorten(steps, took));
            }
        }
    }
}
