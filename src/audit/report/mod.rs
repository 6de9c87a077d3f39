//! An audit as text: for a terminal, as Markdown, as JSON, as JUnit XML, as a page.

mod junit;
mod markdown;
mod page;
mod table;

pub use junit::junit;
pub use markdown::markdown;
pub use page::page;
pub use table::table;

use super::outcome::{Audit, Tally};

/// The result in one line.
#[must_use]
pub fn summary(audit: &Audit) -> String {
    let tally = audit.tally();
    let mut text = format!("score {}: {} of {} sabotages caught", tally.shown(), tally.caught, tally.tried());
    if tally.late > 0 {
        text.push_str(&format!(", {} of them late", tally.late));
    }
    text.push_str(&format!(", {} unnoticed", tally.unnoticed));
    if tally.not_done > 0 {
        text.push_str(&format!(", {} not done", tally.not_done));
    }
    let left_out: usize = audit.left_out().values().sum();
    if left_out > 0 {
        text.push_str(&format!("; {left_out} left out by rule"));
    }
    if audit.not_tried() > 0 {
        text.push_str(&format!("; {} not tried (seed {})", audit.not_tried(), audit.seed));
    }
    text
}

/// The tally of each kind that was tried, in the order of the reports.
fn kinds(audit: &Audit) -> Vec<(&'static str, Tally)> {
    let of = |kind: &'static str| (kind, Tally::of(audit.trials().filter(|trial| trial.kind == kind)));
    let all = super::sabotage::Kind::ALL.into_iter().map(super::sabotage::Kind::name).map(of);
    all.filter(|(_, tally)| *tally != Tally::default()).collect()
}

/// A duration for a table.
fn seconds(seconds: f64) -> String {
    crate::units::elapsed(std::time::Duration::from_secs_f64(seconds))
}
