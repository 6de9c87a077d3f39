//! The rounds of a case side by side: what happened in those that failed and not in those that passed.
//!
//! `marks.rs` turns the events of a round into marks, `table.rs` aligns those of all rounds, `features.rs` lists what
//! differs, `rank.rs` says which of that is telling, and `pair.rs` shows two rounds next to each other.

mod features;
mod marks;
mod pair;
mod rank;
mod set;
mod table;

use std::collections::HashMap;

use anyhow::bail;
use indexmap::IndexMap;
use serde::Serialize;

use crate::cause::CauseKind;
use crate::event::{Again, CaseEnd, Event, Verdict, What};
use crate::report::compare::Rendering;
use crate::report::text;
use marks::{Failure, Id, Mark, Names, Recorder};
use pair::Pair;
pub use rank::Finding;
use rank::{Ranking, rank};
use table::Table;

/// How many rounds of a case are kept that passed, and that failed.
const KEPT: usize = 500;
/// How many marks of all rounds are kept.
const MARKS: usize = 4_000_000;

/// What rounds are aligned at: its first occurrence in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// `x-colo-lost-heartbeat`.
    Failover,
    /// `yank`.
    Yank,
    /// The first migration status `colo`.
    Colo,
    /// `migrate`.
    Migration,
    /// The start of the round.
    Start,
}

impl std::fmt::Display for Align {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failover => "the failover",
            Self::Yank => "the yank",
            Self::Colo => "the entry into COLO",
            Self::Migration => "the migration",
            Self::Start => "the start",
        })
    }
}

/// The rounds of all cases of a run, or of two. A repeated attempt at a case is a round too.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    names: Names,
    open: HashMap<usize, Open>,
    cases: IndexMap<String, Case>,
    run: usize,
    marks: usize,
}

/// A round that has not ended.
#[derive(Debug, Clone)]
struct Open {
    case: String,
    round: Option<usize>,
    attempt: usize,
    recorder: Recorder,
}

/// The rounds of a case.
#[derive(Debug, Clone, Default)]
struct Case {
    /// Its name without the QEMU.
    name: String,
    /// Whether it is in run A, and in run B.
    is_in: [bool; 2],
    rounds: Vec<Round>,
    left_out: usize,
}

/// A round that has ended.
#[derive(Debug, Clone)]
struct Round {
    run: usize,
    round: Option<usize>,
    attempt: usize,
    failed: bool,
    /// Up to the failure.
    marks: Vec<Mark>,
    failure: Failure,
    reason: String,
}

/// What tells the failing rounds of a case from the passing ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseFindings {
    /// The case's name, with its QEMU if there are several.
    pub case: String,
    /// How many rounds failed.
    pub failing: usize,
    /// How many rounds passed.
    pub passing: usize,
    /// What is telling, the strongest first; empty if all that differs may be chance.
    pub findings: Vec<Finding>,
}

/// The rounds of one case, compared.
#[derive(Debug, Serialize)]
pub struct Contrast {
    case: String,
    align: Align,
    failing: usize,
    passing: usize,
    /// How many more rounds there are, which are not used.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
    findings: Vec<Finding>,
    /// What differs most, if nothing is telling.
    by_chance: Vec<Finding>,
    pair: Pair,
}

const fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Rounds {
    /// Processes an event.
    pub fn take(&mut self, event: &Event) {
        let Some(number) = event.case else { return };
        match &event.what {
            What::CaseStarted { name, qemu, round, .. } => {
                let title = qemu.as_ref().map_or_else(|| name.clone(), |qemu| format!("{name} on {qemu}"));
                let case = self.cases.entry(title.clone()).or_default();
                case.name.clone_from(name);
                case.is_in[self.run] = true;
                let recorder = Recorder::new(event.at);
                self.open.insert(number, Open { case: title, round: *round, attempt: 1, recorder });
            }
            What::AttemptEnded { again, end, .. } => {
                let Some(open) = self.open.get_mut(&number) else { return };
                let recorder = std::mem::replace(&mut open.recorder, Recorder::new(event.at));
                let ended = Open { case: open.case.clone(), recorder, ..*open };
                open.attempt += 1;
                if *again != Again::PortTaken {
                    let failed = failed(end, &ended.recorder);
                    self.ended(ended, failed, end, event.at);
                }
            }
            What::CaseEnded(end) => {
                let Some(open) = self.open.remove(&number) else { return };
                let failed = match end.verdict {
                    Verdict::Skip => return,
                    // The last attempt passed; this is the end of an earlier one.
                    Verdict::Flaky => false,
                    Verdict::Xfail if end.struck.is_some() => false,
                    _ => failed(end, &open.recorder),
                };
                self.ended(open, failed, end, event.at);
            }
            _ => {
                if let Some(open) = self.open.get_mut(&number) {
                    open.recorder.take(&mut self.names, event);
                }
            }
        }
    }

    /// From now on the events are those of run B.
    pub fn next_run(&mut self) {
        self.open.clear();
        self.run = 1;
    }

    fn ended(&mut self, open: Open, failed: bool, end: &CaseEnd, at: f64) {
        let case = self.cases.entry(open.case).or_default();
        let alike = case.rounds.iter().filter(|round| round.failed == failed).count();
        if alike >= KEPT || self.marks >= MARKS {
            case.left_out += 1;
            return;
        }
        let (mut marks, failure) = open.recorder.end(at);
        if end.verdict == Verdict::Error && marks.is_empty() {
            // It was not started.
            return;
        }
        if failed {
            marks.retain(|mark| mark.at <= failure.at);
            if let Some(at) = report(&marks, &self.names, end) {
                marks.remove(at);
            }
        }
        self.marks += marks.len();
        let what = end.cause.as_ref().map(|cause| &cause.what).or(end.reason.as_ref());
        let reason = what.filter(|_| failed).map(|what| text::one_line(what)).unwrap_or_default();
        let (run, round, attempt) = (self.run, open.round, open.attempt);
        case.rounds.push(Round { run, round, attempt, failed, marks, failure, reason });
    }

    /// The name of each case of run A (0) or B (1), with and without its QEMU.
    pub fn cases(&self, run: usize) -> impl Iterator<Item = (&str, &str)> {
        let of_run = self.cases.iter().filter(move |(_, case)| case.is_in[run]);
        of_run.map(|(title, case)| (title.as_str(), case.name.as_str()))
    }

    /// What is telling, for each case with failing and passing rounds.
    #[must_use]
    pub fn findings(&self) -> Vec<CaseFindings> {
        let both = self.cases.iter().filter_map(|(title, case)| {
            let (failing, passing) = case.counts();
            let findings = (failing > 0 && passing > 0).then(|| {
                let rounds: Vec<&Round> = case.rounds.iter().collect();
                rank(&Table::new(&self.names, &rounds, case.align(&self.names))).telling
            })?;
            Some(CaseFindings { case: title.clone(), failing, passing, findings })
        });
        both.collect()
    }

    /// Compares the rounds of a case; `align` is chosen if it is not given.
    ///
    /// # Errors
    /// When there is only one round, or none can be aligned at that.
    pub fn contrast(&self, title: &str, align: Option<Align>) -> anyhow::Result<Contrast> {
        let none = Case::default();
        let case = self.cases.get(title).unwrap_or(&none);
        let (failing, passing) = case.counts();
        match failing + passing {
            0 => bail!("no round of `{title}` ran to its end"),
            1 => bail!(
                "only one round of `{title}` ran to its end, and a comparison needs two: give another run, or repeat \
                 the case with `lockstep run --repeat 20`"
            ),
            _ => {}
        }
        let align = match align {
            None => case.align(&self.names),
            Some(align) => {
                let can =
                    |align: Align| case.rounds.iter().any(|round| round.origin(&self.names, align).is_some());
                if !can(align) {
                    let all = [Align::Failover, Align::Yank, Align::Colo, Align::Migration, Align::Start];
                    let known: Vec<String> =
                        all.into_iter().filter(|align| can(*align)).map(|align| align.to_string()).collect();
                    bail!(
                        "no round of `{title}` can be aligned at {align}; the marks are: {}",
                        known.join(", ")
                    );
                }
                align
            }
        };
        let rounds: Vec<&Round> = case.rounds.iter().collect();
        let table = Table::new(&self.names, &rounds, align);
        let Ranking { telling, by_chance } = rank(&table);
        let best = telling.first().or(by_chance.first()).and_then(|finding| finding.example);
        let pair = Pair::new(&table, best);
        let (case, left_out) = (title.to_owned(), case.left_out);
        Ok(Contrast { case, align, failing, passing, left_out, findings: telling, by_chance, pair })
    }
}

/// Whether something failed in a round, whatever the verdict on that is: a known issue excuses a failure, and a
/// negative control passes with one.
fn failed(end: &CaseEnd, recorder: &Recorder) -> bool {
    let has_failed = end.cause.is_some() || recorder.has_failed_step();
    has_failed || matches!(end.verdict, Verdict::Error | Verdict::Xfail)
}

/// The mark by which the runner learned of the failure: it says only that there was one.
fn report(marks: &[Mark], names: &Names, end: &CaseEnd) -> Option<usize> {
    let cause = end.cause.as_ref()?;
    let kinds = [CauseKind::Exit, CauseKind::Migration, CauseKind::Guest, CauseKind::Qmp];
    let vm = cause.vm.as_ref().filter(|_| kinds.contains(&cause.kind))?;
    marks.iter().rposition(|mark| names.get(mark.name).1.lane == *vm)
}

impl Case {
    /// How many rounds failed, and how many passed.
    fn counts(&self) -> (usize, usize) {
        let failing = self.rounds.iter().filter(|round| round.failed).count();
        (failing, self.rounds.len() - failing)
    }

    /// The latest of the marks that most of the failing and most of the passing rounds have.
    fn align(&self, names: &Names) -> Align {
        let (failing, passing) = self.counts();
        let most = |align: Align| {
            let of = |failed: bool| {
                let rounds = self.rounds.iter().filter(|round| round.failed == failed);
                rounds.filter(|round| round.origin(names, align).is_some()).count()
            };
            of(true) * 2 >= failing && of(false) * 2 >= passing
        };
        let all = [Align::Failover, Align::Yank, Align::Colo, Align::Migration];
        all.into_iter().find(|align| most(*align)).unwrap_or(Align::Start)
    }
}

impl Round {
    /// When it reached this, in seconds since its start.
    fn origin(&self, names: &Names, align: Align) -> Option<f64> {
        if align == Align::Start {
            return Some(0.0);
        }
        self.marks.iter().find(|mark| names.get(mark.name).1.align == Some(align)).map(|mark| mark.at)
    }

    /// The time of an occurrence of a mark, counted from 1.
    fn nth(&self, name: Id, count: usize) -> Option<f64> {
        self.marks.iter().filter(|mark| mark.name == name).nth(count.checked_sub(1)?).map(|mark| mark.at)
    }

    /// How often each mark occurs.
    fn counts(&self) -> HashMap<Id, usize> {
        let mut counts = HashMap::new();
        self.marks.iter().for_each(|mark| *counts.entry(mark.name).or_default() += 1);
        counts
    }

    /// `B, round 7, attempt 2`; the run if there are two.
    fn title(&self, has_two_runs: bool) -> String {
        let run = has_two_runs.then(|| ["A", "B"][self.run.min(1)].to_owned());
        let round = self.round.map(|round| format!("round {round}"));
        let attempt = (self.attempt > 1).then(|| format!("attempt {}", self.attempt));
        let parts: Vec<String> = run.into_iter().chain(round).chain(attempt).collect();
        if parts.is_empty() { "attempt 1".to_owned() } else { parts.join(", ") }
    }
}

impl Contrast {
    /// The comparison as text, or as Markdown.
    #[must_use]
    pub fn render(&self, markdown: bool) -> String {
        let mut out = Rendering::new(markdown);
        let Self { case, align, failing, passing, .. } = self;
        let lead = if markdown { "## " } else { "" };
        let left_out = match self.left_out {
            0 => String::new(),
            more => format!(" ({more} more are left out)"),
        };
        out.line(&format!(
            "{lead}{case}: {failing} failing and {passing} passing rounds{left_out}, aligned at {align}"
        ));
        if markdown {
            out.line("");
        }
        let none = "nothing tells the failing from the passing rounds: what differs most may be chance";
        match (failing, passing) {
            (0, _) => out.line("no round failed: two that passed are shown"),
            (_, 0) => out.line("no round passed: two that failed are shown"),
            _ if self.by_chance.is_empty() && self.findings.is_empty() => {
                out.line("nothing tells the failing from the passing rounds: nothing differs");
            }
            _ if self.findings.is_empty() => out.line(none),
            _ => {}
        }
        if markdown && self.findings.is_empty() {
            out.line("");
        }
        for (number, finding) in self.findings.iter().chain(&self.by_chance).enumerate() {
            let indent = if markdown { "" } else { "  " };
            out.line(&format!("{indent}{}. {finding}", number + 1));
        }
        self.pair.render(&mut out, *align);
        out.text
    }
}

#[cfg(test)]
mod tests;
