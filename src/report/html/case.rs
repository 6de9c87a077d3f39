//! The data of a case, as the page's script reads it.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use super::rounded;
use crate::event::{CaseEnd, Verdict};
use crate::report::record::Case;
use crate::report::text;
use crate::report::trace::Trace;

/// How many files of a case's artifacts are listed.
const FILES: usize = 200;

/// A case with its trace; `again` is the command that runs it again, `folder` that of the page.
pub(super) fn detail(case: &Case, mut trace: Trace, again: &str, briefly: bool, folder: &Path) -> Value {
    if briefly {
        trace.attempts.iter_mut().for_each(crate::report::trace::Attempt::without_traffic);
    }
    let seconds = case.end.as_ref().map_or(0.0, |end| end.seconds);
    let shown = |end: &CaseEnd| shown(end, case, folder);
    json!({
        "description": case.description.as_deref().map(text::visible),
        "tags": case.tags,
        "params": case.params,
        "seconds": rounded(seconds),
        "end": case.end.as_ref().map(shown),
        "ends": ends(case, &trace).into_iter().map(|(number, end)| json!([number, shown(end)])).collect::<Vec<_>>(),
        "notes": case.notes.iter().map(|note| text::visible(note)).collect::<Vec<_>>(),
        "again": again,
        "briefly": briefly,
        "trace": trace,
    })
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

/// The element with the data of a case: JSON, compressed, in base64.
pub(super) fn element(number: usize, detail: &Value) -> anyhow::Result<String> {
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut compressed, detail)?;
    compressed.flush()?;
    let data = STANDARD.encode(compressed.finish()?);
    Ok(format!("<script type=\"text/plain\" id=\"d{number}\">{data}</script>\n"))
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
