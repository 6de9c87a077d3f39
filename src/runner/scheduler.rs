//! Schedules the cases of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::task::{JoinError, JoinSet};

use super::case::Job;
use super::settings::{Interrupt, Rounds, Settings};
use super::{case, host};
use crate::event::{Sink, Verdict, What};
use crate::random::Random;
use crate::session::directory::Workspace;

/// Runs the cases in order, as often as the settings say, and emits all events.
///
/// # Errors
/// When the private directory cannot be created.
pub async fn run(
    jobs: Vec<Job>,
    settings: Settings,
    sink: Sink,
    interrupt: Interrupt,
) -> std::io::Result<()> {
    let workspace = Workspace::new()?;
    let of_shard = settings
        .shard
        .as_ref()
        .map(|shard| format!("shard {shard}: {} of {} cases", jobs.len(), shard.cases));
    if let Some(done) = &settings.done {
        let host = host::host();
        sink.emit(What::Note {
            text: format!("continued on {}; {} cases had a verdict", host.name, done.len()),
        });
    } else {
        sink.emit(started(&jobs, &settings));
        of_shard.into_iter().for_each(|text| sink.emit(What::Note { text }));
    }
    let mut waiting = Waiting::new(jobs, &settings);
    let settings = Arc::new(settings);
    let mut running: JoinSet<Verdict> = JoinSet::new();
    let mut stop = false;
    loop {
        stop |= settings.begin_until.is_some_and(|end| sink.elapsed() >= end);
        while !stop && interrupt.now().is_none() && running.len() < settings.jobs.max(1) {
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
            let surroundings = (Arc::clone(&settings), interrupt.clone());
            running.spawn(async move {
                let (settings, interrupt) = surroundings;
                case::run(&run, directory, &place, &settings, &interrupt).await
            });
        }
        match running.join_next().await {
            None => break,
            Some(ended) => {
                stop |= settings.fail_fast && is_bad(&ended, settings.flaky_passes);
                // A panic is a bug in Lockstep; the reports show the case as an error.
                if let Err(error) = ended {
                    sink.emit(What::Note { text: format!("internal error: a case panicked: {error}") });
                }
            }
        }
    }
    drop(workspace);
    let (interrupted, seconds) = (interrupt.now().is_some(), sink.elapsed().as_secs_f64());
    sink.emit(What::RunEnded { interrupted, seconds });
    Ok(())
}

/// Whether the result ends a run with `--fail-fast`.
fn is_bad(ended: &Result<Verdict, JoinError>, flaky_passes: bool) -> bool {
    match ended {
        Ok(Verdict::Flaky) => !flaky_passes,
        Ok(verdict) => verdict.is_bad(),
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
        Self { rounds: settings.rounds, jobs, whole, done, given: 0 }
    }

    /// The next case without a verdict, its number in the run and its round.
    fn next(&mut self, sink: &Sink) -> Option<(usize, usize, Job)> {
        loop {
            let next = self.next_of_all(sink)?;
            if !self.done.contains(&next.0) {
                return Some(next);
            }
        }
    }

    fn next_of_all(&mut self, sink: &Sink) -> Option<(usize, usize, Job)> {
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
        Some((number, round + 1, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_case_that_panics_is_as_bad_as_one_that_fails() {
        let panicked: Result<Verdict, JoinError> = tokio::spawn(async { panic!("of a test") }).await;
        assert!(is_bad(&panicked, true) && is_bad(&Ok(Verdict::Error), true));
        assert!(is_bad(&Ok(Verdict::Flaky), false) && !is_bad(&Ok(Verdict::Flaky), true));
        assert!(!is_bad(&Ok(Verdict::Pass), false));
    }
}
