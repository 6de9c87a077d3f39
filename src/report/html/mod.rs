//! `reports/index.html`: the run and each of its cases, in one self-contained file.
//!
//! The data of a case is rendered when it ends and spooled to disk, so that a long run needs little memory. The page
//! has one JSON text per case, which the browser parses when the case is opened.

mod grid;
mod live;
mod story;

use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use handlebars::Handlebars;
use serde_json::{Value, json};

use crate::event::{CaseEnd, Event, Subscriber, Verdict, What};
use crate::report::record::{Case, Counts};
use crate::report::stats::{Kind, Measured, Repeated, Stats};
use crate::report::{Fold, text};

/// The placeholder for the data of the cases.
const DATA: &str = "<!-- cases -->";
/// Beyond this size, the page shows passed cases in brief.
const BRIEF_ABOVE: u64 = 16 << 20;
/// The maximum length of long lists.
const LISTED: usize = 50;

/// The page.
#[derive(Debug, Clone)]
pub struct Html {
    path: PathBuf,
    fold: Fold,
    open: story::Open,
    stats: Stats,
    cells: grid::Cells,
    run: Value,
    options: Vec<String>,
    rows: Vec<Value>,
    skips: indexmap::IndexMap<String, usize>,
    aside: Option<Arc<File>>,
    written: u64,
    /// A further script, for a page of a run that goes on.
    live: Option<&'static str>,
}

impl Html {
    /// A page to be written to `path` when the stream ends; creates its directory if missing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            fold: Fold::default(),
            open: story::Open::new(),
            stats: Stats::default(),
            cells: grid::Cells::default(),
            run: json!({}),
            options: Vec::new(),
            rows: Vec::new(),
            skips: indexmap::IndexMap::new(),
            aside: None,
            written: 0,
            live: None,
        }
    }

    fn ended(&mut self, case: &Case) -> anyhow::Result<()> {
        let verdict = case.verdict();
        self.stats.add(case);
        self.cells.add(case);
        if matches!(verdict, Verdict::Skip | Verdict::Xfail) {
            let reason = case.reason().map(text::one_line).unwrap_or_default();
            *self.skips.entry(format!("{verdict}: {reason}")).or_default() += 1;
        }
        self.add(case)
    }

    /// Adds the row and the data of a case; one without an end is running.
    fn add(&mut self, case: &Case) -> anyhow::Result<()> {
        let story = self.open.remove(&case.number).unwrap_or_else(|| story::Story::new(case.began));
        let verdict = case.end.as_ref().map_or_else(|| json!("running"), |end| json!(end.verdict));
        let reason = case.reason().map(text::one_line).unwrap_or_default();
        let seconds = case.end.as_ref().map_or(self.fold.last() - case.began, |end| end.seconds);
        let title = text::one_line(&case.title());
        let brief = text::cut(&reason, 200);
        self.rows.push(json!([
            case.number,
            title,
            text::one_line(&case.file),
            verdict,
            brief,
            rounded(seconds)
        ]));
        let briefly = self.written > BRIEF_ABOVE && verdict == json!(Verdict::Pass);
        let detail = json!({
            "description": case.description,
            "tags": case.tags,
            "params": case.params,
            "seconds": rounded(seconds),
            "end": case.end.as_ref().map_or_else(|| json!({"verdict": verdict}), shown),
            "attempts": case.attempts.iter().map(shown).collect::<Vec<_>>(),
            "metrics": case.metrics.iter().map(|metric| text::one_line(&metric.to_string())).collect::<Vec<_>>(),
            "notes": case.notes.iter().collect::<Vec<_>>(),
            "again": self.again(case),
            "briefly": briefly,
            "story": story.into_json(briefly),
        });
        let mut element = format!("<script type=\"application/json\" id=\"d{}\">", case.number);
        element.push_str(&harmless(&detail)?);
        element.push_str("</script>\n");
        let aside = match &mut self.aside {
            Some(aside) => aside,
            none => none.insert(Arc::new(tempfile::tempfile()?)),
        };
        aside.write_all_at(element.as_bytes(), self.written)?;
        self.written += element.len() as u64;
        Ok(())
    }

    /// The command that runs this case again.
    fn again(&self, case: &Case) -> String {
        let mut words = vec!["lockstep".to_owned(), "run".to_owned(), case.file.clone()];
        words.extend(["--case".to_owned(), case.name.clone()]);
        words.extend(self.options.iter().cloned());
        // One line, unlike QEMU's command line.
        crate::qemu::argv::for_shell(&words).replace(" \\\n    ", " ")
    }

    fn page(&mut self) -> anyhow::Result<String> {
        self.rows.sort_by_key(|row| row[0].as_u64());
        let mut slowest = self.rows.clone();
        slowest.sort_by(|one, other| {
            other[5].as_f64().unwrap_or_default().total_cmp(&one[5].as_f64().unwrap_or_default())
        });
        let slow = |row: &Value| {
            json!({"case": row[0], "title": row[1], "verdict": row[3],
            "time": text::seconds(row[5].as_f64().unwrap_or_default())})
        };
        let repeated: Vec<Value> = self.stats.repeated().take(LISTED).map(repeated).collect();
        let exceeded: Vec<String> = self.stats.races.exceeded();
        let trouble = self.fold.trouble().filter(|_| self.live.is_none());
        let bad = self.fold.counts().bad() > 0 || trouble.is_some() || !exceeded.is_empty();
        let scripts = [include_str!("timeline.js"), include_str!("page.js"), self.live.unwrap_or_default()];
        let data = json!({
            "run": self.run,
            "counts": counted(self.fold.counts()),
            "total": self.fold.counts().total(),
            "verdict": if bad { "bad" } else { "good" },
            "seconds": text::seconds(self.fold.last()),
            "trouble": trouble,
            "exceeded": exceeded,
            "races": self.stats.races.rates().map(|(reason, rate)| json!({"reason": text::one_line(reason), "rate": rate}))
                .collect::<Vec<_>>(),
            "kinds": self.stats.kinds().iter().take(LISTED).map(|kind| kinds(kind, &self.stats)).collect::<Vec<_>>(),
            "repeated": repeated,
            "grids": self.cells.grids(),
            "slowest": slowest.iter().take(8).map(slow).collect::<Vec<_>>(),
            "skips": self.skips.iter().map(|(reason, count)| json!({"reason": reason, "count": count}))
                .collect::<Vec<_>>(),
            "style": include_str!("page.css"),
            "script": scripts.concat(),
            "index": harmless(&Value::Array(std::mem::take(&mut self.rows)))?,
        });
        Ok(Handlebars::new().render_template(include_str!("page.hbs"), &data)?)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&folder)?;
        let file = tempfile::Builder::new()
            .prefix(".index.")
            .suffix(".html")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&folder)?;
        let mut out = BufWriter::new(file);
        self.write_to(&mut out)?;
        out.into_inner()?.persist(&self.path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Subscriber for Html {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        match (&event.what, event.case) {
            (What::RunStarted { command, options, .. }, _) => {
                self.options.clone_from(options);
                self.run = serde_json::to_value(&event.what)?;
                self.run["command"] = command.join(" ").into();
                if let Some(memory) = self.run["host"]["memory"].as_u64() {
                    self.run["host"]["memory"] = format!("{:.1}", memory as f64 / (1u64 << 30) as f64).into();
                }
            }
            (What::CaseStarted { .. }, Some(number)) => {
                self.open.insert(number, story::Story::new(event.at));
            }
            (_, Some(number)) => {
                if let Some(story) = self.open.get_mut(&number) {
                    story.take(event);
                }
            }
            (_, None) => {}
        }
        match self.fold.take(event) {
            Some(case) => self.ended(&case),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for case in self.fold.cut_off() {
            self.ended(&case)?;
        }
        self.write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The result of a case as JSON for the page.
fn shown(end: &CaseEnd) -> Value {
    let visible = |text: &Option<String>| text.as_deref().map(|text| text::visible(text).into_owned());
    let folder = end.artifacts.as_deref().and_then(Path::to_str);
    json!({
        "verdict": end.verdict,
        "reason": visible(&end.reason),
        "evidence": visible(&end.evidence),
        "place": visible(&end.place),
        "source": visible(&end.source),
        "artifacts": folder,
    })
}

fn kinds((signature, kind): &(&str, &Kind), stats: &Stats) -> Value {
    let reason = text::cut(&kind.example.reason, text::LINE_LIMIT);
    let cases: Vec<String> =
        kind.cases.iter().take(8).map(|(name, count)| format!("{name} ×{count}")).collect();
    json!({
        "signature": signature,
        // A single failure is shown as the example only.
        "often": kind.count > 1,
        "count": kind.count,
        "rate": stats.often(kind),
        "case": kind.example.number,
        "title": text::one_line(&kind.example.title),
        "verdict": kind.example.verdict,
        "place": kind.example.place.as_deref().map(text::one_line),
        "reason": text::visible(&reason),
        "cases": text::one_line(&cases.join(", ")),
        "more": kind.cases.len().saturating_sub(8),
    })
}

fn repeated((name, case): (String, &Repeated)) -> Value {
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
    json!({"name": text::one_line(&name), "rate": case.rate(), "verdict": if bad { "fail" } else { "pass" },
        "metrics": metrics.collect::<Vec<_>>()})
}

fn counted(counts: Counts) -> Vec<Value> {
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

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// JSON that a browser cannot mistake for the end of its element.
fn harmless(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
