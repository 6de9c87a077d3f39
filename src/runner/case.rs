//! One case, as often as it is tried.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::Instant;

use super::actor::Actor;
use super::net;
use super::plans::plans;
use super::scheduler::Job;
use super::settings::{Interrupt, Settings};
use crate::event::{CaseEnd, Sink, Verdict, What};
use crate::scenario::model::Block;
use crate::session::directory::Notes;
use crate::session::{Session, ports};

/// Where a case runs.
#[derive(Debug)]
pub struct Place {
    /// Its private folder.
    pub directory: PathBuf,
    /// What the janitor is told.
    pub notes: Arc<Notes>,
    /// Where its events go.
    pub sink: Sink,
}

/// A case of a run.
#[derive(Debug)]
pub struct Run {
    /// The case, and on what it runs.
    pub job: Job,
    /// The number of the round, where there are several.
    pub round: Option<usize>,
}

/// How often a case is begun anew because a port that was held for it was taken by another program.
const NEW_PORTS: usize = 3;

/// Runs a case, as often as the settings let it fail, and tells its sink everything. A failure while another program had
/// one of its ports does not count.
pub async fn run(run: &Run, place: &Place, settings: &Settings, interrupt: &Interrupt) -> Verdict {
    let began = Instant::now();
    let sink = &place.sink;
    sink.emit(started(run));
    let mut first_failure: Option<CaseEnd> = None;
    let (mut attempt, mut spoilt) = (1, 0);
    loop {
        let mut held = Vec::new();
        let mut end = one_attempt(run, attempt, &mut held, place, settings, interrupt).await;
        let failed = end.verdict.is_bad() && interrupt.now().is_none();
        let stolen = if failed && spoilt < NEW_PORTS { ports::taken(&held).await } else { None };
        let again = failed && (stolen.is_some() || attempt - spoilt <= settings.retries);
        // The folder of an attempt goes with its session.
        if again && let Err(error) = std::fs::create_dir(&place.directory) {
            sink.emit(What::Note {
                text: format!("it is not tried again, for it can have no folder: {error}"),
            });
        } else if again {
            sink.emit(What::AttemptEnded { attempt, end: Box::new(end.clone()) });
            attempt += 1;
            match stolen {
                Some((name, port)) => {
                    spoilt += 1;
                    let text = format!(
                        "another program took port {port}, which was held as `{name}`; the case is begun anew with other ports"
                    );
                    sink.emit(What::Note { text });
                }
                None => {
                    first_failure.get_or_insert(end);
                }
            }
            continue;
        }
        if let (Verdict::Pass, Some(failure)) = (end.verdict, first_failure) {
            end = flaky(failure, attempt);
        }
        end.seconds = began.elapsed().as_secs_f64();
        let verdict = end.verdict;
        sink.emit(What::CaseEnded(Box::new(end)));
        return verdict;
    }
}

/// The end of a case that passed in a later attempt: with the evidence of the first failure.
fn flaky(failure: CaseEnd, attempt: usize) -> CaseEnd {
    let reason = failure.reason.unwrap_or_else(|| "no reason is known".to_owned());
    CaseEnd {
        verdict: Verdict::Flaky,
        reason: Some(format!("passed in attempt {attempt}, failed in the first: {reason}")),
        ..failure
    }
}

async fn one_attempt(
    run: &Run,
    attempt: usize,
    held: &mut Vec<(String, u16)>,
    place: &Place,
    settings: &Settings,
    interrupt: &Interrupt,
) -> CaseEnd {
    let began = Instant::now();
    let (case, binaries) = (&*run.job.case, &*run.job.binaries);
    let ended =
        |verdict: Verdict, reason: String| CaseEnd::new(verdict, Some(reason), began.elapsed().as_secs_f64());
    let (directory, notes) = (place.directory.clone(), Arc::clone(&place.notes));
    let mut session = Session::new(IndexMap::new(), directory, notes, place.sink.clone());
    session.roles.clone_from(&case.roles);
    session.disks.clone_from(&case.disks);
    session.awaited = case.awaited_processes();
    let opened = net::open(case, &mut session, binaries);
    held.extend(session.ports.numbers());
    let ready = opened
        .map_err(|failure| (Verdict::Error, failure.message))
        .and_then(|()| plans(case, session.directory(), binaries, settings, &session.names()));
    match ready {
        Ok(plans) => session.plans = plans,
        Err((verdict, reason)) => return ended(verdict, reason),
    }
    if let Err(failure) = net::plan_wires(case, &mut session) {
        return ended(Verdict::Error, failure.message);
    }
    let folder = folder(run, attempt, settings.retries > 0 || attempt > 1);
    Actor::new(case, session, binaries, settings, interrupt, folder).act(began).await
}

/// Tells the sink of a case that cannot even be begun.
pub fn not_begun(run: &Run, sink: &Sink, reason: String) {
    sink.emit(started(run));
    sink.emit(What::CaseEnded(Box::new(CaseEnd::new(Verdict::Error, Some(reason), 0.0))));
}

fn started(run: &Run) -> What {
    let case = &run.job.case;
    What::CaseStarted {
        name: case.name.clone(),
        file: case.at.path().display().to_string(),
        description: case.description.clone(),
        tags: case.tags.clone(),
        params: Value::Object(case.params.clone()),
        axes: case.axes.clone(),
        qemu: run.job.qemu.clone(),
        round: run.round,
        steps: count(&case.steps) + count(&case.finally),
    }
}

/// Where the artifacts of one attempt are kept, below the reports: those of the QEMUs, rounds and attempts of a case
/// each in a folder of their own.
fn folder(run: &Run, attempt: usize, are_tried_again: bool) -> PathBuf {
    let mut folder = folder_name(&run.job.case.name);
    folder.extend(run.job.qemu.as_ref().map(|qemu| folder_name(&format!("on-{}", qemu.replace('/', "_")))));
    folder.extend(run.round.map(|round| format!("round-{round}")));
    folder.extend(are_tried_again.then(|| format!("attempt-{attempt}")));
    folder
}

/// A case's name as a path below the reports.
fn folder_name(name: &str) -> PathBuf {
    // The names of the reports that lie there.
    let name = if matches!(name.split('/').next(), Some("junit.xml" | "events.jsonl" | "index.html")) {
        name.replacen('.', "_", 1)
    } else {
        name.to_owned()
    };
    name.split('/')
        .map(|part| part.replace(|c: char| c.is_control() || "<>:\"\\|?*".contains(c), "_"))
        .collect()
}

/// The steps that run, loops counted once.
fn count(blocks: &[Block]) -> usize {
    blocks
        .iter()
        .map(|block| match block {
            Block::Step(_) => 1,
            Block::RepeatUntil { steps, .. } => count(steps),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_passes_later_is_flaky_and_keeps_the_evidence_of_its_first_failure() {
        let failure = CaseEnd {
            evidence: Some("tick 1".into()),
            artifacts: Some("reports/a/attempt-1".into()),
            ..CaseEnd::new(Verdict::Fail, Some("no tick".into()), 1.0)
        };
        let end = flaky(failure.clone(), 3);
        assert_eq!(end.verdict, Verdict::Flaky);
        assert_eq!(end.reason.as_deref(), Some("passed in attempt 3, failed in the first: no tick"));
        assert_eq!((end.evidence, end.artifacts), (failure.evidence, failure.artifacts));
    }

    #[test]
    fn a_case_has_its_folder_below_the_reports() {
        assert_eq!(folder_name("colo/plain/a:b"), PathBuf::from("colo/plain/a_b"));
        assert_eq!(folder_name("junit.xml/a.b"), PathBuf::from("junit_xml/a.b"));
    }
}
