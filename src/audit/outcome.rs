//! What came of a trial, and of an audit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::sabotage::{Sabotage, Shows};
use super::site::Site;
use super::trial::Done;
use crate::cause::CauseKind;
use crate::event::{CaseEnd, Verdict};

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noticed {
    /// The case failed.
    Caught,
    /// The case failed, but only a deadline noticed what a check could have known at once.
    Late,
    /// The case passed.
    Unnoticed,
    /// The sabotage was not done: its moment did not come, or it was impossible.
    NotDone,
}

impl Noticed {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Late => "late",
            Self::Unnoticed => "unnoticed",
            Self::NotDone => "not done",
        }
    }
}

/// A trial with its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// The sabotage.
    pub sabotage: String,
    /// What it was done to: the kind.
    pub kind: String,
    /// What it does.
    pub does: String,
    /// The VM, the link or the client.
    pub target: String,
    /// The moment.
    pub moment: String,
    /// Identifies the site within the case.
    pub key: String,
    /// What came of it.
    pub noticed: Noticed,
    /// The step that noticed it, or why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long after the sabotage, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// What nothing looks at, if it is unnoticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// The step that would notice it at once.
    pub hint: String,
}

/// The end of a trial's case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// The result.
    pub end: Option<CaseEnd>,
    /// The failed step: its number and its title.
    pub step: Option<(usize, String)>,
    /// When it failed, in seconds of the run.
    pub at: f64,
}

impl Outcome {
    /// Judges a trial.
    pub(crate) fn of(case: &str, sabotage: &Sabotage, site: &Site, done: &Done, ending: &Ending) -> Self {
        let end = ending.end.as_ref();
        let verdict = end.map_or(Verdict::Error, |end| end.verdict);
        let cause = end.and_then(|end| end.cause.as_ref()).map(|cause| cause.kind);
        let noticed = match (done, verdict) {
            (Done::NotYet | Done::Failed(_), _) => Noticed::NotDone,
            (_, Verdict::Fail | Verdict::Error | Verdict::Flaky)
                if cause == Some(CauseKind::Timeout) && sabotage.shows == Shows::AtOnce =>
            {
                Noticed::Late
            }
            (_, Verdict::Fail | Verdict::Error | Verdict::Flaky) => Noticed::Caught,
            (_, Verdict::Pass | Verdict::Xfail) => Noticed::Unnoticed,
            (_, Verdict::Skip) => Noticed::NotDone,
        };
        let was_noticed = matches!(noticed, Noticed::Caught | Noticed::Late);
        let by = match (done, &ending.step) {
            (Done::Failed(why), _) => Some(why.clone()),
            (Done::NotYet, _) => Some("its moment did not come".to_owned()),
            (_, Some((number, title))) if was_noticed => Some(format!("step {number} ({title})")),
            _ if was_noticed => Some("the runner".to_owned()),
            _ => None,
        };
        let after = match done {
            Done::At(at) if was_noticed => Some((ending.at - at).max(0.0)),
            _ => None,
        };
        let message = end.and_then(|end| end.reason.clone()).filter(|_| was_noticed);
        Self {
            case: case.to_owned(),
            sabotage: sabotage.name.to_owned(),
            kind: sabotage.kind.name().to_owned(),
            does: sabotage.does.to_owned(),
            target: site.target.clone(),
            moment: site.moment(),
            key: site.key(),
            noticed,
            by,
            message: message.map(|text| text.lines().next().unwrap_or_default().to_owned()),
            after,
            blind: (noticed == Noticed::Unnoticed).then(|| sabotage.blind(site)),
            hint: sabotage.hint(site),
        }
    }

    /// What an author does about it: one sentence.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self.noticed {
            Noticed::Unnoticed => Some(format!(
                "nothing looks at {} {}; `{}` would",
                self.blind.as_deref().unwrap_or("it"),
                self.moment,
                self.hint
            )),
            Noticed::Late => Some(format!(
                "only a deadline noticed it, in {}; `{}` would at once",
                self.by.as_deref().unwrap_or("a step"),
                self.hint
            )),
            Noticed::Caught | Noticed::NotDone => None,
        }
    }
}

/// The audit of a case.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CaseAudit {
    /// The case.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Why it was not audited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The trials.
    pub trials: Vec<Outcome>,
    /// How many sites each rule leaves out, by its name.
    pub left_out: BTreeMap<Rule, usize>,
    /// How many sites were not tried, for lack of time or by `--sites`.
    pub not_tried: usize,
}

/// How many trials came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many were caught, those that were late included.
    pub caught: usize,
    /// How many of them were late.
    pub late: usize,
    /// How many were not noticed.
    pub unnoticed: usize,
    /// How many were not done.
    pub not_done: usize,
}

impl Tally {
    /// Of some trials.
    pub fn of<'o>(trials: impl IntoIterator<Item = &'o Outcome>) -> Self {
        let mut tally = Self::default();
        for trial in trials {
            match trial.noticed {
                Noticed::Caught => tally.caught += 1,
                Noticed::Late => {
                    tally.caught += 1;
                    tally.late += 1;
                }
                Noticed::Unnoticed => tally.unnoticed += 1,
                Noticed::NotDone => tally.not_done += 1,
            }
        }
        tally
    }

    /// How many were done.
    #[must_use]
    pub const fn tried(&self) -> usize {
        self.caught + self.unnoticed
    }

    /// The share that was caught, in percent; none if none was done.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        (self.tried() > 0).then(|| 100.0 * self.caught as f64 / self.tried() as f64)
    }

    /// The score as text: `97%`, rounded down, so that only all of them are `100%`.
    #[must_use]
    pub fn shown(&self) -> String {
        self.score().map_or_else(|| "-".to_owned(), |score| format!("{}%", score.floor()))
    }
}

/// An audit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Lockstep's version.
    pub lockstep: String,
    /// The versions of the QEMUs.
    pub qemus: Vec<String>,
    /// When it began, in RFC 3339, UTC.
    pub time: String,
    /// The seed of the sample.
    pub seed: u64,
    /// How long it took, in seconds; the last part, if it was continued.
    pub seconds: f64,
    /// The cases.
    pub cases: Vec<CaseAudit>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Audit {
    /// Every trial.
    pub fn trials(&self) -> impl Iterator<Item = &Outcome> {
        self.cases.iter().flat_map(|case| &case.trials)
    }

    /// Of all trials.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::of(self.trials())
    }

    /// How many sites each rule leaves out.
    #[must_use]
    pub fn left_out(&self) -> BTreeMap<Rule, usize> {
        let mut all = BTreeMap::new();
        for (rule, count) in self.cases.iter().flat_map(|case| &case.left_out) {
            *all.entry(*rule).or_default() += count;
        }
        all
    }

    /// How many sites were not tried.
    #[must_use]
    pub fn not_tried(&self) -> usize {
        self.cases.iter().map(|case| case.not_tried).sum()
    }
}
