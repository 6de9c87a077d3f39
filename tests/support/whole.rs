//! Whether the events of a run are whole: nothing lost, and nothing twice.

use std::collections::BTreeMap;

use lockstep_vm::event::{Event, What};

/// What is wrong with the events of a whole run of cases with these numbers.
pub(crate) fn wrong(events: &[Event], cases: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut found = Vec::new();
    let mut counts: BTreeMap<usize, (usize, usize)> =
        cases.into_iter().map(|number| (number, (0, 0))).collect();
    let mut last = 0.0;
    for event in events {
        let count = event.case.map(|number| counts.entry(number).or_default());
        match (&event.what, count) {
            (What::CaseStarted { .. }, Some((started, _))) => {
                *started += 1;
                // The events of other threads may be a little out of order.
                if event.at + 1.0 < last {
                    found.push(format!("it started at {} after {last}", event.at));
                }
            }
            (What::CaseEnded(_), Some((_, ended))) => *ended += 1,
            _ => {}
        }
        last = event.at.max(last);
    }
    found.extend(counts.iter().filter(|(_, count)| **count != (1, 1)).map(|(number, count)| {
        format!("case {number} started {} times and ended {} times", count.0, count.1)
    }));
    let ends = |event: &&Event| matches!(event.what, What::RunStarted { .. } | What::RunEnded { .. });
    if events.iter().filter(ends).count() != 2 || !events.last().is_some_and(|last| ends(&last)) {
        found.push("the run has no single start and end".to_owned());
    }
    found
}
