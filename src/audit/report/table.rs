//! For a terminal.

use super::super::outcome::{Audit, Noticed, Tally};
use super::{kinds, summary};
use crate::report::text::one_line;

/// The unnoticed and late sabotages, each with its hint, then the cases and the kinds with their scores, and the rules.
#[must_use]
pub fn table(audit: &Audit) -> String {
    let mut text = String::new();
    for case in &audit.cases {
        let told = case.trials.iter().filter(|trial| trial.advice().is_some());
        let lines: Vec<String> = told
            .map(|trial| {
                let advice = one_line(&trial.advice().unwrap_or_default());
                let head = format!("  {} {}: {}", trial.noticed.name(), trial.sabotage, trial.does);
                format!("{head}\n    {advice}\n")
            })
            .collect();
        if !lines.is_empty() {
            text.push_str(&format!("{}\n{}\n", case.name, lines.concat()));
        }
        let not_done = case.trials.iter().filter(|trial| trial.noticed == Noticed::NotDone);
        for trial in not_done {
            let why = one_line(trial.by.as_deref().unwrap_or_default());
            text.push_str(&format!("{}: {} not done {}: {why}\n", case.name, trial.sabotage, trial.moment));
        }
    }
    let width = audit.cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0).max(8);
    text.push_str(&format!("{:width$}  tried  caught  late  unnoticed  score\n", "case"));
    for case in &audit.cases {
        match &case.refused {
            Some(why) => text.push_str(&format!("{:width$}  not audited: {}\n", case.name, one_line(why))),
            None => text.push_str(&row(&case.name, width, Tally::of(&case.trials))),
        }
    }
    text.push('\n');
    for (kind, tally) in kinds(audit) {
        text.push_str(&row(kind, width, tally));
    }
    let left_out = audit.left_out();
    if !left_out.is_empty() {
        text.push_str("\nleft out by rule:\n");
        for (rule, count) in left_out {
            text.push_str(&format!("{count:>6}  {:14} {}\n", rule.name(), rule.why()));
        }
    }
    text.push_str(&format!("\n{}\n", summary(audit)));
    text
}

fn row(name: &str, width: usize, tally: Tally) -> String {
    format!(
        "{name:width$}  {:>5}  {:>6}  {:>4}  {:>9}  {:>5}\n",
        tally.tried(),
        tally.caught,
        tally.late,
        tally.unnoticed,
        tally.shown()
    )
}
