//! `lockstep audit`: how strong a scenario is. Each case is run straight, and then again and again with one thing
//! sabotaged each time.

mod blow;
mod deadlines;
pub mod journal;
mod migrations;
pub mod outcome;
mod plan;
pub mod report;
pub mod rule;
mod sabotage;
mod scene;
mod site;
mod tape;
mod trial;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

pub use journal::{Header, Journal};
pub use outcome::{Audit, CaseAudit, Noticed, Outcome, Tally};

use self::outcome::Ending;
use self::plan::{Plan, Planned};
use self::scene::Scene;
use self::tape::Tape;
use self::trial::{Straight, Trial};
use crate::event::{Event, Sink, StepOutcome, Subscriber, Verdict, What};
use crate::runner::{Interrupt, Job, Settings};
use crate::session::interference::Interference;

/// How long the last events of a run may take.
const LAST_EVENTS: Duration = Duration::from_secs(30);

/// What is tried.
#[derive(Debug, Clone)]
pub struct Options {
    /// The names of sabotages and kinds; empty for all.
    pub only: Vec<String>,
    /// How many sites of a sabotage are tried in a case.
    pub sites: usize,
    /// How long the audit may take; a trial that has begun is completed.
    pub budget: Option<Duration>,
}

/// What an audit tells while it runs.
#[derive(Debug)]
pub enum Progress<'p> {
    /// A case is not audited.
    Refused(&'p str, &'p str),
    /// This many trials follow; as many were done before.
    Planned(usize, usize),
    /// A trial has ended.
    Tried(&'p Outcome),
}

/// The names that `--only` takes: the kinds, and the sabotages.
pub fn names() -> impl Iterator<Item = &'static str> {
    sabotage::Kind::ALL.into_iter().map(sabotage::Kind::name).chain(sabotage::ALL.iter().map(|one| one.name))
}

/// Each sabotage: its kind, its name, what it does.
pub fn table() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    sabotage::ALL.iter().map(|one| (one.kind.name(), one.name, one.does))
}

/// The hint of each sabotage for a VM, a link or a client with a plausible name, in the order of the table.
pub fn hints() -> impl Iterator<Item = String> {
    sabotage::ALL.iter().flat_map(sabotage::Sabotage::examples)
}

/// Audits cases. Results go to the journal and to `tell` as they come.
///
/// # Errors
/// When a run cannot be started, or the journal cannot be written.
pub async fn audit(
    jobs: Vec<Job>,
    settings: &Settings,
    options: &Options,
    journal: Journal,
    interrupt: &Interrupt,
    tell: impl Fn(Progress<'_>) + Send + Sync + 'static,
) -> anyhow::Result<Audit> {
    let began = Instant::now();
    let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let mut cases: Vec<CaseAudit> = jobs.iter().map(named).collect();
    let tapes = straight(&jobs, settings, interrupt).await?;
    let mut scenes = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        match refused(job, &tapes[at]) {
            Some(why) => {
                tell(Progress::Refused(&job.case.name, &why));
                cases[at].refused = Some(why);
            }
            None => scenes.push((at, Scene { case: &job.case, tape: &tapes[at] })),
        }
    }
    let mut plan = Plan::new(&scenes, &options.only, options.sites, settings.seed);
    let tried = journal.tried();
    plan.trials.retain(|planned| {
        let case = &jobs[planned.case].case.name;
        !tried.contains(&(case.clone(), planned.sabotage.name.to_owned(), planned.site.key()))
    });
    tell(Progress::Planned(plan.trials.len(), tried.len()));
    let left = options.budget.map(|budget| budget.saturating_sub(began.elapsed()));
    let settings = Settings { begin_until: left, ..settings.clone() };
    let results = tried_out(&jobs, &tapes, &plan, (&settings, interrupt), journal, tell).await?;
    for outcome in results {
        // One of an earlier part; its case is not selected now.
        if let Some(case) = cases.iter_mut().find(|case| case.name == outcome.case) {
            case.trials.push(outcome);
        }
    }
    for (at, case) in cases.iter_mut().enumerate() {
        case.left_out = plan.left_out.remove(&at).unwrap_or_default();
        let planned = plan.trials.iter().filter(|planned| planned.case == at).count();
        let done = case.trials.iter().filter(|trial| !tried.contains(&key(trial))).count();
        case.not_tried = plan.skipped.get(&at).copied().unwrap_or(0) + planned.saturating_sub(done);
    }
    Ok(Audit {
        lockstep: env!("CARGO_PKG_VERSION").to_owned(),
        qemus: qemus(&jobs),
        time,
        seed: settings.seed,
        seconds: began.elapsed().as_secs_f64(),
        cases,
        interrupted: interrupt.now().is_some(),
    })
}

fn key(trial: &Outcome) -> (String, String, String) {
    (trial.case.clone(), trial.sabotage.clone(), trial.key.clone())
}

fn named(job: &Job) -> CaseAudit {
    let file = job.case.at.path().display().to_string();
    CaseAudit { name: job.case.name.clone(), file, ..CaseAudit::default() }
}

/// The versions of the QEMUs that the cases name.
#[must_use]
pub fn qemus(jobs: &[Job]) -> Vec<String> {
    let all = crate::runner::qemus(jobs).into_iter().map(|qemu| qemu.version);
    all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Why a case cannot be audited, if it cannot.
fn refused(job: &Job, tape: &Tape) -> Option<String> {
    if job.case.must_fail.is_some() {
        return Some("it is a negative control (`must_fail`)".to_owned());
    }
    let Some(end) = &tape.end else { return Some("it was not run".to_owned()) };
    let reason = end.reason.as_deref().unwrap_or("no reason given").lines().next().unwrap_or_default();
    match end.verdict {
        Verdict::Pass => None,
        Verdict::Skip => Some(format!("it is skipped: {reason}")),
        Verdict::Xfail => Some(format!("it does not pass, with a known issue: {reason}")),
        Verdict::Fail | Verdict::Error | Verdict::Flaky => {
            Some(format!("it does not pass without a sabotage: {reason}"))
        }
    }
}

/// Receives the events of a run.
struct Receiver<F>(F);

impl<F: FnMut(&Event) -> anyhow::Result<()>> Subscriber for Receiver<F> {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        (self.0)(event)
    }
}

/// Runs jobs, with their events to a receiver.
async fn run(
    jobs: Vec<Job>,
    settings: &Settings,
    (sink, stream): (Sink, std::sync::mpsc::Receiver<Event>),
    interrupt: &Interrupt,
    receiver: impl FnMut(&Event) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let reports = crate::report::run(stream, vec![Box::new(Receiver(receiver))]);
    crate::runner::run(jobs, settings.clone(), sink, interrupt.clone())
        .await
        .context("cannot start the run")?;
    // The tasks of the cases hold the sink until they have ended.
    let joining = tokio::task::spawn_blocking(|| reports.join());
    let joined = tokio::time::timeout(LAST_EVENTS, joining).await.context("the event stream did not end")?;
    let summary = joined.context("the run was cut off")?;
    summary.errors.into_iter().next().map_or(Ok(()), Err)
}

/// Runs each case without a sabotage; those that cannot be audited anyway are not run.
async fn straight(jobs: &[Job], settings: &Settings, interrupt: &Interrupt) -> anyhow::Result<Vec<Tape>> {
    let wanted: Vec<usize> = (0..jobs.len()).filter(|at| jobs[*at].case.must_fail.is_none()).collect();
    let straight: Arc<dyn Interference> = Arc::new(Straight);
    let run_jobs = wanted
        .iter()
        .enumerate()
        .map(|(number, at)| Job { number, interference: Some(Arc::clone(&straight)), ..jobs[*at].clone() })
        .collect();
    let events: Arc<Mutex<BTreeMap<usize, Vec<Event>>>> = Arc::default();
    let kept = Arc::clone(&events);
    let receiver = move |event: &Event| {
        let mut events = kept.lock().unwrap_or_else(PoisonError::into_inner);
        // An attempt that does not count is not part of the straight run.
        if let (Some(case), What::AttemptEnded { .. }) = (event.case, &event.what) {
            events.entry(case).or_default().truncate(1);
            return Ok(());
        }
        event.case.into_iter().for_each(|case| events.entry(case).or_default().push(event.clone()));
        Ok(())
    };
    run(run_jobs, settings, Sink::new(), interrupt, receiver).await?;
    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tapes = vec![Tape::default(); jobs.len()];
    for (number, at) in wanted.into_iter().enumerate() {
        tapes[at] = Tape::of(&jobs[at].case, &events.remove(&number).unwrap_or_default());
    }
    Ok(tapes)
}

/// Runs the trials of a plan; returns all results of the journal.
async fn tried_out(
    jobs: &[Job],
    tapes: &[Tape],
    plan: &Plan,
    (settings, interrupt): (&Settings, &Interrupt),
    mut journal: Journal,
    tell: impl Fn(Progress<'_>) + Send + Sync + 'static,
) -> anyhow::Result<Vec<Outcome>> {
    let channel = Sink::new();
    let clock = Instant::now();
    let short: BTreeMap<usize, Arc<_>> = tapes
        .iter()
        .enumerate()
        .filter(|(at, _)| plan.trials.iter().any(|planned| planned.case == *at))
        .map(|(at, tape)| (at, Arc::new(deadlines::shortened(&jobs[at].case, tape))))
        .collect();
    let trials: Vec<(Planned, Arc<Trial>)> = plan
        .trials
        .iter()
        .map(|planned| (planned.clone(), Trial::new(planned.sabotage, planned.site.clone(), clock)))
        .collect();
    let job = |(number, (planned, trial)): (usize, &(Planned, Arc<Trial>))| Job {
        number,
        case: Arc::clone(&short[&planned.case]),
        interference: Some(Arc::clone(trial) as Arc<dyn Interference>),
        ..jobs[planned.case].clone()
    };
    let run_jobs = trials.iter().enumerate().map(job).collect();
    let names: Vec<String> = jobs.iter().map(|job| job.case.name.clone()).collect();
    let results = Arc::new(Mutex::new(journal.results.clone()));
    let kept = Arc::clone(&results);
    let mut endings: BTreeMap<usize, (Ending, BTreeMap<usize, String>)> = BTreeMap::new();
    let stopped = interrupt.clone();
    let receiver = move |event: &Event| {
        let Some(number) = event.case else { return Ok(()) };
        let (ending, titles) = endings.entry(number).or_default();
        match &event.what {
            What::StepBegan { step, title, .. } => _ = titles.insert(*step, title.clone()),
            What::StepEnded { step, outcome: StepOutcome::Failed, .. } if ending.step.is_none() => {
                ending.step = Some((*step, titles.get(step).cloned().unwrap_or_default()));
                ending.at = event.at;
            }
            What::AttemptEnded { .. } => *ending = Ending::default(),
            What::CaseEnded(end) => {
                if ending.step.is_none() {
                    ending.at = event.at;
                }
                ending.end = Some((**end).clone());
                let (planned, trial) = &trials[number];
                let ending = endings.remove(&number).unwrap_or_default().0;
                // What a signal has ended says nothing.
                if stopped.now().is_none() {
                    let case = &names[planned.case];
                    let outcome = Outcome::of(case, &planned.sabotage, &planned.site, &trial.done(), &ending);
                    tell(Progress::Tried(&outcome));
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(outcome.clone());
                    journal.add(outcome)?;
                }
            }
            _ => {}
        }
        Ok(())
    };
    run(run_jobs, settings, channel, interrupt, receiver).await?;
    let results = results.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(results)
}
