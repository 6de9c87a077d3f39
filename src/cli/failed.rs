//! The failed cases of an earlier run.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::bail;

use crate::event::Verdict;
use crate::report::{Case, Fold, read};

/// The cases that failed, had an error or were flaky.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Their names.
    pub(super) names: HashSet<String>,
    /// Their files, as that run named them.
    pub(super) files: BTreeSet<String>,
}

impl Failed {
    /// Adds those of a run: a reports directory or an event stream. A note says if that run did not finish.
    ///
    /// # Errors
    /// When the run cannot be read, or no case failed.
    pub(super) fn add(&mut self, run: &Path) -> anyhow::Result<()> {
        let before = self.names.len();
        let mut fold = Fold::default();
        for event in read(super::events_of(run))? {
            if let Some(case) = fold.take(&event?) {
                self.note(&case);
            }
        }
        let trouble = fold.trouble();
        fold.cut_off().iter().for_each(|case| self.note(case));
        if let Some(trouble) = trouble {
            anstream::eprintln!("note: {}: {trouble}", run.display());
        }
        if self.names.len() == before {
            bail!("no case failed in the run in {}", run.display());
        }
        Ok(())
    }

    fn note(&mut self, case: &Case) {
        if case.verdict().is_bad() || case.verdict() == Verdict::Flaky {
            self.names.insert(case.name.clone());
            self.files.insert(case.file.clone());
        }
    }
}
