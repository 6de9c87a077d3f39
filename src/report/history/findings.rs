//! What changed from run to run.

use indexmap::IndexMap;
use serde::Serialize;

use super::change::{Change, pettitt, threshold};
use super::{Cell, History};
use crate::event::{Spread, Verdict};
use crate::report::stats::rate;

/// Of the changes that are listed, at most about this share has come by chance.
const BY_CHANCE: f64 = 0.01;
/// The smallest change of a value that is listed, as a factor.
const FACTOR: f64 = 1.1;
/// Smaller differences of times are noise on any machine.
const LEAST_SECONDS: f64 = 0.010;

/// What changed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// The cases whose verdict changed, the latest change first.
    pub turned: Vec<Turned>,
    /// The cases that fail in some runs only.
    pub intermittent: Vec<Intermittent>,
    /// The values that changed, the largest growth first.
    pub moved: Vec<Moved>,
}

/// A case whose verdict changed at a run.
#[derive(Debug, Clone, Serialize)]
pub struct Turned {
    /// Its name.
    pub case: String,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict since.
    pub to: Verdict,
    /// The index of the last run before.
    pub before: usize,
    /// The index of the first run since.
    pub at: usize,
    /// In how many runs it has the verdict since.
    pub runs: usize,
    /// Why it does not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A case that fails in some runs only.
#[derive(Debug, Clone, Serialize)]
pub struct Intermittent {
    /// Its name.
    pub case: String,
    /// How often it failed, with the 95 % confidence interval.
    pub rate: String,
    /// The share that failed.
    #[serde(skip)]
    share: f64,
    /// The index of the last run in which it failed.
    pub last: usize,
    /// The run since which it fails at another rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// Why it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of a failure rate.
#[derive(Debug, Clone, Serialize)]
pub struct Since {
    /// The index of the last run before.
    pub before: usize,
    /// The index of the first run since.
    pub at: usize,
    /// The rate before.
    pub was: String,
    /// The rate since.
    pub is: String,
}

/// A value that changed.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// The case.
    pub case: String,
    /// `duration`, or a metric with its VM.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The index of the last run before.
    pub before: usize,
    /// The index of the first run since.
    pub at: usize,
    /// Its spread before.
    pub was: Spread,
    /// Its spread since.
    pub is: Spread,
    /// How much the median is larger.
    pub factor: f64,
    /// Its values: the index of the run, and the value.
    pub values: Vec<(usize, f64)>,
    #[serde(skip)]
    p: f64,
}

impl Findings {
    /// The findings of a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut found = Self::default();
        let mut probabilities = Vec::new();
        let mut rates = Vec::new();
        for (case, cells) in &history.cases {
            let flips = flips(cells);
            let by_qemu = flips.iter().all(|at| history.has_other_qemu(cells[at - 1].0, cells[*at].0));
            match flips.as_slice() {
                [] => rates.push((case, cells)),
                [.., last] if flips.len() == 1 || by_qemu => found.turned.push(turned(case, cells, *last)),
                _ => rates.push((case, cells)),
            }
            found.moved.extend(series(cells).into_iter().filter_map(|((metric, unit), values)| {
                let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
                let change = pettitt(&numbers);
                probabilities.push(change.map_or(1.0, |change| change.p));
                moved((case, metric, unit), values, &numbers, change?)
            }));
        }
        let rates: Vec<_> = rates.into_iter().filter_map(|(case, cells)| intermittent(case, cells)).collect();
        probabilities.extend(rates.iter().filter_map(|(_, change)| change.map(|change| change.p)));
        let limit = threshold(&probabilities, BY_CHANCE).unwrap_or(-1.0);
        found.moved.retain(|moved| moved.p <= limit);
        found.intermittent = rates
            .into_iter()
            .map(|(mut case, change)| {
                case.since = case.since.filter(|_| change.is_some_and(|change| change.p <= limit));
                case
            })
            .collect();
        found.turned.sort_by_key(|turned| std::cmp::Reverse(turned.at));
        found.intermittent.sort_by(|one, other| other.share.total_cmp(&one.share));
        found.moved.sort_by(|one, other| other.factor.total_cmp(&one.factor));
        found
    }
}

impl History {
    fn has_other_qemu(&self, one: usize, other: usize) -> bool {
        self.runs[one].qemus != self.runs[other].qemus
    }
}

/// The indexes of the results with another kind of verdict than the one before.
fn flips(cells: &[(usize, Cell)]) -> Vec<usize> {
    let kind = |cell: &Cell| match cell.verdict {
        Verdict::Fail | Verdict::Error | Verdict::Flaky => Verdict::Fail,
        other => other,
    };
    (1..cells.len()).filter(|at| kind(&cells[at - 1].1) != kind(&cells[*at].1)).collect()
}

fn turned(case: &str, cells: &[(usize, Cell)], at: usize) -> Turned {
    let ((before, was), (first, is)) = (&cells[at - 1], &cells[at]);
    let reason = is.reason.clone().or_else(|| was.reason.clone());
    let (from, to) = (was.verdict, is.verdict);
    Turned { case: case.to_owned(), from, to, before: *before, at: *first, runs: cells.len() - at, reason }
}

/// A case that fails in some runs only, with the change of its rate.
fn intermittent(case: &str, cells: &[(usize, Cell)]) -> Option<(Intermittent, Option<Change>)> {
    let ran: Vec<&(usize, Cell)> = cells.iter().filter(|(_, cell)| cell.ran > 0).collect();
    let count = |cells: &[&(usize, Cell)]| {
        cells.iter().fold((0, 0), |(failed, ran), (_, cell)| (failed + cell.failed, ran + cell.ran))
    };
    let (failed, of) = count(&ran);
    if failed == 0 || failed == of {
        return None;
    }
    let (last, cell) = ran.iter().rfind(|(_, cell)| cell.failed > 0)?;
    let shares: Vec<f64> = ran.iter().map(|(_, cell)| cell.failed as f64 / cell.ran as f64).collect();
    let change = pettitt(&shares);
    let since = change.map(|Change { at, .. }| {
        let shown = |cells| {
            let (failed, of) = count(cells);
            rate(failed, of)
        };
        Since { before: ran[at - 1].0, at: ran[at].0, was: shown(&ran[..at]), is: shown(&ran[at..]) }
    });
    let found = Intermittent {
        case: case.to_owned(),
        rate: rate(failed, of),
        share: failed as f64 / of as f64,
        last: *last,
        since,
        reason: cell.reason.clone(),
    };
    Some((found, change))
}

/// The values of a case, by name and unit, with the indexes of their runs. The duration of a run that failed says nothing.
fn series(cells: &[(usize, Cell)]) -> IndexMap<(&str, &str), Vec<(usize, f64)>> {
    let mut series: IndexMap<(&str, &str), Vec<(usize, f64)>> = IndexMap::new();
    for (run, cell) in cells.iter().filter(|(_, cell)| cell.verdict == Verdict::Pass) {
        for (name, unit, value) in &cell.values {
            series.entry((name, unit)).or_default().push((*run, *value));
        }
    }
    series
}

fn moved(
    (case, metric, unit): (&str, &str, &str),
    values: Vec<(usize, f64)>,
    numbers: &[f64],
    Change { at, p }: Change,
) -> Option<Moved> {
    let (was, is) = (Spread::of(&mut numbers[..at].to_vec())?, Spread::of(&mut numbers[at..].to_vec())?);
    let factor = is.median / was.median;
    let is_large = !(1.0 / FACTOR..FACTOR).contains(&factor)
        && (unit != "s" || (is.median - was.median).abs() >= LEAST_SECONDS);
    let (before, at) = (values[at - 1].0, values[at].0);
    let (case, metric, unit) = (case.to_owned(), metric.to_owned(), unit.to_owned());
    (factor.is_finite() && is_large).then_some(Moved {
        case,
        metric,
        unit,
        before,
        at,
        was,
        is,
        factor,
        values,
        p,
    })
}
