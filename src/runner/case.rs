//! One case, with all its attempts.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::binaries::Binaries;
use super::branch::Common;
use super::cannot_run::CannotRun;
use super::case_runner::CaseRunner;
use super::net;
use super::plans::plans;
use super::settings::{Interrupt, Settings};
use super::verdict::Before;
use crate::event::{Again, CaseEnd, Race, Sink, Verdict, What};
use crate::qemu::guests_dir;
use crate::random::Random;
use crate::scenario::model::{Block, Case};
use crate::session::artifacts::FILES;
use crate::session::board::Board;
use crate::session::directory::{CaseDirectory, Notes};
use crate::session::interference::Interference;
use crate::session::{Failure, Session, Setup, ports};

/// A case and what it runs on.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number in the selection, counted from 0.
    pub number: usize,
    /// The case.
    pub case: Arc<Case>,
    /// The QEMUs for its VMs' `qemu`.
    pub binaries: Arc<Binaries>,
    /// The QEMU's name in the reports, if each case runs on several.
    pub qemu: Option<String>,
    /// What interferes with the case.
    pub interference: Option<Arc<dyn Interference>>,
}

/// Where a case runs.
#[derive(Debug)]
pub(super) struct Place {
    /// What the janitor must clean up.
    pub notes: Arc<Notes>,
    /// Where its events go.
    pub sink: Sink,
    /// Where the events of the run go.
    pub run_sink: Sink,
}

/// A case of a run.
#[derive(Debug)]
pub(super) struct Run {
    /// The case, and on what it runs.
    pub job: Job,
    /// The number of the round, if there are several.
    pub round: Option<usize>,
}

/// How often a case is restarted because another program took one of its reserved ports.
const MAX_PORT_CONFLICTS: usize = 3;

/// The attempts at a case so far.
#[derive(Default)]
struct Attempts {
    count: usize,
    /// How many do not count against `--retries`.
    free: usize,
    /// How many failed while another program had one of the case's ports.
    port_conflicts: usize,
    first_failure: Option<CaseEnd>,
    /// The attempt that a race excused.
    excused: Option<CaseEnd>,
    /// How many passed although a known issue was expected to occur.
    passed: usize,
}

/// Why a case is run again.
enum Rerun {
    /// Another program took this port, reserved under this name.
    PortTaken(String, u16),
    /// A known issue requires it.
    Issue,
    /// `--retries` allows it.
    Retry,
}

impl Rerun {
    /// As the event stream has it.
    const fn record(&self) -> Again {
        match self {
            Self::PortTaken(..) => Again::PortTaken,
            Self::Issue => Again::KnownIssue,
            Self::Retry => Again::Retry,
        }
    }
}

impl Attempts {
    const fn before(&self) -> Before {
        Before { excused: self.excused.is_some(), passed: self.passed }
    }

    /// Records an attempt that does not count yet; returns the text of a note.
    fn put(&mut self, end: CaseEnd, why: Rerun) -> Option<String> {
        self.free += usize::from(!matches!(why, Rerun::Retry));
        match why {
            Rerun::PortTaken(name, port) => {
                self.port_conflicts += 1;
                Some(format!(
                    "another program took port {port}, reserved as `{name}`; restarting the case with new ports"
                ))
            }
            Rerun::Issue if end.struck.is_some() => {
                let reason = end.struck.clone().unwrap_or_default();
                self.excused = Some(end);
                Some(format!("a known issue occurred; running the case again: {reason}"))
            }
            Rerun::Issue => {
                self.passed += 1;
                Some("the known issue did not occur; running the case again".to_owned())
            }
            Rerun::Retry => {
                self.first_failure.get_or_insert(end);
                None
            }
        }
    }

    /// The result of the case, based on its last attempt.
    fn conclude(self, end: CaseEnd) -> CaseEnd {
        match (end.verdict, self.first_failure, self.excused) {
            (Verdict::Pass, Some(failure), _) => flaky(failure, self.count),
            // With the evidence of the known issue.
            (Verdict::Pass, None, Some(excused)) => excused,
            _ => end,
        }
    }
}

/// Runs a case, with the attempts that the settings and its known issues allow, and emits its events. A failure does
/// not count if another program had one of the case's ports.
pub(super) async fn run(
    run: &Run,
    mut directory: CaseDirectory,
    place: &Place,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Verdict {
    let path = directory.path().to_owned();
    let began = Instant::now();
    let sink = &place.sink;
    sink.emit(started(run));
    let mut attempts = Attempts::default();
    loop {
        attempts.count += 1;
        let mut held = Vec::new();
        let (end, again) =
            run_attempt(run, &attempts, &mut held, directory, place, settings, interrupt).await;
        let interrupted = interrupt.now();
        let failed = end.verdict.is_bad() && interrupted.is_none();
        let taken = if failed && attempts.port_conflicts < MAX_PORT_CONFLICTS {
            ports::taken(&held).await
        } else {
            None
        };
        let why = match taken {
            Some((name, port)) => Some(Rerun::PortTaken(name, port)),
            None if again => Some(Rerun::Issue),
            None => (failed && attempts.count - attempts.free <= settings.retries).then_some(Rerun::Retry),
        };
        // The directory of an attempt is removed with its session.
        let ready = why.as_ref().map(|_| match interrupted {
            Some(signal) => Err(format!("interrupted by {signal}")),
            None => CaseDirectory::create(path.clone())
                .map_err(|error| format!("cannot create its directory: {error}")),
        });
        let mut end = match (why, ready) {
            (Some(why), Some(Ok(next))) => {
                directory = next;
                let number = attempts.count;
                let again = why.record();
                sink.emit(What::AttemptEnded { attempt: number, again, end: Box::new(end.clone()) });
                if let Some(text) = attempts.put(end, why) {
                    sink.emit(What::Note { text });
                }
                continue;
            }
            (Some(why), Some(Err(error))) => not_retried(end, &why, &error, sink),
            _ => attempts.conclude(end),
        };
        end.seconds = began.elapsed().as_secs_f64();
        let verdict = end.verdict;
        sink.emit(What::CaseEnded(Box::new(end)));
        return verdict;
    }
}

/// The result of a case that should run again but cannot: the known issue does not excuse it then.
fn not_retried(end: CaseEnd, why: &Rerun, error: &str, sink: &Sink) -> CaseEnd {
    if !matches!(why, Rerun::Issue) {
        sink.emit(What::Note { text: format!("not retried: {error}") });
        return end;
    }
    let reason = end.reason.unwrap_or_default();
    let reason = format!("not run again after a known issue: {error} ({reason})");
    let cause = Some(Failure::error(&reason).record());
    CaseEnd { verdict: Verdict::Error, reason: Some(reason), cause, ..end }
}

/// The result of a case that could not be run.
fn not_run(reason: String, seconds: f64) -> CaseEnd {
    let cause = Some(Failure::error(&reason).record());
    CaseEnd { cause, ..CaseEnd::new(Verdict::Error, Some(reason), seconds) }
}

/// The result of a case that passed on a later attempt, with the evidence of the first failure.
fn flaky(failure: CaseEnd, attempt: usize) -> CaseEnd {
    let reason = failure.reason.unwrap_or_else(|| "no reason given".to_owned());
    CaseEnd {
        verdict: Verdict::Flaky,
        reason: Some(format!("passed on attempt {attempt}; the first attempt failed: {reason}")),
        ..failure
    }
}

/// One attempt at a case; also returns whether to run it again before it counts.
async fn run_attempt(
    run: &Run,
    attempts: &Attempts,
    held: &mut Vec<(String, u16)>,
    directory: CaseDirectory,
    place: &Place,
    settings: &Settings,
    interrupt: &Interrupt,
) -> (CaseEnd, bool) {
    let began = Instant::now();
    let (case, binaries) = (&*run.job.case, &*run.job.binaries);
    let ended = |verdict: Verdict, reason: String| {
        let seconds = began.elapsed().as_secs_f64();
        match verdict {
            Verdict::Error => (not_run(reason, seconds), false),
            _ => (CaseEnd::new(verdict, Some(reason), seconds), false),
        }
    };
    let board = Arc::new(Board::with(run.job.interference.clone()));
    if let Some(interference) = board.interference() {
        interference.begins();
    }
    let ports = match net::hold_ports(case) {
        Ok(ports) => ports,
        Err(failure) => return ended(Verdict::Error, failure.to_string()),
    };
    held.extend(ports.numbers());
    let mut wiring = match net::open(case, ports, directory.path(), binaries, (&board, &place.sink)) {
        Ok(wiring) => wiring,
        Err(failure) => return ended(Verdict::Error, failure.to_string()),
    };
    let mut plans = match plans(case, directory.path(), binaries, settings, &wiring.names()) {
        Ok(plans) => plans,
        Err(CannotRun { verdict, reason }) => return ended(verdict, reason),
    };
    let mut disks = case.disks.clone();
    if let Err(why) = guests_dir::locate_disks(disks.values_mut(), &settings.guests) {
        return ended(Verdict::Skip, why);
    }
    for why in plans.values().filter_map(|plan| plan.without_kvm.as_ref()) {
        if binaries.is_news(why) {
            place.run_sink.emit(What::Note { text: format!("TCG: {why}") });
        }
    }
    if let Err(failure) = net::plan_wires(case, &mut plans, &mut wiring) {
        return ended(Verdict::Error, failure.to_string());
    }
    let session = Session::open(Setup {
        directory,
        plans,
        roles: case.roles.clone(),
        disks,
        awaited: case.awaited_processes(),
        wiring,
        draw: draw(run, attempts.count, settings.seed),
        slow: settings.slow,
        board,
        sink: place.sink.clone(),
        notes: Arc::clone(&place.notes),
    });
    let may_be_several = settings.retries > 0 || attempts.count > 1 || !races(case).is_empty();
    let folder = folder(run, attempts.count, may_be_several);
    let common = Common::new(case, session, binaries, settings);
    CaseRunner::new(common, interrupt, folder, attempts.before()).run(began).await
}

/// The seed for the memory layout of the built-in guests in one attempt; the same for the same run seed.
fn draw(run: &Run, attempt: usize, seed: u64) -> u32 {
    let name = format!("{} {} {attempt}", run.job.case.name, run.round.unwrap_or(0));
    (Random::new(&name, seed).next() >> 32) as u32
}

/// Reports a case that could not be started.
pub(super) fn not_started(run: &Run, sink: &Sink, reason: String) {
    sink.emit(started(run));
    sink.emit(What::CaseEnded(Box::new(not_run(reason, 0.0))));
}

fn started(run: &Run) -> What {
    let case = &run.job.case;
    What::CaseStarted {
        name: case.name.clone(),
        file: case.at.path().display().to_string(),
        line: Some(case.at.line),
        description: case.description.clone(),
        tags: case.tags.clone(),
        params: Value::Object(case.params.clone()),
        axes: case.axes.clone(),
        qemu: run.job.qemu.clone(),
        round: run.round,
        host: None,
        steps: count(&case.steps) + count(&case.finally),
        races: races(case),
    }
}

/// The intermittent known issues of a case. A negative control has none.
fn races(case: &Case) -> Vec<Race> {
    let issues = case.known_issues.iter().filter(|_| case.must_fail.is_none());
    issues.filter_map(|issue| Some(Race { reason: issue.reason.clone(), at_most: issue.at_most? })).collect()
}

/// The artifacts directory of one attempt, below the reports: separate for each QEMU, round and attempt.
fn folder(run: &Run, attempt: usize, are_tried_again: bool) -> PathBuf {
    let mut folder = folder_name(&run.job.case.name);
    folder.extend(run.job.qemu.as_ref().map(|qemu| folder_name(&format!("on-{}", qemu.replace('/', "_")))));
    folder.extend(run.round.map(|round| format!("round-{round}")));
    folder.extend(are_tried_again.then(|| format!("attempt-{attempt}")));
    folder
}

/// A case's name as a path below the reports.
fn folder_name(name: &str) -> PathBuf {
    // Avoid the names of the report files.
    let name = if matches!(name.split('/').next(), Some("junit.xml" | "events.jsonl" | "index.html")) {
        name.replacen('.', "_", 1)
    } else {
        name.to_owned()
    };
    name.split('/')
        .map(|part| part.replace(|c: char| c.is_control() || "<>:\"\\|?*".contains(c), "_"))
        // Below another case's directory its files would mix with that case's.
        .enumerate()
        .map(|(depth, part)| if depth > 0 && part == FILES { format!("{part}_") } else { part })
        .collect()
}

/// The number of steps, counting loops once.
fn count(blocks: &[Block]) -> usize {
    blocks
        .iter()
        .map(|block| match block {
            Block::Step(_) => 1,
            Block::RepeatUntil { steps, .. } => count(steps),
            Block::Parallel { branches, .. } => branches.iter().map(|(_, steps)| count(steps)).sum(),
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
        assert_eq!(end.reason.as_deref(), Some("passed on attempt 3; the first attempt failed: no tick"));
        assert_eq!((end.evidence, end.artifacts), (failure.evidence, failure.artifacts));
    }

    #[test]
    fn what_a_race_excused_stands_only_where_a_later_attempt_passed() {
        let mut excused = CaseEnd::new(Verdict::Xfail, Some("torn".into()), 1.0);
        (excused.struck, excused.evidence) = (Some("torn".into()), Some("page 7".into()));
        let after = |last: Verdict| {
            let mut attempts = Attempts { count: 1, ..Attempts::default() };
            assert!(
                attempts.put(excused.clone(), Rerun::Issue).unwrap().contains("running the case again: torn")
            );
            assert!(attempts.before().excused && attempts.free == 1);
            attempts.conclude(CaseEnd::new(last, Some("last".into()), 1.0))
        };
        assert_eq!(after(Verdict::Pass), excused);
        for bad in [Verdict::Fail, Verdict::Error] {
            assert_eq!(after(bad).reason.as_deref(), Some("last"));
        }
        let end = not_retried(excused.clone(), &Rerun::Issue, "interrupted by SIGINT", &Sink::silent());
        assert_eq!((end.verdict, end.evidence.as_deref()), (Verdict::Error, Some("page 7")));
        assert!(end.reason.unwrap().contains("not run again"));
    }

    #[test]
    fn a_case_has_its_folder_below_the_reports() {
        assert_eq!(folder_name("colo/plain/a:b"), PathBuf::from("colo/plain/a_b"));
        assert_eq!(folder_name("files/files"), PathBuf::from("files/files_"));
        assert_eq!(folder_name("junit.xml/a.b"), PathBuf::from("junit_xml/a.b"));
    }
}
