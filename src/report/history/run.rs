//! What a history keeps of a run.

use std::path::Path;

use anyhow::ensure;
use serde::Serialize;

use crate::event::{Event, Qemu, Spread, Verdict, What};
use crate::report::stats::{Repeated, Stats};
use crate::report::{Fold, read, text};

/// The kinds of events that say how cases ended.
const KINDS: &[&str] = &["round_began", "case_started", "attempt_ended", "metric", "case_ended", "run_ended"];

/// A run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    /// Its path.
    pub name: String,
    /// When it started, in RFC 3339, UTC.
    pub time: String,
    /// The versions of its QEMUs.
    pub qemus: String,
    /// Why it is incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The results of its cases; moved into the history.
    #[serde(skip)]
    pub(super) cells: Vec<(String, Cell)>,
}

/// The result of a case in a run.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The worst verdict of its rounds.
    pub verdict: Verdict,
    /// How many of its rounds did not pass.
    pub failed: usize,
    /// How many of its rounds ran.
    pub ran: usize,
    /// Why the first one did not pass.
    pub reason: Option<String>,
    /// The medians of what was measured, its duration first: the name with its VM, the unit, and the value.
    pub values: Vec<(String, String, f64)>,
}

impl Run {
    /// Reads a run from its event stream; without what is only of use within the run.
    ///
    /// # Errors
    /// When the stream cannot be read, or does not start.
    pub fn read(name: impl Into<String>, events: &Path) -> anyhow::Result<Self> {
        let mut run = Self { name: name.into(), ..Self::default() };
        let (mut fold, mut stats) = (Fold::default(), Stats::default());
        for event in read(events)?.only(KINDS) {
            run.take(&event?, &mut fold, &mut stats);
        }
        ensure!(!run.time.is_empty(), "{} is empty", events.display());
        run.trouble = fold.trouble();
        fold.cut_off().iter().for_each(|case| stats.add(case));
        let titled = |((name, qemu), case): ((String, Option<String>), Repeated)| {
            let title = qemu.map_or_else(|| name.clone(), |qemu| format!("{name} on {qemu}"));
            (text::one_line(&title), Cell::of(case))
        };
        run.cells = stats.cases.into_iter().map(titled).collect();
        Ok(run)
    }

    /// The results of its cases.
    pub fn results(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.cells.iter().map(|(case, cell)| (case.as_str(), cell))
    }

    fn take(&mut self, event: &Event, fold: &mut Fold, stats: &mut Stats) {
        if let What::RunStarted { time, qemus, .. } = &event.what {
            self.time.clone_from(time);
            self.qemus = match qemus.as_slice() {
                [] => "unknown".to_owned(),
                qemus => qemus.iter().map(version).collect::<Vec<_>>().join(", "),
            };
        }
        if let Some(case) = fold.take(event) {
            stats.add(&case);
        }
    }
}

/// The version of a QEMU, with that of its package, which tells builds of one version apart.
fn version(Qemu { version, package, .. }: &Qemu) -> String {
    if package.is_empty() { version.clone() } else { format!("{version} ({package})") }
}

impl Cell {
    fn of(case: Repeated) -> Self {
        let mut seconds = case.seconds.clone();
        let duration =
            Spread::of(&mut seconds).map(|spread| ("duration".to_owned(), "s".to_owned(), spread.median));
        let metrics = case.metrics.iter().filter_map(|((metric, vm), measured)| {
            let name = vm.as_ref().map_or_else(|| metric.clone(), |vm| format!("{metric} ({vm})"));
            Some((name, measured.unit.clone(), measured.spread()?.median))
        });
        let values = duration.into_iter().chain(metrics).collect();
        let (verdict, failed, ran) = (case.worst(), case.failed(), case.ran());
        Self { verdict, failed, ran, reason: case.reason.as_deref().map(text::one_line), values }
    }
}
