//! Folds the events of each case into one record, for reports that show whole cases.
//!
//! Bounds the memory: drops serial lines and QMP traffic, keeps only the first and last steps, metrics and notes, and
//! truncates long texts.

use std::collections::BTreeMap;

use crate::cause::Cause;
use crate::event::{CaseEnd, Event, What};
use crate::report::record::{Case, Counts, Kept, Metric, Step};
use crate::report::text;

/// Folds a stream of events into records of cases.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    open: BTreeMap<usize, Case>,
    counts: Counts,
    selected: usize,
    time: Option<String>,
    last: f64,
    ended: Option<bool>,
    flaky_passes: bool,
}

impl Fold {
    /// Processes an event; returns the case that it ends, which is then dropped here.
    pub fn take(&mut self, event: &Event) -> Option<Case> {
        self.last = self.last.max(finite(event.at));
        match (&event.what, event.case) {
            (What::RunStarted { time, cases, flaky_passes, .. }, _) => {
                self.time = Some(time.clone());
                self.selected = *cases;
                self.flaky_passes = *flaky_passes;
            }
            (What::RoundBegan { cases, .. }, _) => self.selected += cases,
            (What::RunEnded { interrupted, .. }, _) => self.ended = Some(*interrupted),
            (What::CaseEnded(ended), Some(number)) => {
                let mut case = self.open.remove(&number).unwrap_or_else(|| Case::unknown(number, self.last));
                case.end = Some(end(ended));
                self.counts.add(case.verdict());
                return Some(case);
            }
            (What::CaseStarted { .. }, Some(number)) => {
                self.open.insert(number, started(number, event));
            }
            (what, Some(number)) => {
                if let Some(case) = self.open.get_mut(&number) {
                    grow(case, what, finite(event.at));
                }
            }
            (_, None) => {}
        }
        None
    }

    /// Ends the cases that the stream left open; they are errors.
    pub fn cut_off(&mut self) -> Vec<Case> {
        let cut: Vec<Case> =
            std::mem::take(&mut self.open).into_values().map(|case| case.cut_off(self.last)).collect();
        for case in &cut {
            self.counts.add(case.verdict());
        }
        cut
    }

    /// The running cases, in the order of selection.
    #[must_use]
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Case> {
        self.open.values()
    }

    /// The verdicts of the finished cases.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a case that passes only on a retry counts as a success.
    #[must_use]
    pub const fn flaky_passes(&self) -> bool {
        self.flaky_passes
    }

    /// How many cases were selected.
    #[must_use]
    pub const fn selected(&self) -> usize {
        self.selected
    }

    /// How many selected cases have not run.
    #[must_use]
    pub fn not_run(&self) -> usize {
        self.selected.saturating_sub(self.counts.total() + self.open.len())
    }

    /// When the run started, according to the stream.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// The time of the latest event, in seconds since the start of the run.
    #[must_use]
    pub const fn last(&self) -> f64 {
        self.last
    }

    /// Whether an interrupt ended the run; `None` before its end.
    #[must_use]
    pub const fn interrupted(&self) -> Option<bool> {
        self.ended
    }

    /// What is wrong with the run as a whole, in one line: it was interrupted, or did not finish.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let what = match self.ended {
            Some(false) => return None,
            Some(true) => "the run was interrupted",
            None => "the run did not finish",
        };
        Some(match self.not_run() {
            0 => what.to_owned(),
            missing => format!("{what}: {missing} of {} cases did not run", self.selected),
        })
    }
}

/// The seconds, or 0 for an invalid duration.
fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.max(0.0) } else { 0.0 }
}

fn kept(text: Option<&String>, limit: usize) -> Option<String> {
    text.map(|text| text::cut(text, limit).into_owned())
}

fn started(number: usize, event: &Event) -> Case {
    let mut case = Case::unknown(number, finite(event.at));
    if let What::CaseStarted {
        name,
        file,
        line,
        description,
        tags,
        params,
        axes,
        qemu,
        round,
        host,
        steps,
        races,
    } = &event.what
    {
        case.name.clone_from(name);
        case.file.clone_from(file);
        case.line = *line;
        case.description.clone_from(description);
        case.tags.clone_from(tags);
        case.params.clone_from(params);
        case.axes.clone_from(axes);
        case.qemu.clone_from(qemu);
        case.round = *round;
        case.host.clone_from(host);
        case.planned = *steps;
        case.races.clone_from(races);
    }
    case
}

fn end(end: &CaseEnd) -> CaseEnd {
    CaseEnd {
        reason: kept(end.reason.as_ref(), text::LIMIT),
        evidence: kept(end.evidence.as_ref(), text::LIMIT),
        cause: end.cause.as_ref().map(|cause| Cause {
            what: text::cut(&cause.what, text::LIMIT).into_owned(),
            seen: kept(cause.seen.as_ref(), text::LIMIT),
            ..cause.clone()
        }),
        source: kept(end.source.as_ref(), text::LIMIT),
        seconds: finite(end.seconds),
        ..end.clone()
    }
}

fn grow(case: &mut Case, what: &What, at: f64) {
    match what {
        What::VmSpawned { vm, version, .. } => case.vms.push((vm.clone(), version.clone())),
        What::StepBegan { step, title, place, finally } => case.steps.push(Step {
            number: *step,
            title: title.clone(),
            place: place.clone(),
            finally: *finally,
            began: at,
            outcome: None,
            message: None,
            seconds: 0.0,
        }),
        What::StepEnded { step, outcome, message, seconds } => {
            // Search from the end: it is usually there.
            if let Some(known) = case.steps.iter_mut().rev().find(|known| known.number == *step) {
                known.outcome = Some(*outcome);
                known.message = kept(message.as_ref(), text::LINE_LIMIT);
                known.seconds = finite(*seconds);
            }
        }
        What::Metric { name, value, unit, vm, spread } => case.metrics.push(Metric {
            name: name.clone(),
            value: *value,
            unit: unit.clone(),
            vm: vm.clone(),
            spread: *spread,
        }),
        What::AttemptEnded { end: ended, .. } => {
            case.attempts.push(end(ended));
            // The next attempt repeats the same steps.
            case.vms = Kept::default();
            case.steps = Kept::default();
            case.metrics = Kept::default();
        }
        What::Note { text } => case.notes.push(text::cut(text, text::LINE_LIMIT).into_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Verdict;
    use crate::report::sample;

    #[test]
    fn the_events_of_a_case_become_one_record() {
        let mut fold = Fold::default();
        let ended: Vec<Case> = sample::run().iter().filter_map(|event| fold.take(event)).collect();
        let failed = &ended[1];
        assert_eq!(failed.name, "colo/plain/secondary_failover");
        assert_eq!(failed.verdict(), Verdict::Fail);
        assert_eq!(failed.reason(), Some("secondary: no event STOP within 30s"));
        assert_eq!(failed.steps.iter().count(), 2);
        assert_eq!(
            failed.steps.iter().last().and_then(|step| step.outcome),
            Some(crate::event::StepOutcome::Failed)
        );
        assert_eq!(failed.metrics.iter().count(), 1);
        assert_eq!(fold.counts().total(), ended.len());
        assert_eq!((fold.open().len(), fold.not_run()), (0, 0));
        assert_eq!(fold.trouble(), None);
    }

    #[test]
    fn a_case_without_an_end_is_an_error_at_the_step_it_was_in() {
        let mut fold = Fold::default();
        for event in sample::run().iter().take(5) {
            fold.take(event);
        }
        let cut = fold.cut_off();
        let end = cut[0].end.as_ref().unwrap();
        assert_eq!(end.verdict, Verdict::Error);
        assert_eq!(end.reason.as_deref(), Some("the run ended before the case finished"));
        assert_eq!(end.place.as_deref(), Some("scenarios/colo/failover.yaml:14:5"));
        assert!(fold.trouble().unwrap().contains("did not run"));
    }

    #[test]
    fn a_case_that_ends_without_a_start_is_counted() {
        let mut fold = Fold::default();
        let case = fold.take(&sample::skipped(7, "no KVM")).unwrap();
        assert_eq!((case.name.as_str(), case.reason()), ("case #7", Some("no KVM")));
        assert_eq!(fold.counts().skip, 1);
    }

    #[test]
    fn a_case_with_many_steps_needs_little_memory() {
        let mut fold = Fold::default();
        fold.take(&sample::started(0, "many", "many.yaml"));
        for number in 1..=100_000 {
            fold.take(&sample::step(0, number, "again"));
        }
        let case = fold.open().next().unwrap();
        assert_eq!(case.steps.iter().count() + case.steps.left_out(), 100_000);
        assert!(case.steps.iter().count() <= 1000);
        assert_eq!(case.current().map(|step| step.number), Some(100_000));
    }

    #[test]
    fn an_invalid_duration_counts_as_zero() {
        assert_eq!([f64::NAN, f64::INFINITY, -1.0, 2.5].map(finite), [0.0, 0.0, 0.0, 2.5]);
    }
}
