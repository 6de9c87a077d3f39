//! A history as text and as Markdown.

use indexmap::IndexMap;

use super::findings::{Findings, Intermittent, Moved, Since, Turned};
use super::{Cell, History, Run};
use crate::event::{Spread, Verdict};
use crate::report::compare::Rendering;
use crate::report::text;

/// How many of the latest runs are shown for each case.
const SHOWN: usize = 60;
/// How many changed values are listed.
const MOVED: usize = 50;

/// How a history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a job page.
    Markdown,
}

/// A heading, and the items below it: a name and a text.
pub(super) type Section = (String, Vec<(String, String)>);

/// The history in words.
#[must_use]
pub fn render(history: &History, findings: &Findings, format: Format) -> String {
    let mut out = Rendering::new(format == Format::Markdown);
    out.line(&title(history));
    for (title, items) in sections(history, findings).into_iter().chain(moved(history, &findings.moved)) {
        out.heading(&title);
        items.iter().for_each(|(name, text)| out.item(name, text));
    }
    if findings.moved.len() > MOVED {
        out.line(&format!("… and {} more", findings.moved.len() - MOVED));
    }
    grid(history, &mut out);
    out.text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The runs in one line.
pub(super) fn title(history: &History) -> String {
    let time = |run: Option<&Run>| run.map(|run| run.time.clone()).unwrap_or_default();
    let (first, last) = (time(history.runs.first()), time(history.runs.last()));
    let incomplete = history.runs.iter().filter(|run| run.trouble.is_some()).count();
    let incomplete = if incomplete > 0 { format!("; {incomplete} incomplete") } else { String::new() };
    let (runs, cases) = (counted(history.runs.len(), "run"), counted(history.cases(), "case"));
    format!("{runs} of {cases}, {first} to {last}{incomplete}")
}

/// The QEMUs, the changed verdicts, and the cases that fail in some runs.
pub(super) fn sections(history: &History, findings: &Findings) -> Vec<Section> {
    let mut qemus: IndexMap<&str, usize> = IndexMap::new();
    history.runs.iter().for_each(|run| *qemus.entry(&run.qemus).or_default() += 1);
    let qemus =
        qemus.into_iter().map(|(qemu, runs)| (qemu.to_owned(), format!(" in {}", counted(runs, "run"))));
    let mut sections = vec![("QEMU".to_owned(), qemus.collect())];
    sections.extend(turned(history, findings));
    sections.extend(intermittent(history, &findings.intermittent));
    sections
}

/// The changed verdicts; cases that changed alike at one run are together.
fn turned(history: &History, findings: &Findings) -> Vec<Section> {
    let mut groups: IndexMap<String, Vec<(String, String)>> = IndexMap::new();
    for Turned { case, from, to, before, at, runs, reason } in &findings.turned {
        let (time, qemus) = (&history.runs[*at].time, history.qemus(*before, *at));
        let item = format!(" ({}){}", counted(*runs, "run"), because(reason.as_deref()));
        groups.entry(format!("{from} → {to} since {time}, {qemus}")).or_default().push((case.clone(), item));
    }
    groups.into_iter().collect()
}

fn intermittent(history: &History, cases: &[Intermittent]) -> Option<Section> {
    let item = |Intermittent { case, rate, last, since, reason, .. }: &Intermittent| {
        let since = since.as_ref().map(|Since { before, at, was, is }| {
            let (time, qemus) = (&history.runs[*at].time, history.qemus(*before, *at));
            format!("; since {time}, {qemus}: {is}; before: {was}")
        });
        let (last, why) = (&history.runs[*last].time, because(reason.as_deref()));
        (case.clone(), format!(": {rate}{}; last {last}{why}", since.unwrap_or_default()))
    };
    let title = "Cases that fail in some runs".to_owned();
    (!cases.is_empty()).then(|| (title, cases.iter().map(item).collect()))
}

fn moved(history: &History, all: &[Moved]) -> Option<Section> {
    let item = |Moved { case, metric, unit, before, at, was, is, factor, .. }: &Moved| {
        let shown = |spread: &Spread| format!("{} (n {})", text::value(spread.median, unit), spread.n);
        let (time, qemus) = (&history.runs[*at].time, history.qemus(*before, *at));
        let (was, is) = (shown(was), shown(is));
        (case.clone(), format!(": {metric} {was} → {is} (×{factor:.2}) since {time}, {qemus}"))
    };
    let title = "Values that changed (Pettitt's test; about 1 % of these by chance)".to_owned();
    (!all.is_empty()).then(|| (title, all.iter().take(MOVED).map(item).collect()))
}

/// The latest runs of the cases that did not always pass, a letter for each.
fn grid(history: &History, out: &mut Rendering) {
    let from = history.runs.len().saturating_sub(SHOWN);
    let row = |cells: &[(usize, Cell)]| {
        let mut letters = vec![' '; history.runs.len() - from];
        for (run, cell) in cells.iter().filter(|(run, _)| *run >= from) {
            letters[run - from] = letter(cell.verdict);
        }
        letters.into_iter().collect::<String>()
    };
    let rows: Vec<(String, &String)> = history.cases.iter().map(|(case, cells)| (row(cells), case)).collect();
    let always = |row: &str, letter: char| row.chars().all(|own| own == letter);
    let listed: Vec<_> = rows.iter().filter(|(row, _)| !always(row, '.') && !always(row, 's')).collect();
    if !listed.is_empty() {
        out.heading("Runs, the latest on the right: . pass, F fail, E error, ~ flaky, x xfail, s skip");
        out.fence();
        listed.iter().for_each(|(row, case)| out.line(&format!("{row}  {case}")));
        out.fence();
    }
    let latest = if from > 0 { format!("the latest {SHOWN}") } else { "all".to_owned() };
    for (letter, word) in [('.', "passed"), ('s', "skipped")] {
        let count = rows.iter().filter(|(row, _)| always(row, letter)).count();
        if count > 0 {
            out.line(&format!("\n{} {word} in {latest} runs", counted(count, "case")));
        }
    }
}

const fn letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Pass => '.',
        Verdict::Fail => 'F',
        Verdict::Error => 'E',
        Verdict::Flaky => '~',
        Verdict::Xfail => 'x',
        Verdict::Skip => 's',
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {}", text::fit(reason, 200))).unwrap_or_default()
}
