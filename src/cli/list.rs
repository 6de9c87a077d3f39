//! `lockstep list`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::NOTHING_RUN;
use super::format::{Format, Kind};
use super::selection::Selection;
use super::sharding::{Entry, Sharding};
use crate::scenario::model::Case;
use crate::template::NoVersions;

/// Print the names of the cases, one per line, without running them.
///
/// With `--format json`: an object per line (`jq -s` makes a list of them), with `name`, `file`, `line`, `column` and
/// `tags`, with the values of its matrix in `axes`, and with its `description` if it has one.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    sharding: Sharding,

    #[command(flatten)]
    pub(super) format: Format,

    /// Also print the file, the tags and the description, separated by tabs.
    #[arg(short, long, env = "LOCKSTEP_LONG")]
    long: bool,
}

impl List {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut selection = self.selection.clone();
        let sharding = self.sharding.ready(&mut selection)?;
        let cases = selection.checked(&NoVersions, None, &self.format, &mut std::io::stderr())?;
        let Some(cases) = cases else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        let entries: Vec<Entry> = cases.iter().map(|case| Entry::of(case, None)).collect();
        let part = sharding.part(&entries);
        let mut out = std::io::stdout().lock();
        for (number, case) in cases.into_iter().enumerate() {
            if !part.has(number) {
                continue;
            }
            if self.format.kind() == Kind::Json {
                writeln!(out, "{}", to_json(&case))?;
            } else if self.long {
                let description = case.description.unwrap_or_default().replace('\n', " ");
                writeln!(
                    out,
                    "{}\t{}\t{}\t{}",
                    case.name,
                    case.at.path().display(),
                    case.tags.join(","),
                    description.trim()
                )?;
            } else {
                writeln!(out, "{}", case.name)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn to_json(case: &Case) -> Value {
    let axes = case.axes.iter().filter_map(|axis| Some((axis.clone(), case.params.get(axis)?.clone())));
    let axes: Map<String, Value> = axes.collect();
    let mut object = json!({
        "name": case.name,
        "file": case.at.path(),
        "line": case.at.line,
        "column": case.at.column,
        "tags": case.tags,
        "axes": axes,
    });
    if let Some(description) = &case.description {
        object["description"] = json!(description);
    }
    object
}
