//! A history as a page: one self-contained file without scripts.

use std::path::Path;

use handlebars::Handlebars;
use serde_json::{Value, json};

use super::findings::{Findings, Moved};
use super::{Cell, History, words};
use crate::event::Verdict;
use crate::report::text;

/// How many changed values are shown.
const MOVED: usize = 100;
/// The height of the drawing of a series.
const HEIGHT: f64 = 40.0;

/// The page. `folder` is where it will be: it links to the pages of runs below.
///
/// # Errors
/// When the template cannot be rendered.
pub fn page(history: &History, findings: &Findings, folder: &Path) -> anyhow::Result<String> {
    let pages: Vec<Option<String>> = history.runs.iter().map(|run| near(&run.name, folder)).collect();
    let rows: Vec<Value> = history
        .cases
        .iter()
        .map(|(case, cells)| json!({"case": case, "stretches": stretches(history, case, cells, &pages)}))
        .collect();
    let moved: Vec<Value> = findings.moved.iter().take(MOVED).map(|moved| drawing(history, moved)).collect();
    let sections: Vec<Value> = words::sections(history, findings)
        .into_iter()
        .map(|(title, items)| {
            let item = |(name, text): (String, String)| json!({"name": name, "text": text});
            json!({"title": title, "items": items.into_iter().map(item).collect::<Vec<_>>()})
        })
        .collect();
    let data = json!({
        "style": concat!(include_str!("../html/theme.css"), include_str!("history.css")),
        "title": words::title(history),
        "count": history.runs.len(),
        "sections": sections,
        "moved": moved,
        "more": findings.moved.len().saturating_sub(MOVED),
        "rows": rows,
        "newer": releases(history),
    });
    Ok(Handlebars::new().render_template(include_str!("history.hbs"), &data)?)
}

/// The page of a run relative to `folder`, if it is below.
fn near(run: &str, folder: &Path) -> Option<String> {
    let run = Path::new(run).canonicalize().ok()?;
    let page = if run.is_dir() { run.join("index.html") } else { run.with_file_name("index.html") };
    let near = page.is_file().then_some(page.strip_prefix(folder.canonicalize().ok()?).ok()?)?;
    Some(text::encoded(near.as_os_str().as_encoded_bytes()))
}

/// Consecutive runs of a case with one verdict.
fn stretches(history: &History, case: &str, cells: &[(usize, Cell)], pages: &[Option<String>]) -> Vec<Value> {
    let alike = |(one, is): &(usize, Cell), (other, was): &(usize, Cell)| {
        one + 1 == *other && is.verdict == was.verdict
    };
    let stretch = |cells: &[(usize, Cell)]| {
        let (from, cell) = &cells[0];
        let runs = cells.len();
        let to = from + runs - 1;
        let time = match (&history.runs[*from].time, &history.runs[to].time) {
            (from, to) if from == to => from.clone(),
            (from, to) => format!("{from} to {to}, {runs} runs"),
        };
        let reason = cell.reason.as_deref().filter(|_| cell.verdict != Verdict::Pass);
        let reason = reason.map(|reason| format!("\n{}", text::cut(reason, 300))).unwrap_or_default();
        let path = text::encoded(case.as_bytes());
        let link = pages[*from].as_ref().filter(|_| cell.verdict != Verdict::Pass);
        json!({
            "from": from, "runs": runs, "verdict": cell.verdict.to_string(),
            "title": format!("{}: {time}\nQEMU {}{reason}", cell.verdict, history.runs[*from].qemus),
            "link": link.map(|page| format!("{page}#/{path}")),
        })
    };
    cells.chunk_by(alike).map(stretch).collect()
}

/// The runs that are the first on another QEMU.
fn releases(history: &History) -> Vec<usize> {
    (1..history.runs.len()).filter(|at| history.runs[at - 1].qemus != history.runs[*at].qemus).collect()
}

/// A changed value with its points, drawn from 0 on.
fn drawing(history: &History, moved: &Moved) -> Value {
    let most = moved.values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let point = |(run, value): &(usize, f64)| {
        format!("{:.1},{:.1}", *run as f64 + 0.5, HEIGHT - value / most * (HEIGHT - 2.0))
    };
    json!({
        "case": moved.case, "metric": moved.metric, "at": moved.at,
        "was": text::value(moved.was.median, &moved.unit), "is": text::value(moved.is.median, &moved.unit),
        "factor": format!("×{:.2}", moved.factor), "grew": moved.factor > 1.0,
        "since": history.runs[moved.at].time, "qemus": history.qemus(moved.before, moved.at),
        "points": moved.values.iter().map(point).collect::<Vec<_>>().join(" "),
    })
}
