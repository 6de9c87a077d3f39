//! Runs steps one after another: those of a case, or of one branch of `parallel`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use indexmap::IndexMap;
use regex::Regex;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::binaries::Binaries;
use super::failure_site::FailureSite;
use super::machine_types::choose_machine_types;
use super::pause;
use super::plans::{CaseVersions, plan};
use super::settings::{Interrupt, Settings};
use super::trouble::Troubles;
use crate::event::{Sink, StepOutcome, What};
use crate::scenario::model::{Block, Case, CaseStep, VmSource, When};
use crate::scenario::{RunValues, resolve_step, resolve_vm, resolve_when};
use crate::session::{Failure, Session};
use crate::step::{Action, Running, Start, Step};
use crate::units::Span;

/// How far a step may overrun its deadline before it is aborted. Steps watch their deadline themselves and report
/// more detail.
const GRACE: Duration = Duration::from_secs(5);

/// Why a case ended before its last step.
pub(super) enum Stop {
    /// A step failed at this place.
    Failed(Failure, Box<FailureSite>),
    /// The user ended the run.
    Interrupted(&'static str),
}

/// What the branches of a case have in common.
pub(super) struct Common<'c> {
    pub case: &'c Case,
    pub session: Session,
    pub binaries: &'c Binaries,
    pub settings: &'c Settings,
    /// The number of steps started so far.
    steps: AtomicUsize,
    /// The number of branches started so far; the steps of the case are the first.
    branches: AtomicUsize,
    troubles: Troubles,
}

impl<'c> Common<'c> {
    pub(super) fn new(
        case: &'c Case,
        session: Session,
        binaries: &'c Binaries,
        settings: &'c Settings,
    ) -> Self {
        let (steps, branches, troubles) = (AtomicUsize::new(0), AtomicUsize::new(1), Troubles::default());
        Self { case, session, binaries, settings, steps, branches, troubles }
    }

    /// Gives what interferes with the case its moment after a step that has ended well.
    pub(super) async fn step_ended(&self, place: &str) {
        if let Some(interference) = self.session.board().interference() {
            interference.after_step(place).await;
        }
    }
}

/// Steps that run one after another.
pub(super) struct Branch<'r, 'c> {
    common: &'r Common<'c>,
    /// Its number in the case.
    number: usize,
    /// Its name, with those of the branches around it; the steps of the case have none.
    name: Option<String>,
    /// The case's deadline.
    deadline: Instant,
    interrupt: Interrupt,
    /// Whether these are the steps of `finally`.
    finally: bool,
    /// The current round of each enclosing loop, by its `index`.
    rounds: Map<String, Value>,
}

impl Drop for Branch<'_, '_> {
    fn drop(&mut self) {
        self.common.troubles.ended(self.number);
    }
}

impl<'r, 'c> Branch<'r, 'c> {
    /// The steps of a case, or those of its `finally`.
    pub(super) fn of_case(
        common: &'r Common<'c>,
        deadline: Instant,
        interrupt: Interrupt,
        finally: bool,
    ) -> Self {
        Self { common, number: 0, name: None, deadline, interrupt, finally, rounds: Map::new() }
    }

    /// Runs blocks, and fails if there is trouble at their end.
    pub(super) async fn run(&mut self, blocks: &[Block], end: &FailureSite) -> Result<(), Stop> {
        self.run_blocks(blocks).await?;
        // Include what arrived together with the end of the last step.
        self.common.session.catch_up();
        self.check_trouble(end).await
    }

    /// Fails if there is trouble that no step has handled.
    async fn check_trouble(&self, site: &FailureSite) -> Result<(), Stop> {
        match self.common.troubles.cause(&self.common.session, self.number, None).await {
            Some((failure, _)) => Err(Stop::Failed(failure, Box::new(site.clone()))),
            None => Ok(()),
        }
    }

    pub(super) async fn run_blocks(&mut self, blocks: &[Block]) -> Result<(), Stop> {
        for block in blocks {
            match block {
                Block::Step(step) => self.run_step(step).await?,
                Block::RepeatUntil { at, until, timeout, when, index, steps } => {
                    if self.condition_holds(when, &FailureSite::plain(at))? {
                        let end = self.deadline.min(Instant::now() + self.scaled(*timeout));
                        self.repeat(until, end, index.as_ref(), steps).await?;
                    }
                }
                Block::Parallel { at, when, branches, .. } => {
                    let site = FailureSite::plain(at);
                    if self.condition_holds(when, &site)? {
                        self.parallel(branches, &site).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn scaled(&self, timeout: Span) -> Duration {
        timeout.0.mul_f64(self.common.settings.slow)
    }

    /// Repeats steps until a condition is met after a round.
    async fn repeat(
        &mut self,
        until: &CaseStep,
        end: Instant,
        index: Option<&String>,
        steps: &[Block],
    ) -> Result<(), Stop> {
        let began = Instant::now();
        let session = &self.common.session;
        let running = Running::begin(session, end);
        if let Action::Wait(wait) = &until.step.action {
            wait.expect(&running);
        }
        let marks = running.marks;
        let outer = self.rounds.clone();
        for round in 1_u64.. {
            self.rounds.extend(index.map(|index| (index.clone(), round.into())));
            Box::pin(self.run_blocks(steps)).await?;
            let step = self.resolve(until)?;
            // QEMU must have time to answer a query sent just before the deadline.
            let mut running = Running::once(session, began, end + GRACE, marks.clone());
            let answer = tokio::select! {
                biased;
                signal = self.interrupt.wait() => return Err(Stop::Interrupted(signal)),
                answer = step.action.run(&mut running) => answer,
            };
            let Err(failure) = answer else { break };
            // If every step of the loop is skipped, nothing else checks for trouble.
            let site = FailureSite::of(until);
            self.check_trouble(&site).await?;
            if Instant::now() >= end {
                return Err(Stop::Failed(failure, Box::new(site)));
            }
            tokio::time::sleep(crate::step::LONGEST).await;
        }
        self.rounds = outer;
        Ok(())
    }

    /// Runs branches at the same time; the first failure drops the others.
    async fn parallel(&self, branches: &[(String, Vec<Block>)], site: &FailureSite) -> Result<(), Stop> {
        // What the step before has caused is now a matter of the branches.
        self.common.troubles.ended(self.number);
        let all = branches.iter().map(|(name, steps)| {
            let mut branch = self.branch(name);
            Box::pin(async move { branch.run(steps, site).await })
        });
        try_join_all(all).await.map(|_| ())
    }

    fn branch(&self, name: &str) -> Self {
        let outer = self.name.as_ref().map(|outer| format!("{outer}/")).unwrap_or_default();
        Self {
            common: self.common,
            number: self.common.branches.fetch_add(1, Ordering::Relaxed),
            name: Some(outer + name),
            deadline: self.deadline,
            interrupt: self.interrupt.clone(),
            finally: self.finally,
            rounds: self.rounds.clone(),
        }
    }

    /// Calls `resolve` with all values known at this point of the run.
    fn with_run_values<T>(&self, resolve: impl FnOnce(&RunValues<'_>) -> T) -> T {
        let Common { case, session, binaries, .. } = self.common;
        let (run, names) = (session.run_values(), session.names());
        let versions = CaseVersions { case, binaries };
        let (rounds, dir) = (&self.rounds, session.directory());
        resolve(&RunValues { run: &run, names: &names, rounds, dir, versions: &versions })
    }

    fn condition_holds(&self, when: &[When], site: &FailureSite) -> Result<bool, Stop> {
        self.with_run_values(|values| resolve_when(self.common.case, when, values))
            .map_err(|why| Stop::Failed(Failure::error(why.to_string()), Box::new(site.clone())))
    }

    fn resolve(&self, step: &CaseStep) -> Result<Step, Stop> {
        let mut resolved = self
            .with_run_values(|values| resolve_step(self.common.case, step, values))
            .map_err(|why| Stop::Failed(Failure::error(why.to_string()), Box::new(FailureSite::of(step))))?;
        resolved.action = resolved.action.bound(&self.common.session.roles());
        Ok(resolved)
    }

    async fn run_step(&mut self, step: &CaseStep) -> Result<(), Stop> {
        let own_title = step.step.title();
        let title =
            self.name.as_ref().map_or_else(|| own_title.clone(), |name| format!("{name}: {own_title}"));
        let place = step.at.to_string();
        let open = OpenStep::begin(self.common, title, &place, self.finally);
        let result = match self.condition_holds(&step.when, &FailureSite::of(step)) {
            Ok(false) => {
                open.end(StepOutcome::Skipped, None);
                return Ok(());
            }
            Ok(true) => {
                if self.common.settings.step_by_step && self.name.is_none() {
                    let text = format!("next: {own_title} ({place}); press Enter to continue ");
                    self.deadline += pause::for_enter(&text, &self.interrupt).await;
                }
                self.execute(step, Instant::now()).await
            }
            Err(stop) => Err(stop),
        };
        match &result {
            Ok(()) => {
                open.end(StepOutcome::Done, None);
                self.common.step_ended(&place).await;
            }
            Err(Stop::Failed(failure, _)) => open.end(StepOutcome::Failed, Some(failure.to_string())),
            Err(Stop::Interrupted(signal)) => {
                open.end(StepOutcome::Failed, Some(format!("interrupted by {signal}")));
            }
        }
        result
    }

    async fn execute(&self, case_step: &CaseStep, began: Instant) -> Result<(), Stop> {
        let session = &self.common.session;
        let step = self.resolve(case_step)?;
        if let Action::Start(Start(names)) = &step.action {
            self.complete_plans(&names.0, &FailureSite::of(case_step))?;
        }
        self.common.troubles.began(self.number, &step);
        let deadline = self.deadline.min(began + self.scaled(step.timeout));
        let result = self.act(&step, deadline).await?;
        let (mut result, migrating) = self.with_trouble(result, &step.action).await;
        if deadline == self.deadline && Instant::now() >= deadline {
            let note = format!("the case's timeout of {} expired", Span(self.common.case.timeout));
            result = result.map_err(|failure| failure.noted(&note));
        }
        if let Some(expression) = &step.expect_error {
            result = expected(result, expression, &step.title());
            if result.is_ok() {
                migrating.iter().for_each(|vm| session.board().forgive_migration(vm));
            }
        }
        match result {
            Ok(value) => {
                if let Some(name) = &step.capture {
                    session.capture([(name.clone(), value)].into_iter().collect());
                }
                Ok(())
            }
            Err(failure) => Err(Stop::Failed(failure, Box::new(FailureSite::of(case_step)))),
        }
    }

    /// Runs the action until it ends, there is trouble, or the deadline has passed.
    async fn act(&self, step: &Step, deadline: Instant) -> Result<Result<Value, Failure>, Stop> {
        let (session, troubles) = (&self.common.session, &self.common.troubles);
        let mut seen = 0;
        let mut running = Running::begin(session, deadline);
        let acting = step.action.run(&mut running);
        tokio::pin!(acting);
        loop {
            tokio::select! {
                biased;
                signal = self.interrupt.wait() => return Err(Stop::Interrupted(signal)),
                result = &mut acting => return Ok(result),
                trouble = session.board().trouble(seen) => {
                    if troubles.fails(seen, &trouble, session.board(), self.number, Some(&step.action)) {
                        return Ok(Err(trouble.failure()));
                    }
                    seen += 1;
                }
                () = tokio::time::sleep_until(deadline + GRACE) => {
                    let message = format!("the step did not finish by its deadline: {}", step.title());
                    return Ok(Err(Failure::late(message)));
                }
            }
        }
    }

    /// The result of an action, or the trouble that came up meanwhile: it is the cause, whatever the step noticed first.
    /// Also returns the VMs whose migration has failed.
    async fn with_trouble(
        &self,
        result: Result<Value, Failure>,
        action: &Action,
    ) -> (Result<Value, Failure>, Vec<String>) {
        let session = &self.common.session;
        if result.is_err() {
            session.await_exits().await;
        }
        match self.common.troubles.cause(session, self.number, Some(action)).await {
            Some((cause, migrating)) => {
                let cause = match result {
                    Err(own) => cause.then(own),
                    Ok(_) => cause,
                };
                (Err(cause), migrating)
            }
            None => (result, Vec::new()),
        }
    }

    /// Completes the plans of VMs that depend on values of the run, now that these are known.
    fn complete_plans(&self, names: &[String], site: &FailureSite) -> Result<(), Stop> {
        let Common { case, session, binaries, settings, .. } = self.common;
        let stop = |message: String| Stop::Failed(Failure::error(message), Box::new(site.clone()));
        let mut plans = IndexMap::clone(&session.plans());
        let is_late = |vm: &VmSource| vm.template.is_some();
        for name in names.iter().filter(|name| case.vm_sources.get(*name).is_some_and(is_late)) {
            let Some(spec) = self
                .with_run_values(|values| resolve_vm(case, name, values))
                .map_err(|why| stop(why.to_string()))?
            else {
                continue;
            };
            let plan = plan(name, spec, binaries, settings).map_err(|why| stop(why.reason))?;
            plans.insert(name.clone(), plan);
            choose_machine_types(&mut plans).map_err(|why| stop(why.reason))?;
        }
        session.set_plans(plans);
        Ok(())
    }
}

/// A step that has begun. If it is dropped, it was cut off by the failure of another branch.
struct OpenStep<'r> {
    sink: &'r Sink,
    number: usize,
    began: Instant,
    has_ended: bool,
}

impl<'r> OpenStep<'r> {
    fn begin(common: &'r Common<'_>, title: String, place: &str, finally: bool) -> Self {
        let (sink, number) = (common.session.sink(), common.steps.fetch_add(1, Ordering::Relaxed) + 1);
        sink.emit(What::StepBegan { step: number, title, place: place.to_owned(), finally });
        Self { sink, number, began: Instant::now(), has_ended: false }
    }

    fn end(mut self, outcome: StepOutcome, message: Option<String>) {
        self.emit(outcome, message);
    }

    fn emit(&mut self, outcome: StepOutcome, message: Option<String>) {
        self.has_ended = true;
        let seconds = self.began.elapsed().as_secs_f64();
        self.sink.emit(What::StepEnded { step: self.number, outcome, message, seconds });
    }
}

impl Drop for OpenStep<'_> {
    fn drop(&mut self) {
        if !self.has_ended && !std::thread::panicking() {
            self.emit(StepOutcome::Cancelled, None);
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
