//! The data of a case, as the page's script reads it.

use std::borrow::Cow;
use std::io::BufWriter;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use super::rounded;
use crate::event::{CaseEnd, Verdict};
use crate::report::record::Case;
use crate::report::text;
use crate::report::trace::{Attempt, Trace};

/// How many files of a case's artifacts are listed.
const FILES: usize = 200;

/// The data of a case.
#[derive(Debug, Serialize)]
pub(super) struct Detail<'c> {
    description: Option<Cow<'c, str>>,
    tags: &'c [String],
    params: &'c Value,
    seconds: f64,
    end: Option<Value>,
    /// The results of the attempts that did not pass, with their numbers.
    ends: Vec<(usize, Value)>,
    notes: Vec<Cow<'c, str>>,
    /// The command that runs it again.
    again: String,
    /// Whether the transcript has the steps only.
    briefly: bool,
    trace: Trace,
}

impl<'c> Detail<'c> {
    /// A case with its trace; `folder` is that of the page.
    pub(super) fn of(case: &'c Case, mut trace: Trace, again: String, briefly: bool, folder: &Path) -> Self {
        if briefly {
            trace.attempts.iter_mut().for_each(Attempt::without_traffic);
        }
        let shown = |end: &CaseEnd| shown(end, case, folder);
        Self {
            description: case.description.as_deref().map(text::visible),
            tags: &case.tags,
            params: &case.params,
            seconds: rounded(case.end.as_ref().map_or(0.0, |end| end.seconds)),
            end: case.end.as_ref().map(shown),
            ends: ends(case, &trace).into_iter().map(|(number, end)| (number, shown(end))).collect(),
            notes: case.notes.iter().map(|note| text::visible(note)).collect(),
            again,
            briefly,
            trace,
        }
    }

    /// The element of the page: JSON, compressed, in base64.
    pub(super) fn element(&self, number: usize) -> anyhow::Result<String> {
        let mut compressed = BufWriter::new(ZlibEncoder::new(Vec::new(), Compression::default()));
        serde_json::to_writer(&mut compressed, self)?;
        let data = STANDARD.encode(compressed.into_inner()?.finish()?);
        Ok(format!("<script type=\"text/plain\" id=\"d{number}\">{data}</script>\n"))
    }
}

/// The results of the attempts that did not pass, with their numbers.
fn ends<'c>(case: &'c Case, trace: &Trace) -> Vec<(usize, &'c CaseEnd)> {
    let after = case.attempts.first().count() + case.attempts.left_out();
    let first = case.attempts.first().enumerate().map(|(index, end)| (index + 1, end));
    let last = case.attempts.last().enumerate().map(|(index, end)| (after + index + 1, end));
    let latest = trace.attempts.last();
    // If it passed in the end, the case has the result of an earlier attempt.
    let own = latest.filter(|latest| latest.verdict != Some(Verdict::Pass)).zip(case.end.as_ref());
    first.chain(last).chain(own.map(|(latest, end)| (latest.number, end))).collect()
}

/// The result of a case or an attempt.
fn shown(end: &CaseEnd, case: &Case, folder: &Path) -> Value {
    let visible = |text: &Option<String>| text.as_deref().map(|text| text::visible(text).into_owned());
    json!({
        "verdict": end.verdict,
        "reason": visible(&end.reason),
        "evidence": visible(&end.evidence),
        "place": visible(&end.place),
        "source": visible(&end.source),
        "artifacts": end.artifacts.as_deref().map(|artifacts| files(artifacts, &case.name, folder)),
    })
}

/// The artifacts: their folder relative to the page, if it is there, and the files in it.
fn files(artifacts: &Path, case: &str, folder: &Path) -> Value {
    let name = artifacts.to_string_lossy();
    // The reports may have been moved since.
    let moved = || format!("{name}/").rfind(&format!("/{case}/")).map(|at| Path::new(&name[at + 1..]));
    let near = artifacts.strip_prefix(folder).ok().or_else(moved).filter(|path| folder.join(path).is_dir());
    let Some(near) = near else { return json!({"folder": text::one_line(&name), "files": []}) };
    let listed = std::fs::read_dir(folder.join(near)).into_iter().flatten().flatten();
    let mut files: Vec<String> = listed
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(FILES)
        .collect();
    files.sort();
    json!({"folder": text::one_line(&name), "near": near.to_str(), "files": files})
}
