//! As Markdown.

use super::super::outcome::{Audit, Tally};
use super::{kinds, seconds, summary};
use crate::report::text::one_line;

/// The tables of an audit.
#[must_use]
pub fn markdown(audit: &Audit) -> String {
    let mut text = format!("{}.\n\n", summary(audit));
    text.push_str(&format!(
        "Lockstep {}, QEMU {}, {}, seed {}, {}.\n",
        audit.lockstep,
        audit.qemus.join(" and "),
        audit.time,
        audit.seed,
        seconds(audit.seconds)
    ));
    text.push_str("\n| case | tried | caught | late | unnoticed | score |\n|---|---|---|---|---|---|\n");
    for case in &audit.cases {
        match &case.refused {
            Some(why) => {
                text.push_str(&format!("| {} | not audited: {} |\n", cell(&case.name), cell(why)));
            }
            None => text.push_str(&row(&case.name, Tally::of(&case.trials))),
        }
    }
    text.push_str("\n| kind | tried | caught | late | unnoticed | score |\n|---|---|---|---|---|---|\n");
    for (kind, tally) in kinds(audit) {
        text.push_str(&row(kind, tally));
    }
    let told: Vec<_> = audit.trials().filter(|trial| trial.advice().is_some()).collect();
    if !told.is_empty() {
        text.push_str("\n| case | | sabotage | what to do |\n|---|---|---|---|\n");
    }
    for trial in told {
        text.push_str(&format!(
            "| {} | {} | {}: {} | {} |\n",
            cell(&trial.case),
            trial.noticed.name(),
            trial.sabotage,
            cell(&trial.does),
            cell(&trial.advice().unwrap_or_default())
        ));
    }
    let left_out = audit.left_out();
    if !left_out.is_empty() {
        text.push_str("\n| rule | left out | why it cannot matter |\n|---|---|---|\n");
    }
    for (rule, count) in left_out {
        text.push_str(&format!("| {} | {count} | {} |\n", rule.name(), cell(rule.why())));
    }
    text
}

fn row(name: &str, tally: Tally) -> String {
    let Tally { caught, late, unnoticed, .. } = tally;
    format!("| {} | {} | {caught} | {late} | {unnoticed} | {} |\n", cell(name), tally.tried(), tally.shown())
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}
