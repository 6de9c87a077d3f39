//! What everyone in a session looks at: that something changed, and the trouble that ends a step at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;
use tokio::sync::watch;

use super::failure::{Failure, Kind};
use crate::guest::ticker::Line;
use crate::qemu::network::of_wire;
use crate::qemu::process::Ended;

/// Something that ends whatever is being done, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A VM's process ended and nobody had asked for it.
    Died {
        /// The VM.
        vm: String,
        /// How.
        how: Ended,
    },
    /// The built-in guest found its memory wrong.
    Mismatch {
        /// The VM.
        vm: String,
        /// Its report.
        line: Line,
    },
    /// The guest said or did what only a guest in trouble does.
    Guest {
        /// The VM.
        vm: String,
        /// What it did, as a verb.
        did: &'static str,
        /// The line of its console, or the event.
        said: String,
    },
    /// A background process ended, and nothing had allowed that.
    ProcessEnded {
        /// Its name.
        name: String,
        /// How.
        how: Ended,
    },
    /// The migration failed (QMP event `MIGRATION`, status `failed`).
    MigrationFailed {
        /// The VM that said so.
        vm: String,
        /// Which migration of the case. The board fills it in.
        migration: u64,
    },
}

impl Trouble {
    /// The trouble of this number or a lower one explains that of a higher one, whichever became known first. A VM that a
    /// signal ended did not end because of another one; one with an exit status may have, as a destination does whose
    /// source has gone.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Died { how: Ended::Signal(_), .. } | Self::Mismatch { .. } | Self::Guest { .. } => 0,
            Self::Died { how: Ended::Status(_), .. } => 1,
            Self::ProcessEnded { .. } => 2,
            Self::MigrationFailed { .. } => 3,
        }
    }

    /// The trouble as the failure of the step it ends.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Died { vm, how } => match of_wire(vm) {
                Some(network) => {
                    Failure::failed(format!("the QEMU that runs network `{network}` died: {how}"))
                }
                None => Failure::failed(format!("VM `{vm}` died: {how}")),
            },
            Self::Mismatch { vm, line } => {
                Failure { kind: Kind::Corrupt, message: format!("VM `{vm}`: {line}") }
            }
            Self::Guest { vm, did, said } => Failure::failed(format!("the guest of VM `{vm}` {did}: {said}")),
            Self::ProcessEnded { name, how } => {
                Failure::failed(format!("process `{name}` ended, but no `exit` or `wait` allows that: {how}"))
            }
            Self::MigrationFailed { vm, .. } => {
                Failure::failed(format!("the migration failed, according to VM `{vm}`"))
            }
        }
    }
}

/// The board of a session.
#[derive(Debug)]
pub struct Board {
    changes: watch::Sender<u64>,
    /// How many host processes of the case are alive, those included that their step has given up.
    processes: watch::Sender<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    troubles: Vec<Trouble>,
    may_exit: BTreeSet<String>,
    /// What the guests of VMs may say and do.
    allowed: Vec<(String, Regex)>,
    migration: Migration,
}

/// The migration of which a failure would be trouble.
#[derive(Debug, Clone, Copy, Default)]
pub struct Migration {
    number: u64,
    watched: bool,
}

impl State {
    fn allows(&self, vm: &str, said: &str) -> bool {
        self.allowed.iter().any(|(of, expression)| of == vm && expression.is_match(said))
    }
}

impl Default for Board {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0), processes: watch::Sender::new(0), state: Mutex::default() }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a log, a process or a flag has changed.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A host process was started.
    pub fn process_began(&self) {
        self.processes.send_modify(|count| *count += 1);
    }

    /// A host process has ended, and with it its group.
    pub fn process_ended(&self) {
        self.processes.send_modify(|count| *count -= 1);
        self.changed();
    }

    /// Waits until no host process is alive; false where that takes longer.
    pub async fn all_processes_ended(&self, patience: Duration) -> bool {
        let mut processes = self.processes.subscribe();
        tokio::time::timeout(patience, processes.wait_for(|count| *count == 0)).await.is_ok()
    }

    /// Wakes whoever waits for a change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts up trouble. A VM's death that was asked for, a failed migration that is not watched or of which a VM speaks that
    /// may end (its last words may come after the news of its end), and a second report of the same kind by the same VM
    /// are none.
    pub fn report(&self, mut trouble: Trouble) {
        let mut state = self.state();
        if let Trouble::MigrationFailed { migration, .. } = &mut trouble {
            *migration = state.migration.number;
        }
        let is_news = match &trouble {
            Trouble::Died { vm, .. } => !state.may_exit.contains(vm),
            Trouble::MigrationFailed { vm, .. } => state.migration.watched && !state.may_exit.contains(vm),
            Trouble::Mismatch { vm, .. } => !state
                .troubles
                .iter()
                .any(|known| matches!(known, Trouble::Mismatch { vm: other, .. } if other == vm)),
            Trouble::Guest { vm, did, said } => {
                !state.allows(vm, said)
                    && !state.troubles.iter().any(|known| {
                        matches!(known, Trouble::Guest { vm: other, did: same, .. } if other == vm && same == did)
                    })
            }
            Trouble::ProcessEnded { .. } => true,
        };
        if is_news {
            state.troubles.push(trouble);
        }
        drop(state);
        self.changed();
    }

    /// From now on the VM's process may end.
    pub fn expect_exit(&self, vm: &str) {
        self.state().may_exit.insert(vm.to_owned());
    }

    /// From now on the VM's process must not end: it has just been started.
    pub fn expect_life(&self, vm: &str) {
        self.state().may_exit.remove(vm);
    }

    /// From now on the VM's guest may say, or do with an event, what this is found in.
    pub fn allow(&self, vm: &str, expression: &str) {
        // One that is wrong was told where it stands.
        if let Ok(expression) = Regex::new(expression) {
            self.state().allowed.push((vm.to_owned(), expression));
        }
    }

    /// Whether the VM's end was asked for.
    #[must_use]
    pub fn may_exit(&self, vm: &str) -> bool {
        self.state().may_exit.contains(vm)
    }

    /// Whether trouble has been made none by what was expected since.
    #[must_use]
    pub fn is_asked_for(&self, trouble: &Trouble) -> bool {
        let state = self.state();
        match trouble {
            Trouble::Died { vm, .. } => state.may_exit.contains(vm),
            Trouble::MigrationFailed { vm, migration } => {
                let now = state.migration;
                !now.watched || *migration != now.number || state.may_exit.contains(vm)
            }
            Trouble::Guest { vm, said, .. } => state.allows(vm, said),
            Trouble::Mismatch { .. } | Trouble::ProcessEnded { .. } => false,
        }
    }

    /// A new migration begins: only what fails from now on is trouble. Gives what was watched before.
    pub fn begin_migration(&self) -> Migration {
        let mut state = self.state();
        let before = state.migration;
        state.migration = Migration { number: before.number + 1, watched: true };
        before
    }

    /// The migration that was to begin did not: what was watched before is watched again.
    pub fn restore_migration(&self, before: Migration) {
        self.state().migration = before;
    }

    /// From now on the failure of the migration is no trouble.
    pub fn forgive_migration(&self) {
        self.state().migration.watched = false;
    }

    /// How much trouble there has been: what is put up later has this number or a higher one.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.state().troubles.len()
    }

    /// The first trouble from this number on.
    #[must_use]
    pub fn trouble_since(&self, mark: usize) -> Option<Trouble> {
        self.state().troubles.get(mark).cloned()
    }

    /// Waits for trouble from this number on.
    pub async fn trouble(&self, mark: usize) -> Trouble {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(trouble) = self.trouble_since(mark) {
                return trouble;
            }
            // The sender is part of the board, which we hold.
            let _ = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died(vm: &str) -> Trouble {
        Trouble::Died { vm: vm.to_owned(), how: Ended::Signal(9) }
    }

    #[tokio::test]
    async fn a_death_that_nobody_asked_for_is_told_to_whoever_waits() {
        let board = std::sync::Arc::new(Board::default());
        let mark = board.mark();
        let waiting = {
            let board = std::sync::Arc::clone(&board);
            tokio::spawn(async move { board.trouble(mark).await })
        };
        board.expect_exit("b");
        board.report(died("b"));
        board.report(died("a"));
        assert_eq!(waiting.await.unwrap(), died("a"));
        assert_eq!(died("a").failure().message, "VM `a` died: signal KILL");
    }

    #[test]
    fn a_failed_migration_is_trouble_only_while_it_is_watched() {
        let board = Board::default();
        let failed = |migration| Trouble::MigrationFailed { vm: "a".into(), migration };
        board.report(failed(0));
        assert_eq!(board.trouble_since(0), None);
        board.begin_migration();
        board.report(failed(0));
        assert_eq!(board.trouble_since(0), Some(failed(1)));
        assert_eq!(board.trouble_since(board.mark()), None);
        assert!(!board.is_asked_for(&failed(1)));
        board.forgive_migration();
        assert!(board.is_asked_for(&failed(1)));
    }

    #[test]
    fn a_new_migration_starts_clean_and_one_that_did_not_begin_changes_nothing() {
        let board = Board::default();
        let failed = |migration| Trouble::MigrationFailed { vm: "a".into(), migration };
        board.begin_migration();
        let before = board.begin_migration();
        assert!(board.is_asked_for(&failed(1)) && !board.is_asked_for(&failed(2)));
        board.restore_migration(before);
        assert!(!board.is_asked_for(&failed(1)));
    }

    #[test]
    fn a_death_by_a_signal_explains_the_rest_and_an_exit_status_a_failed_migration() {
        let status = Trouble::Died { vm: "b".into(), how: Ended::Status(1) };
        let failed = Trouble::MigrationFailed { vm: "b".into(), migration: 1 };
        assert!(died("a").rank() < status.rank() && status.rank() < failed.rank());
    }

    #[test]
    fn the_last_words_of_a_vm_that_may_end_are_no_trouble() {
        let board = Board::default();
        let failed = |vm: &str| Trouble::MigrationFailed { vm: vm.to_owned(), migration: 1 };
        board.begin_migration();
        board.expect_exit("a");
        board.report(failed("a"));
        assert_eq!(board.trouble_since(0), None);
        board.report(failed("b"));
        assert_eq!(board.trouble_since(0), Some(failed("b")));
    }

    #[test]
    fn wrong_memory_is_reported_once_a_vm() {
        let board = Board::default();
        for found in 0..3 {
            board.report(Trouble::Mismatch { vm: "a".into(), line: Line::Stale { expected: 9, found } });
        }
        assert_eq!(board.mark(), 1);
    }
}
