//! Schedules the cases of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};

use super::budget::{Budget, LOOK};
use super::case::Job;
use super::settings::{Interrupt, Rounds, Settings};
use super::{case, host};
use crate::event::{Sink, Verdict, What};
use crate::random::Random;
use crate::scenario::model::Case;
use crate::session::directory::Workspace;

/// Runs the cases in order, as often as the settings say, and emits all events.
///
/// # Errors
/// When the private directory cannot be created.
pub async fn run(
    mut jobs: Vec<Job>,
    settings: Settings,
    sink: Sink,
    interrupt: Interrupt,
) -> std::io::Result<()> {
    let workspace = Workspace::new()?;
    if settings.jobs.are_several() {
        // So that the others wait for the end of all cases only once.
        jobs.sort_by_key(|job| job.case.exclusive);
    }
    let mut budget = Budget::new(settings.jobs);
    announce(&jobs, &settings, &mut budget, &sink);
    let mut waiting = Waiting::new(jobs, &settings);
    let settings = Arc::new(settings);
    let mut running: JoinSet<Verdict> = JoinSet::new();
    let mut stop = false;
    loop {
        stop |= settings.begin_until.is_some_and(|end| sink.elapsed() >= end);
        while !stop && interrupt.now().is_none() {
            if waiting.upcoming().is_some_and(|(_, case)| !budget.has_room(case, &sink)) {
                break;
            }
            let Some((number, round, job)) = waiting.next(&sink) else {
                break;
            };
            let run = case::Run { job, round: settings.rounds.are_several().then_some(round) };
            let directory = match workspace.case_directory(number) {
                Ok(directory) => directory,
                Err(error) => {
                    let reason = format!("cannot create its directory: {error}");
                    case::not_started(&run, &sink.for_case(number), reason);
                    stop |= settings.fail_fast;
                    continue;
                }
            };
            let (notes, run_sink) = (workspace.notes(), sink.clone());
            let place = case::Place { notes, sink: sink.for_case(number), run_sink };
            let (settings, interrupt) = (Arc::clone(&settings), interrupt.clone());
            let case = Arc::clone(&run.job.case);
            let ran = async move { case::run(&run, directory, &place, &settings, &interrupt).await };
            budget.started(running.spawn(ran).id(), &case);
        }
        let looks = !stop && budget.may_change() && waiting.upcoming().is_some();
        let ended = match next(&mut running, looks.then_some(LOOK)).await {
            Some(Some(ended)) => ended,
            Some(None) => break,
            None => continue,
        };
        budget.ended(ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task));
        stop |= settings.fail_fast && is_bad(&ended, settings.flaky_passes);
        // A panic is a bug in Lockstep; the reports show the case as an error.
        if let Err(error) = ended {
            sink.emit(What::Note { text: format!("internal error: a case panicked: {error}") });
        }
    }
    drop(workspace);
    let interrupted = interrupt.now().is_some();
    sink.emit(What::RunEnded { interrupted, seconds: sink.elapsed().as_secs_f64() });
    Ok(())
}

/// Emits the first events of a run, or of a further part of one.
fn announce(jobs: &[Job], settings: &Settings, budget: &mut Budget, sink: &Sink) {
    let plan = budget.plan(jobs.iter().map(|job| &*job.case));
    let first = if let Some(done) = &settings.done {
        Some(format!("continued on {}; {} cases had a verdict", host::host().name, done.len()))
    } else {
        sink.emit(started(jobs, settings));
        let of_shard = settings.shard.as_ref();
        of_shard.map(|shard| format!("shard {shard}: {} of {} cases", jobs.len(), shard.cases))
    };
    for text in first.into_iter().chain(plan) {
        sink.emit(What::Note { text });
    }
}

type Ended = Result<(Id, Verdict), JoinError>;

/// The next case that ends; `Some(None)` if none runs, `None` after this time.
async fn next(running: &mut JoinSet<Verdict>, at_most: Option<Duration>) -> Option<Option<Ended>> {
    match at_most {
        Some(time) => tokio::time::timeout(time, running.join_next_with_id()).await.ok(),
        None => Some(running.join_next_with_id().await),
    }
}

/// Whether the result ends a run with `--fail-fast`.
fn is_bad(ended: &Ended, flaky_passes: bool) -> bool {
    match ended {
        Ok((_, Verdict::Flaky)) => !flaky_passes,
        Ok((_, verdict)) => verdict.is_bad(),
        Err(_) => true,
    }
}

/// The first event of a run.
#[must_use]
pub fn started(jobs: &[Job], settings: &Settings) -> What {
    let times = match settings.rounds {
        Rounds::Times(times) => times,
        Rounds::For(_) | Rounds::Endless => 1,
    };
    What::RunStarted {
        version: crate::event::STREAM_VERSION,
        lockstep: env!("CARGO_PKG_VERSION").to_owned(),
        time: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        cases: jobs.len().saturating_mul(times),
        command: settings.command.clone(),
        options: settings.options.clone(),
        seed: Some(settings.seed),
        host: Some(host::host()),
        qemus: host::qemus(jobs),
        flaky_passes: settings.flaky_passes,
        shard: settings.shard.clone(),
        shards: Vec::new(),
        selection: selection(jobs),
    }
}

/// A digest of the cases with their numbers, the same for any order in which they start.
fn selection(jobs: &[Job]) -> String {
    let line = |Job { number, case, qemu, .. }: &Job| {
        let params = Value::Object(case.params.clone());
        (*number, format!("{number} {} {} {params} {qemu:?}\n", case.at.path().display(), case.name))
    };
    let lines: BTreeMap<usize, String> = jobs.iter().map(line).collect();
    let text: String = lines.into_values().collect();
    format!("{:016x}", Random::new(&text, 0).next())
}

/// The cases that have not started, round by round.
struct Waiting {
    rounds: Rounds,
    jobs: Vec<Job>,
    /// The number of cases of the whole selection.
    whole: usize,
    /// The numbers of those that have a verdict.
    done: BTreeSet<usize>,
    given: usize,
}

impl Waiting {
    fn new(jobs: Vec<Job>, settings: &Settings) -> Self {
        let whole = settings.shard.as_ref().map_or(jobs.len(), |shard| shard.cases);
        let done = settings.done.clone().unwrap_or_default();
        let mut waiting = Self { rounds: settings.rounds, jobs, whole, done, given: 0 };
        waiting.skip_done();
        waiting
    }

    fn skip_done(&mut self) {
        while self.upcoming().is_some_and(|(number, _)| self.done.contains(&number)) {
            self.given += 1;
        }
    }

    /// The case that is next and its number, unless another round is over before it.
    fn upcoming(&self) -> Option<(usize, &Case)> {
        let round = self.given.checked_div(self.jobs.len())?;
        let is_over = matches!(self.rounds, Rounds::Times(times) if round >= times);
        let job = &self.jobs[self.given % self.jobs.len()];
        (!is_over).then(|| (round * self.whole + job.number, &*job.case))
    }

    /// The next case without a verdict, its number in the run and its round.
    fn next(&mut self, sink: &Sink) -> Option<(usize, usize, Job)> {
        let cases = self.jobs.len();
        let round = self.given.checked_div(cases)?;
        let begins = self.given.is_multiple_of(cases);
        let over = match self.rounds {
            Rounds::Times(times) => round >= times,
            // Start another round only if there is time left.
            Rounds::For(time) => begins && round > 0 && sink.elapsed() >= time,
            Rounds::Endless => false,
        };
        if over {
            return None;
        }
        if begins && round > 0 && !matches!(self.rounds, Rounds::Times(_)) {
            sink.emit(What::RoundBegan { round: round + 1, cases });
        }
        let job = self.jobs[self.given % cases].clone();
        let number = round * self.whole + job.number;
        self.given += 1;
        self.skip_done();
        Some((number, round + 1, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_case_that_panics_is_as_bad_as_one_that_fails() {
        let mut running = JoinSet::new();
        let task = running.spawn(async { panic!("of a test") }).id();
        let panicked = next(&mut running, None).await.flatten().unwrap();
        let ended = |verdict| Ok((task, verdict));
        assert!(is_bad(&panicked, true) && is_bad(&ended(Verdict::Error), true));
        assert!(is_bad(&ended(Verdict::Flaky), false) && !is_bad(&ended(Verdict::Flaky), true));
        assert!(!is_bad(&ended(Verdict::Pass), false));
    }
}
