//! A counter: it never goes back, and it is as high as the operations make it.

use super::{Account, Violation};
use crate::session::client::Operation;

impl Account<'_> {
    pub(super) fn counter(&self, before: Option<&str>, after: Option<&str>) -> Result<(), Violation> {
        let number = |text: Option<&str>, at: &[usize]| {
            let value = text.map_or(Ok(0), str::parse::<i64>);
            value.map_err(|_| {
                Violation::of(format!("{:?} is not a value of a counter", text.unwrap_or_default()), at)
            })
        };
        let start = number(before, &[])?;
        // The counts that were acknowledged, and that may have been done, up to the operation.
        let (mut least, mut open) = (0_i64, 0_i64);
        let mut last: Option<(usize, i64)> = None;
        for (at, operation) in self.operations.iter().enumerate() {
            open += i64::from(operation.is_open());
            let Some(returned) = operation.returned() else { continue };
            let value = number(Some(returned), &[at])?;
            least += 1;
            let name = operation.name();
            if let Some((earlier, previous)) = last.filter(|(_, previous)| *previous >= value) {
                let earlier_name = self.operations[earlier].name();
                let what = format!(
                    "the counter went back: {name} returned {value} after {earlier_name} had returned {previous}"
                );
                return Err(Violation::of(what, &[earlier, at]));
            }
            bounds(&format!("{name} returned"), value - start, (start, least, open), &[at])?;
            last = Some((at, value));
        }
        let value = number(after, &[])?;
        let at: Vec<usize> = last.map(|(at, _)| at).into_iter().collect();
        let is_later = |one: &Operation| one.is_acknowledged() && !self.must_be_there(one);
        let later: i64 = self.operations.iter().map(|one| i64::from(is_later(one))).sum();
        bounds("the counter is", value - start, (start, least - later, open + later), &at)
    }
}

/// Checks that a value is one that the counts make: at least the acknowledged ones, and at most those and the open ones.
fn bounds(
    what: &str,
    counted: i64,
    (start, least, open): (i64, i64, i64),
    at_fault: &[usize],
) -> Result<(), Violation> {
    let value = start + counted;
    let from = if start == 0 { String::new() } else { format!(", from {start}") };
    if counted < least {
        let what = format!("{what} {value}, less than the {least} acknowledged operations make{from}");
        return Err(Violation::of(what, at_fault));
    }
    if counted > least + open {
        let what = format!(
            "{what} {value}, more than the {least} acknowledged and {open} unknown operations make{from}"
        );
        return Err(Violation::of(what, at_fault));
    }
    Ok(())
}
