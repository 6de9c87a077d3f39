//! Runs a case and turns the outcome into a result.

use std::path::PathBuf;

use tokio::time::Instant;

use super::branch::{Branch, Common, Stop};
use super::failure_site::FailureSite;
use super::pause;
use super::settings::{Interrupt, Keep};
use super::verdict::{Before, Judgement, judge};
use crate::event::{CaseEnd, Verdict, What};
use crate::qemu::credential::make;
use crate::qemu::network::of_wire;
use crate::scenario::to_yaml;
use crate::session::artifacts::Artifacts;
use crate::session::{Failure, metrics};
use crate::step::DEFAULT_TIMEOUT;

/// Runs a case.
pub(super) struct CaseRunner<'c> {
    common: Common<'c>,
    interrupt: Interrupt,
    /// The artifacts directory, below the reports.
    artifacts_dir: PathBuf,
    before: Before,
}

impl<'c> CaseRunner<'c> {
    pub(super) fn new(
        common: Common<'c>,
        interrupt: &Interrupt,
        artifacts_dir: PathBuf,
        before: Before,
    ) -> Self {
        Self { common, interrupt: interrupt.clone(), artifacts_dir, before }
    }

    /// Runs the case; also returns whether to run it again before the result counts.
    pub(super) async fn run(self, began: Instant) -> (CaseEnd, bool) {
        let timeout = self.common.case.timeout.mul_f64(self.common.settings.slow);
        let mut outcome = self.run_steps(began + timeout).await;
        let finally = self.run_finally(Instant::now() + timeout).await;
        if outcome.is_ok() {
            outcome = finally;
        }
        self.finish(outcome, began).await
    }

    /// `finally` always runs, with its own time limit and without interrupts. (A second signal ends the process.)
    async fn run_finally(&self, deadline: Instant) -> Result<(), Stop> {
        Branch::of_case(&self.common, deadline, Interrupt::never(), true)
            .run_blocks(&self.common.case.finally)
            .await
    }

    async fn run_steps(&self, deadline: Instant) -> Result<(), Stop> {
        // The network must exist before the VMs connect to it.
        let plans = self.common.session.plans();
        let wires: Vec<String> = plans.keys().filter(|name| of_wire(name).is_some()).cloned().collect();
        let first = plans.values().filter(|plan| plan.spec.start);
        let first: Vec<String> = first.map(|plan| plan.name.clone()).collect();
        let ready = deadline.min(Instant::now() + DEFAULT_TIMEOUT.0.mul_f64(self.common.settings.slow));
        let started = tokio::select! {
            started = async {
                make(&self.common.case.credentials, self.common.session.directory())
                    .map_err(|error| Failure::error(format!("cannot create the credentials: {error}")))?;
                self.common.session.make_disks(ready).await?;
                self.common.session.start(&wires, ready).await?;
                self.common.session.start(&first, ready).await
            } => started,
            signal = self.interrupt.wait() => return Err(Stop::Interrupted(signal)),
        };
        started.map_err(|failure| {
            let vm = failure.vm().and_then(|vm| self.common.case.vm_sources.get(vm));
            let at = vm.map_or(&self.common.case.at, |vm| &vm.at);
            Stop::Failed(failure, Box::new(FailureSite::plain(at)))
        })?;
        self.common.step_ended("").await;
        let mut steps = Branch::of_case(&self.common, deadline, self.interrupt.clone(), false);
        steps.run(&self.common.case.steps, &FailureSite::plain(&self.common.case.at)).await
    }

    /// Collects the evidence, tears everything down, and determines the verdict.
    async fn finish(self, outcome: Result<(), Stop>, began: Instant) -> (CaseEnd, bool) {
        if let Some(interference) = self.common.session.board().interference() {
            interference.over();
        }
        if outcome.is_ok() {
            metrics::query_migrations(&self.common.session).await;
        }
        metrics::emit(&self.common.session);
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
            judge(&outcome, names, self.common.case, self.before)
        };
        // A known issue needs the same evidence as a failure.
        let is_wrong = struck.is_some() || verdict.is_bad();
        let site = site.as_deref();
        let mut evidence = None;
        if is_wrong && !interrupted {
            // The reason of an excused attempt is the known issue's; show the failure itself.
            let failure = outcome.as_ref().err().filter(|_| verdict == Verdict::Xfail);
            evidence = Some(self.evidence(failure, site).await);
            let title = format!("{verdict}: {}", self.common.case.name);
            self.pause(&title, reason.as_deref().unwrap_or_default(), site).await;
        }
        let wanted = match self.common.settings.keep {
            Keep::Always => true,
            Keep::OnFailure => is_wrong,
            Keep::Never => false,
        };
        let artifacts = if wanted { self.keep_artifacts(evidence.clone()).await } else { None };
        self.common.session.close().await;
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
            text.push_str(&(site.description(self.common.case) + "\n"));
        }
        text + &self.common.session.state_and_output().await
    }

    /// With `--pause-on-failure`: waits for Enter before the VMs are stopped.
    async fn pause(&self, title: &str, reason: &str, site: Option<&FailureSite>) {
        if self.common.settings.pause_on_failure {
            let place = site.map(|site| site.at.to_string()).unwrap_or_default();
            let how = pause::how_to_attach(&self.common.session);
            let text = format!("{title}\n{reason}\n{place}\n{how}Press Enter to stop the VMs ");
            pause::for_enter(&text, &self.interrupt).await;
        }
    }

    /// Saves the artifacts; returns their directory, or notes why they cannot be saved.
    async fn keep_artifacts(&self, evidence: Option<String>) -> Option<PathBuf> {
        let folder = self.common.settings.reports.join(&self.artifacts_dir);
        let note = |text| self.common.session.sink().emit(What::Note { text });
        let artifacts = Artifacts::of(
            &self.common.session,
            to_yaml(self.common.case),
            &self.common.case.artifacts,
            evidence,
        );
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
