//! Runs the steps of a case and turns the outcome into a result.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::binaries::Binaries;
use super::failure_site::FailureSite;
use super::machine_types::choose_machine_types;
use super::pause;
use super::plans::{CaseVersions, plan};
use super::settings::{Interrupt, Keep, Settings};
use super::trouble::{cause, left_to_next_step};
use super::verdict::{Before, Judgement, judge};
use crate::event::{CaseEnd, StepOutcome, Verdict, What};
use crate::qemu::credential::make;
use crate::qemu::network::of_wire;
use crate::scenario::model::{Block, Case, CaseStep, VmSource, When};
use crate::scenario::{RunValues, resolve_step, resolve_vm, resolve_when, to_yaml};
use crate::session::artifacts::Artifacts;
use crate::session::{Failure, Session, metrics};
use crate::step::{Action, Running, Start, Step};

/// How far a step may overrun its deadline before it is aborted. Steps watch their deadline themselves and report
/// more detail.
const GRACE: Duration = Duration::from_secs(5);

/// Why a case ended before its last step.
enum Stop {
    /// A step failed at this place.
    Failed(Failure, Box<FailureSite>),
    /// The user ended the run.
    Interrupted(&'static str),
}

/// Runs the steps of a case.
pub(super) struct CaseRunner<'c> {
    case: &'c Case,
    pub(super) session: Session,
    binaries: &'c Binaries,
    settings: &'c Settings,
    interrupt: Interrupt,
    /// The user's interrupt, also while `interrupt` is ignored.
    user_interrupt: Interrupt,
    deadline: Instant,
    /// The number of steps started so far.
    step: usize,
    /// The current round of each enclosing loop, by its `index`.
    rounds: Map<String, Value>,
    /// How many of the board's troubles have been handled.
    pub(super) trouble: usize,
    /// The artifacts directory, below the reports.
    artifacts_dir: PathBuf,
    before: Before,
}

impl<'c> CaseRunner<'c> {
    pub(super) fn new(
        case: &'c Case,
        session: Session,
        binaries: &'c Binaries,
        settings: &'c Settings,
        interrupt: &Interrupt,
        artifacts_dir: PathBuf,
        before: Before,
    ) -> Self {
        Self {
            case,
            session,
            binaries,
            settings,
            interrupt: interrupt.clone(),
            user_interrupt: interrupt.clone(),
            deadline: Instant::now(),
            step: 0,
            rounds: Map::new(),
            trouble: 0,
            artifacts_dir,
            before,
        }
    }

    /// Runs the case; also returns whether to run it again before the result counts.
    pub(super) async fn run(mut self, began: Instant) -> (CaseEnd, bool) {
        let case = self.case;
        self.deadline = began + case.timeout.mul_f64(self.settings.slow);
        let mut outcome = self.run_steps().await;
        // `finally` always runs, with its own time limit and without interrupts. (A second signal ends the process.)
        self.deadline = Instant::now() + case.timeout.mul_f64(self.settings.slow);
        self.interrupt = Interrupt::never();
        let finally = self.run_blocks(&case.finally, true).await;
        if outcome.is_ok() {
            outcome = finally;
        }
        self.finish(outcome, began).await
    }

    async fn run_steps(&mut self) -> Result<(), Stop> {
        // The network must exist before the VMs connect to it.
        let wires: Vec<String> =
            self.session.plans().keys().filter(|name| of_wire(name).is_some()).cloned().collect();
        let first: Vec<String> = self
            .session
            .plans()
            .values()
            .filter(|plan| plan.spec.start)
            .map(|plan| plan.name.clone())
            .collect();
        let deadline =
            self.deadline.min(Instant::now() + crate::step::DEFAULT_TIMEOUT.0.mul_f64(self.settings.slow));
        let interrupt = self.interrupt.clone();
        let started = tokio::select! {
            started = async {
                make(&self.case.credentials, self.session.directory())
                    .map_err(|error| Failure::error(format!("cannot create the credentials:  {error}")))?;
                self.session.make_disks(deadline).await?;
                self.session.start(&wires, deadline).await?;
                self.session.start(&first, deadline).await
            } => started,
            signal = interrupt.wait() => return Err(Stop::Interrupted(signal)),
        };
        started.map_err(|failure| {
            let vm = failure.vm().and_then(|vm| self.case.vm_sources.get(vm));
            let at = vm.map_or(&self.case.at, |vm| &vm.at);
            Stop::Failed(failure, Box::new(FailureSite::plain(at)))
        })?;
        self.step_ended("").await;
        self.run_blocks(&self.case.steps, false).await?;
        // Include what arrived together with the end of the last step.
        self.session.catch_up();
        match cause(&mut self.session, &mut self.trouble, None).await {
            Some((failure, _)) => Err(Stop::Failed(failure, Box::new(FailureSite::plain(&self.case.at)))),
            None => Ok(()),
        }
    }

    async fn run_blocks(&mut self, blocks: &[Block], finally: bool) -> Result<(), Stop> {
        for block in blocks {
            match block {
                Block::Step(step) => self.run_step(step, finally).await?,
                Block::RepeatUntil { at, until, timeout, when, index, steps } => {
                    if !self.condition_holds(when, &FailureSite::plain(at))? {
                        continue;
                    }
                    let began = Instant::now();
                    let end = self.deadline.min(began + timeout.0.mul_f64(self.settings.slow));
                    let running = Running::begin(&mut self.session, end);
                    if let Action::Wait(wait) = &until.step.action {
                        wait.expect(&running);
                    }
                    let marks = running.marks;
                    let outer = self.rounds.clone();
                    for round in 1_u64.. {
                        self.rounds.extend(index.clone().map(|index| (index, round.into())));
                        Box::pin(self.run_blocks(steps, finally)).await?;
                        let step = self.resolve(until)?;
                        // QEMU must have time to answer a query sent just before the deadline.
                        let mut running = Running::once(&mut self.session, began, end + GRACE, marks.clone());
                        let interrupt = self.interrupt.clone();
                        let answer = tokio::select! {
                            biased;
                            signal = interrupt.wait() => return Err(Stop::Interrupted(signal)),
                            answer = step.action.run(&mut running) => answer,
                        };
                        let Err(failure) = answer else { break };
                        // If every step of the loop is skipped, nothing else checks for trouble.
                        if let Some((cause, _)) = cause(&mut self.session, &mut self.trouble, None).await {
                            return Err(Stop::Failed(cause, Box::new(FailureSite::of(until))));
                        }
                        if Instant::now() >= end {
                            return Err(Stop::Failed(failure, Box::new(FailureSite::of(until))));
                        }
                        tokio::time::sleep(crate::step::POLL).await;
                    }
                    self.rounds = outer;
                }
            }
        }
        Ok(())
    }

    /// Calls `resolve` with all values known at this point of the run.
    fn with_run_values<T>(&self, resolve: impl FnOnce(&RunValues<'_>) -> T) -> T {
        let run = self.session.run_values();
        let names = self.session.names();
        let versions = CaseVersions { case: self.case, binaries: self.binaries };
        let (rounds, dir) = (&self.rounds, self.session.directory());
        resolve(&RunValues { run: &run, names: &names, rounds, dir, versions: &versions })
    }

    fn condition_holds(&self, when: &[When], site: &FailureSite) -> Result<bool, Stop> {
        self.with_run_values(|values| resolve_when(self.case, when, values))
            .map_err(|why| Stop::Failed(Failure::error(why.to_string()), Box::new(site.clone())))
    }

    fn resolve(&self, step: &CaseStep) -> Result<Step, Stop> {
        let mut resolved = self
            .with_run_values(|values| resolve_step(self.case, step, values))
            .map_err(|why| Stop::Failed(Failure::error(why.to_string()), Box::new(FailureSite::of(step))))?;
        resolved.action = resolved.action.bound(self.session.roles());
        Ok(resolved)
    }

    async fn run_step(&mut self, step: &CaseStep, finally: bool) -> Result<(), Stop> {
        self.step += 1;
        let number = self.step;
        let place = step.at.to_string();
        let began = Instant::now();
        let sink = self.session.sink().clone();
        let ended = |outcome: StepOutcome, message: Option<String>| What::StepEnded {
            step: number,
            outcome,
            message,
            seconds: began.elapsed().as_secs_f64(),
        };
        let title = step.step.title();
        sink.emit(What::StepBegan { step: number, title, place: place.clone(), finally });
        let result = match self.condition_holds(&step.when, &FailureSite::of(step)) {
            Ok(false) => {
                sink.emit(ended(StepOutcome::Skipped, None));
                return Ok(());
            }
            Ok(true) => {
                if self.settings.step_by_step {
                    let text = format!("next: {} ({place}); press Enter to continue ", step.step.title());
                    self.deadline += pause::for_enter(&text, &self.interrupt).await;
                }
                self.execute(step, Instant::now()).await
            }
            Err(stop) => Err(stop),
        };
        match &result {
            Ok(()) => {
                sink.emit(ended(StepOutcome::Done, None));
                self.step_ended(&place).await;
            }
            Err(Stop::Failed(failure, _)) => {
                sink.emit(ended(StepOutcome::Failed, Some(failure.to_string())));
            }
            Err(Stop::Interrupted(signal)) => {
                sink.emit(ended(StepOutcome::Failed, Some(format!("interrupted by {signal}"))));
            }
        }
        result
    }

    /// Gives what interferes with the case its moment after a step that has ended well.
    async fn step_ended(&self, place: &str) {
        if let Some(interference) = self.session.board().interference() {
            interference.after_step(place).await;
        }
    }

    async fn execute(&mut self, case_step: &CaseStep, began: Instant) -> Result<(), Stop> {
        let step = self.resolve(case_step)?;
        if let Action::Start(Start(names)) = &step.action {
            self.complete_plans(&names.0, &FailureSite::of(case_step))?;
        }
        let deadline = self.deadline.min(began + step.timeout.0.mul_f64(self.settings.slow));
        let result = self.act(&step, deadline).await?;
        let (mut result, of_migration) = self.with_trouble(result, &step.action).await;
        if deadline == self.deadline && Instant::now() >= deadline {
            let note = format!("the case's timeout of {} expired", crate::units::Span(self.case.timeout));
            result = result.map_err(|failure| failure.noted(&note));
        }
        if let Some(expression) = &step.expect_error {
            result = expected(result, expression, &step.title());
            if result.is_ok() && of_migration {
                self.session.board().forgive_migration();
            }
        }
        match result {
            Ok(value) => {
                if let Some(name) = &step.capture {
                    self.session.capture([(name.clone(), value)].into_iter().collect());
                }
                Ok(())
            }
            Err(failure) => Err(Stop::Failed(failure, Box::new(FailureSite::of(case_step)))),
        }
    }

    /// Runs the action until it ends, there is trouble, or the deadline has passed.
    async fn act(&mut self, step: &Step, deadline: Instant) -> Result<Result<Value, Failure>, Stop> {
        let board = Arc::clone(self.session.board());
        let (mut seen, interrupt) = (self.trouble, self.interrupt.clone());
        let mut running = Running::begin(&mut self.session, deadline);
        let acting = step.action.run(&mut running);
        tokio::pin!(acting);
        loop {
            tokio::select! {
                biased;
                signal = interrupt.wait() => return Err(Stop::Interrupted(signal)),
                result = &mut acting => return Ok(result),
                trouble = board.trouble(seen) => {
                    seen += 1;
                    if !board.is_asked_for(&trouble) && !left_to_next_step(&step.action, &trouble) {
                        return Ok(Err(trouble.failure()));
                    }
                }
                () = tokio::time::sleep_until(deadline + GRACE) => {
                    let message = format!("the step did not finish by its deadline: {}", step.title());
                    return Ok(Err(Failure::late(message)));
                }
            }
        }
    }

    /// The result of an action, or the trouble that came up meanwhile: it is the cause, whatever the step noticed first.
    /// Also returns whether a failed migration is part of it.
    async fn with_trouble(
        &mut self,
        result: Result<Value, Failure>,
        action: &Action,
    ) -> (Result<Value, Failure>, bool) {
        if result.is_err() {
            self.session.await_exits().await;
        }
        match cause(&mut self.session, &mut self.trouble, Some(action)).await {
            Some((cause, of_migration)) => {
                let cause = match result {
                    Err(own) => cause.then(own),
                    Ok(_) => cause,
                };
                (Err(cause), of_migration)
            }
            None => (result, false),
        }
    }

    /// Completes the plans of VMs that depend on values of the run, now that these are known.
    fn complete_plans(&mut self, names: &[String], site: &FailureSite) -> Result<(), Stop> {
        let stop = |message: String| Stop::Failed(Failure::error(message), Box::new(site.clone()));
        let mut plans = self.session.plans().clone();
        let is_late = |vm: &VmSource| vm.template.is_some();
        for name in names.iter().filter(|name| self.case.vm_sources.get(*name).is_some_and(is_late)) {
            let Some(spec) = self
                .with_run_values(|values| resolve_vm(self.case, name, values))
                .map_err(|why| stop(why.to_string()))?
            else {
                continue;
            };
            let plan = plan(name, spec, self.binaries, self.settings).map_err(|why| stop(why.reason))?;
            plans.insert(name.clone(), plan);
            choose_machine_types(&mut plans).map_err(|why| stop(why.reason))?;
        }
        self.session.set_plans(plans);
        Ok(())
    }

    /// Collects the evidence, tears everything down, and determines the verdict.
    async fn finish(self, outcome: Result<(), Stop>, began: Instant) -> (CaseEnd, bool) {
        if let Some(interference) = self.session.board().interference() {
            interference.over();
        }
        if outcome.is_ok() {
            metrics::query_migrations(&self.session).await;
        }
        metrics::emit(&self.session);
        let (outcome, site, interrupted) = match outcome {
            Ok(()) => (Ok(()), None, false),
            Err(Stop::Failed(failure, site)) => (Err(failure), Some(site), false),
            Err(Stop::Interrupted(signal)) => {
                (Err(Failure::error(format!("interrupted by {signal}"))), None, true)
            }
        };
        let Judgement { verdict, reason, cause, struck, again } = if interrupted {
            let failure = outcome.as_ref().err();
            let (reason, cause) = (failure.map(Failure::to_string), failure.map(Failure::record));
            Judgement { verdict: Verdict::Error, reason, cause, struck: None, again: false }
        } else {
            let names = site.as_ref().map(|site| site.names.as_slice()).unwrap_or_default();
            judge(&outcome, names, self.case, self.before)
        };
        // A known issue needs the same evidence as a failure.
        let is_wrong = struck.is_some() || verdict.is_bad();
        let site = site.as_deref();
        let mut evidence = None;
        if is_wrong && !interrupted {
            // The reason of an excused attempt is the known issue's; show the failure itself.
            let failure = outcome.as_ref().err().filter(|_| verdict == Verdict::Xfail);
            evidence = Some(self.evidence(failure, site).await);
            let title = format!("{verdict}: {}", self.case.name);
            self.pause(&title, reason.as_deref().unwrap_or_default(), site).await;
        }
        let wanted = match self.settings.keep {
            Keep::Always => true,
            Keep::OnFailure => is_wrong,
            Keep::Never => false,
        };
        let artifacts = if wanted { self.keep_artifacts(evidence.clone()).await } else { None };
        self.session.close().await;
        let seconds = began.elapsed().as_secs_f64();
        // A negative control also failed at this place, but passes.
        let source = site.map(FailureSite::excerpt);
        let place = site.filter(|_| verdict != Verdict::Pass).map(|site| site.at.to_string());
        (CaseEnd { verdict, reason, cause, evidence, place, source, artifacts, struck, seconds }, again)
    }

    /// The failure, if given, its place, and the state and output of the VMs.
    async fn evidence(&self, failure: Option<&Failure>, site: Option<&FailureSite>) -> String {
        let mut text = failure.map(|failure| format!("{failure}\n")).unwrap_or_default();
        if let Some(site) = site {
            text.push_str(&(site.description(self.case) + "\n"));
        }
        text + &self.session.state_and_output().await
    }

    /// With `--pause-on-failure`: waits for Enter before the VMs are stopped.
    async fn pause(&self, title: &str, reason: &str, site: Option<&FailureSite>) {
        if self.settings.pause_on_failure {
            let place = site.map(|site| site.at.to_string()).unwrap_or_default();
            let how = pause::how_to_attach(&self.session);
            let text = format!("{title}\n{reason}\n{place}\n{how}Press Enter to stop the VMs ");
            pause::for_enter(&text, &self.user_interrupt).await;
        }
    }

    /// Saves the artifacts; returns their directory, or notes why they cannot be saved.
    async fn keep_artifacts(&self, evidence: Option<String>) -> Option<PathBuf> {
        let folder = self.settings.reports.join(&self.artifacts_dir);
        let note = |text| self.session.sink().emit(What::Note { text });
        let artifacts = Artifacts::of(&self.session, to_yaml(self.case), &self.case.artifacts, evidence);
        match artifacts.keep(folder.clone()).await {
            Ok(missing) => {
                for file in missing {
                    note(format!("`artifacts`: no file `{file}` in the case's directory"));
                }
                Some(folder)
            }
            Err(error) => {
                note(format!("cannot save the artifacts to {}: {error}", folder.display()));
                None
            }
        }
    }
}

/// `expect_error`: a failure that matches counts as success.
fn expected(result: Result<Value, Failure>, expression: &str, title: &str) -> Result<Value, Failure> {
    let matcher = Regex::new(expression).map_err(|error| Failure::error(error.to_string()))?;
    match result {
        Err(failure) if failure.is_corrupt() => Err(failure),
        Err(failure) => match failure.to_string() {
            message if matcher.is_match(&message) => Ok(Value::String(message)),
            _ => Err(failure.led_by(&format!("expected an error matching /{expression}/, got: "))),
        },
        Ok(_) => Err(Failure::failed(format!(
            "`{title}`: expected an error matching /{expression}/, but it succeeded"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ticker::Line;
    use crate::qemu::process::Ended;
    use crate::session::Cause;

    #[test]
    fn a_step_that_must_fail_succeeds_by_failing_as_it_must() {
        let refused = || Err(Failure::failed("`x` was refused: VM is not in COLO mode"));
        assert!(expected(refused(), "not in COLO", "x").is_ok());
        assert!(
            expected(refused(), "out of memory", "x")
                .unwrap_err()
                .to_string()
                .contains("expected an error matching")
        );
        assert!(expected(Ok(Value::Null), "x", "quit a").unwrap_err().to_string().contains("succeeded"));
    }

    #[test]
    fn no_expected_error_excuses_wrong_memory() {
        let line = Line::Stale { expected: 9, found: 1 };
        let corrupt = Failure::from(Cause::Corrupt { line, pages: None }).about("a");
        assert_eq!(expected(Err(corrupt.clone()), "", "x"), Err(corrupt.clone()));
        let died = Failure::ended("VM `b` died", Ended::Signal(9)).then(corrupt);
        assert_eq!(expected(Err(died.clone()), "died", "x"), Err(died));
    }
}
