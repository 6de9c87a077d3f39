//! Cases over many runs: changed verdicts, failure rates, durations and metrics.

mod change;
mod findings;
mod page;
mod run;
mod words;

use indexmap::IndexMap;

pub use self::findings::{Findings, Intermittent, Moved, Turned};
pub use self::page::page;
pub use self::run::{Cell, Run};
pub use self::words::{Format, render};

/// Runs in the order of their times.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The runs, the oldest first.
    pub runs: Vec<Run>,
    /// The results of each case, one for each run that has it: the index of the run and the result.
    cases: IndexMap<String, Vec<(usize, Cell)>>,
}

impl History {
    /// The history of some runs, in any order.
    #[must_use]
    pub fn new(mut runs: Vec<Run>) -> Self {
        runs.sort_by(|one, other| (&one.time, &one.name).cmp(&(&other.time, &other.name)));
        let mut cases: IndexMap<String, Vec<(usize, Cell)>> = IndexMap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            for (case, cell) in std::mem::take(&mut run.cells) {
                cases.entry(case).or_default().push((index, cell));
            }
        }
        cases.sort_keys();
        Self { runs, cases }
    }

    /// How many cases there are.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.cases.len()
    }

    /// The change of QEMU from one run to another: `QEMU 11.1.2 → 11.1.3`, or the one QEMU of both.
    fn qemus(&self, before: usize, after: usize) -> String {
        match (&self.runs[before].qemus, &self.runs[after].qemus) {
            (one, other) if one == other => format!("QEMU {one}"),
            (one, other) => format!("QEMU {one} → {other}"),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
