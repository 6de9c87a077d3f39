//! A list: it has what was acknowledged, in its order, once, and nothing that was never appended.

use std::collections::HashMap;

use super::{Account, Violation};

impl Account<'_> {
    pub(super) fn list(&self, before: &[String], after: &[String]) -> Result<(), Violation> {
        let operations = self.operations;
        let Some(own) = after.strip_prefix(before) else {
            let count = before.len();
            let what =
                format!("the first {count} elements of the list, which were there before, have changed");
            return Err(Violation::of(what, &[]));
        };
        let value = |(at, wrote): (usize, Option<u64>)| Some((wrote?.to_string(), at));
        let by_value: HashMap<String, usize> =
            operations.iter().map(|one| one.wrote).enumerate().filter_map(value).collect();
        let mut count = vec![0_u32; operations.len()];
        // The operation that was sent last, of those that are in the list so far.
        let mut latest: Option<usize> = None;
        for element in own {
            let Some(&at) = by_value.get(element) else {
                let what = format!("the list has {element:?}, which was never appended");
                return Err(Violation::of(what, latest.as_slice()));
            };
            let operation = &operations[at];
            if operation.is_refused() {
                let what = format!("the list has {element:?}, whose append was refused");
                return Err(Violation::of(what, &[at]));
            }
            count[at] += 1;
            if count[at] > 1 && !operation.is_open() {
                let what = format!("the list has {element:?} twice, and it was appended once");
                return Err(Violation::of(what, &[at]));
            }
            if let Some(latest) = latest.filter(|latest| operation.precedes(&operations[*latest])) {
                let (first, second) = (operation.name(), operations[latest].name());
                let what = format!(
                    "the list is out of order: {first} was acknowledged before {second} was sent, and is behind it"
                );
                return Err(Violation::of(what, &[at, latest]));
            }
            if latest.is_none_or(|latest| operations[latest].asked < operation.asked) {
                latest = Some(at);
            }
        }
        self.none_missing(&count, after.len())
    }

    fn none_missing(&self, count: &[u32], length: usize) -> Result<(), Violation> {
        let is_missing = |at: &usize| count[*at] == 0 && self.must_be_there(&self.operations[*at]);
        let missing: Vec<usize> = (0..count.len()).filter(is_missing).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let (all, first) = (missing.len(), self.operations[*first].name());
        let what = format!(
            "the list lost {all} acknowledged operations, the first is {first}; it has {length} elements"
        );
        Err(Violation::of(what, &missing[..all.min(3)]))
    }
}
