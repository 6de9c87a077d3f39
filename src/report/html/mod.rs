//! `reports/index.html`: the run and each of its cases, in one self-contained file.
//!
//! The data of a case is rendered when it ends and spooled to disk, so that a long run needs little memory. The page
//! has one compressed JSON text per case, which the browser reads when the case is opened.

mod case;
mod grid;
mod live;
mod overview;

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use handlebars::Handlebars;
use serde_json::{Value, json};

use crate::event::{Event, Subscriber, Verdict, What};
use crate::report::record::Case;
use crate::report::rounds::Rounds;
use crate::report::stats::Stats;
use crate::report::trace::Collectors;
use crate::report::{Fold, file, text};

/// The placeholder for the data of the cases.
const DATA: &str = "<!-- cases -->";
/// Beyond this size of the compressed data, the page shows passed cases in brief.
const BRIEF_ABOVE: u64 = 16 << 20;
/// The scripts, in this order; they share one scope.
const SCRIPTS: &[&str] = &[
    include_str!("data.js"),
    include_str!("route.js"),
    include_str!("rows.js"),
    include_str!("list.js"),
    include_str!("lanes.js"),
    include_str!("draw.js"),
    include_str!("timeline.js"),
    include_str!("steps.js"),
    include_str!("transcript.js"),
    include_str!("details.js"),
    include_str!("compare.js"),
    include_str!("case.js"),
    include_str!("page.js"),
];
/// The style sheets.
const STYLES: &[&str] = &[include_str!("theme.css"), include_str!("overview.css"), include_str!("case.css")];

/// The page.
#[derive(Debug, Clone)]
pub struct Html {
    path: PathBuf,
    fold: Fold,
    open: Collectors,
    stats: Stats,
    cells: grid::Cells,
    rounds: Rounds,
    run: Value,
    options: Vec<String>,
    rows: Vec<overview::Row>,
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
            open: Collectors::default(),
            stats: Stats::default(),
            cells: grid::Cells::default(),
            rounds: Rounds::default(),
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
        self.rows.push(overview::Row::of(case, self.fold.last()));
        let passed = case.end.as_ref().is_some_and(|end| end.verdict == Verdict::Pass);
        let briefly = self.written > BRIEF_ABOVE && passed;
        let trace = self.open.finish(case);
        let detail = case::Detail::of(case, trace, self.again(case), briefly, file::folder(&self.path));
        let element = detail.element(case.number)?;
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
        self.rows.sort_by_key(|row| row.number);
        let exceeded: Vec<String> = self.stats.races.exceeded();
        let kinds = self.stats.kinds();
        let rates = self.stats.races.rates();
        let differences = if self.live.is_none() { self.rounds.findings() } else { Vec::new() };
        let index = json!({
            "cases": overview::rows(&self.rows, &kinds),
            "kinds": overview::kinds(&kinds, &self.stats),
            "differences": differences,
        });
        let data = json!({
            "run": self.run,
            "counts": overview::counted(self.fold.counts()),
            "total": self.fold.counts().total(),
            "seconds": text::seconds(self.fold.last()),
            "trouble": self.fold.trouble().filter(|_| self.live.is_none()),
            "exceeded": exceeded,
            "races": rates.map(|(reason, rate)| json!({"reason": text::one_line(reason), "rate": rate}))
                .collect::<Vec<_>>(),
            "failed": !kinds.is_empty(),
            "repeated": overview::repeated(&self.stats, &differences),
            "grids": self.cells.grids(),
            "slowest": overview::slowest(&self.rows),
            "skips": self.skips.iter().map(|(reason, count)| json!({"reason": reason, "count": count}))
                .collect::<Vec<_>>(),
            "style": STYLES.concat(),
            "script": SCRIPTS.concat() + self.live.unwrap_or_default(),
            "index": harmless(&index)?,
        });
        Ok(Handlebars::new().render_template(include_str!("page.hbs"), &data)?)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let mut out = BufWriter::new(file::beside(&self.path)?);
        self.write_to(&mut out)?;
        out.into_inner()?.persist(&self.path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Subscriber for Html {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let What::RunStarted { command, options, .. } = &event.what {
            self.options.clone_from(options);
            self.run = serde_json::to_value(&event.what)?;
            self.run["command"] = command.join(" ").into();
            if let Some(memory) = self.run["host"]["memory"].as_u64() {
                self.run["host"]["memory"] = format!("{:.1}", memory as f64 / (1u64 << 30) as f64).into();
            }
        }
        self.open.take(event);
        self.rounds.take(event);
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
