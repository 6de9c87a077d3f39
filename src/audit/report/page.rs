//! As a page, `audit.html`.

use anyhow::Context;
use handlebars::Handlebars;
use serde_json::{Value, json};

use super::super::outcome::{Audit, Outcome, Tally};
use super::{kinds, seconds, summary};
use crate::report::text::visible;

/// The page.
///
/// # Errors
/// When it cannot be rendered.
pub fn page(audit: &Audit) -> anyhow::Result<String> {
    let tally = |name: &str, tally: Tally| {
        json!({
            "name": name, "tried": tally.tried(), "caught": tally.caught, "late": tally.late,
            "unnoticed": tally.unnoticed, "score": tally.shown(),
        })
    };
    let trial = |trial: &Outcome| {
        json!({
            "class": trial.noticed.name().replace(' ', "-"),
            "noticed": trial.noticed.name(),
            "kind": trial.kind,
            "sabotage": trial.sabotage,
            "does": spans(&trial.does),
            "target": trial.target,
            "moment": visible(&trial.moment),
            "by": trial.by.as_deref().map(visible),
            "message": trial.message.as_deref().map(visible),
            "after": trial.after.map(seconds),
            "advice": trial.advice().map(|advice| spans(&visible(&advice))),
        })
    };
    let cases: Vec<Value> = audit
        .cases
        .iter()
        .map(|case| {
            let mut trials: Vec<&Outcome> = case.trials.iter().collect();
            // The unnoticed ones first.
            trials
                .sort_by_key(|trial| (trial.advice().is_none(), trial.kind.clone(), trial.sabotage.clone()));
            json!({
                "name": case.name,
                "file": case.file,
                "refused": case.refused,
                "tally": tally(&case.name, Tally::of(&case.trials)),
                "trials": trials.into_iter().map(trial).collect::<Vec<_>>(),
            })
        })
        .collect();
    let rules: Vec<Value> = audit
        .left_out()
        .into_iter()
        .map(|(rule, count)| json!({"name": rule.name(), "why": rule.why(), "count": count}))
        .collect();
    let data = json!({
        "summary": summary(audit),
        "score": audit.tally().shown(),
        "lockstep": audit.lockstep,
        "qemus": audit.qemus.join(" and "),
        "time": audit.time,
        "seed": audit.seed,
        "seconds": seconds(audit.seconds),
        "kinds": kinds(audit).into_iter().map(|(kind, of)| tally(kind, of)).collect::<Vec<_>>(),
        "cases": cases,
        "rules": rules,
    });
    Handlebars::new().render_template(include_str!("page.hbs"), &data).context("cannot render the page")
}

/// A text in parts; those between backticks are code.
fn spans(text: &str) -> Vec<Value> {
    let parts = text.split('`').enumerate();
    parts.map(|(number, text)| json!({"code": number % 2 == 1, "text": text})).collect()
}
