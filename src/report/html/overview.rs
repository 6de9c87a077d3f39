//! The data of the overview: the list of cases, the kinds of failures, and what was measured.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::rounded;
use crate::event::Verdict;
use crate::report::record::{Case, Counts};
use crate::report::rounds::CaseFindings;
use crate::report::stats::{Kind, Measured, Repeated, Stats, signature_of};
use crate::report::text;

/// The maximum number of repeated cases with their metrics.
const REPEATED: usize = 50;
/// The maximum number of differences between the rounds of a repeated case.
const FINDINGS: usize = 3;
/// The maximum number of kinds of failures.
const KINDS: usize = 5_000;
/// How many of the slowest cases are listed.
const SLOWEST: usize = 10;

/// A row of the list of cases.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) number: usize,
    /// The name, with the QEMU if there are several.
    name: String,
    round: Option<usize>,
    file: String,
    /// Absent while it runs.
    verdict: Option<Verdict>,
    reason: String,
    seconds: f64,
    /// The signature of its failure.
    signature: Option<String>,
}

impl Row {
    /// The row of a case; of one that runs, until `now`, in seconds since the start of the run.
    pub(super) fn of(case: &Case, now: f64) -> Self {
        let verdict = case.end.as_ref().map(|end| end.verdict);
        let qemu = case.qemu.as_ref().map(|qemu| format!(" on {qemu}")).unwrap_or_default();
        let reason = case.reason().filter(|_| verdict != Some(Verdict::Pass)).map(text::one_line);
        let is_listed = verdict.is_some_and(|verdict| verdict.is_bad() || verdict == Verdict::Flaky);
        Self {
            number: case.number,
            name: text::one_line(&format!("{}{qemu}", case.name)),
            round: case.round,
            file: text::one_line(&case.file),
            verdict,
            reason: text::cut(&reason.unwrap_or_default(), 200).into_owned(),
            seconds: rounded(case.end.as_ref().map_or(now - case.began, |end| end.seconds)),
            signature: is_listed.then(|| signature_of(case)),
        }
    }
}

/// The rows as lists: number, name, round, file, verdict, reason, seconds, index of the kind of failure.
pub(super) fn rows(rows: &[Row], kinds: &[(&str, &Kind)]) -> Value {
    let place: HashMap<&str, usize> =
        kinds.iter().take(KINDS).enumerate().map(|(index, (name, _))| (*name, index)).collect();
    let row = |row: &Row| {
        let kind = row.signature.as_deref().and_then(|signature| place.get(signature));
        let verdict = row.verdict.map_or_else(|| json!("running"), |verdict| json!(verdict));
        json!([row.number, row.name, row.round, row.file, verdict, row.reason, row.seconds, kind])
    };
    rows.iter().map(row).collect()
}

/// The kinds of failures, the most frequent first.
pub(super) fn kinds(kinds: &[(&str, &Kind)], stats: &Stats) -> Value {
    let kind = |(signature, kind): &(&str, &Kind)| {
        let reason = text::cut(&kind.example.reason, text::LINE_LIMIT);
        json!({
            "signature": signature,
            "count": kind.count,
            "rate": stats.often(kind),
            "case": kind.example.number,
            "verdict": kind.example.verdict,
            "place": kind.example.place.as_deref().map(text::one_line),
            "reason": text::visible(&reason),
        })
    };
    kinds.iter().take(KINDS).map(kind).collect()
}

/// The repeated cases, with what tells their rounds apart, and their metrics.
pub(super) fn repeated(stats: &Stats, differences: &[CaseFindings]) -> Vec<Value> {
    let one = |(name, case): (String, &Repeated)| {
        let metrics = case.metrics.iter().map(|((metric, vm), measured): (_, &Measured)| {
            let whose = vm.as_ref().map(|vm| format!(" ({vm})")).unwrap_or_default();
            let spread = measured.spread().map_or_else(Vec::new, |spread| {
                let values = [spread.min, spread.median, spread.p95, spread.max];
                let values = values.iter().map(|value| text::value(*value, &measured.unit));
                std::iter::once(spread.n.to_string()).chain(values).collect()
            });
            json!({"name": format!("{metric}{whose}"), "spread": spread})
        });
        let bad = case.counts.bad() + case.counts.flaky > 0;
        let verdict = match case.counts.xfail {
            _ if bad => Verdict::Fail,
            0 => Verdict::Pass,
            _ => Verdict::Xfail,
        };
        let own = differences.iter().find(|findings| findings.case == name);
        let findings = own.map(|own| &own.findings[..own.findings.len().min(FINDINGS)]).unwrap_or_default();
        let findings: Vec<String> =
            findings.iter().map(|finding| text::one_line(&finding.to_string())).collect();
        json!({"name": text::one_line(&name), "rate": case.rate(), "verdict": verdict, "findings": findings,
            "metrics": metrics.collect::<Vec<_>>()})
    };
    stats.repeated().take(REPEATED).map(one).collect()
}

/// The slowest cases.
pub(super) fn slowest(rows: &[Row]) -> Vec<Value> {
    let mut slowest: Vec<&Row> = rows.iter().collect();
    slowest.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let one = |row: &&Row| {
        let round = row.round.map(|round| format!(" #{round}")).unwrap_or_default();
        json!({"case": row.number, "title": format!("{}{round}", row.name), "time": text::seconds(row.seconds)})
    };
    slowest.iter().take(SLOWEST).map(one).collect()
}

/// How many cases there are of each verdict.
pub(super) fn counted(counts: Counts) -> Vec<Value> {
    let all = [
        (counts.pass, Verdict::Pass, "passed"),
        (counts.fail, Verdict::Fail, "failed"),
        (counts.error, Verdict::Error, if counts.error == 1 { "error" } else { "errors" }),
        (counts.flaky, Verdict::Flaky, "flaky"),
        (counts.xfail, Verdict::Xfail, "known issues"),
        (counts.skip, Verdict::Skip, "skipped"),
    ];
    let shown = all.iter().filter(|(count, ..)| *count > 0);
    shown.map(|(count, verdict, word)| json!({"count": count, "verdict": verdict, "word": word})).collect()
}
