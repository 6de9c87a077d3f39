//! The shared state of a session: notifies of changes, and collects trouble that ends a step at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use regex::Regex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::{Cause, Failure};
use super::interference::Interference;
use super::lock;
use crate::guest::ticker::Line;
use crate::qemu::network::of_wire;
use crate::qemu::process::Ended;

/// An event that ends the current step at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A VM's process ended unexpectedly.
    Died {
        /// The VM.
        vm: String,
        /// How it ended.
        how: Ended,
    },
    /// The built-in guest found its memory wrong.
    Mismatch {
        /// The VM.
        vm: String,
        /// Its report.
        line: Line,
    },
    /// The guest printed or did something that indicates a malfunction.
    Guest {
        /// The VM.
        vm: String,
        /// What it did, as a verb.
        did: &'static str,
        /// The console line, or the event.
        said: String,
    },
    /// A background process ended unexpectedly.
    ProcessEnded {
        /// Its name.
        name: String,
        /// How it ended.
        how: Ended,
    },
    /// The migration failed (QMP event `MIGRATION`, status `failed`).
    MigrationFailed {
        /// The VM that reported it.
        vm: String,
        /// The number of the migration in the case, counted from 0; filled in by the board.
        migration: Option<usize>,
    },
}

impl Trouble {
    /// Trouble with a lower rank explains trouble with a higher one, regardless of which was seen first. A VM killed
    /// by a signal did not end because of another VM; one with an exit status may have, such as a destination that
    /// lost its source.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Died { how: Ended::Signal(_), .. } | Self::Mismatch { .. } | Self::Guest { .. } => 0,
            Self::Died { how: Ended::Status(_), .. } => 1,
            Self::ProcessEnded { .. } => 2,
            Self::MigrationFailed { .. } => 3,
        }
    }

    /// The VM it is about.
    #[must_use]
    pub fn vm(&self) -> Option<&str> {
        match self {
            Self::Died { vm, .. }
            | Self::Mismatch { vm, .. }
            | Self::Guest { vm, .. }
            | Self::MigrationFailed { vm, .. } => Some(vm),
            Self::ProcessEnded { .. } => None,
        }
    }

    /// The trouble as a failure of the step it ends.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Died { vm, how } => match of_wire(vm) {
                Some(network) => Failure::ended(format!("the QEMU that runs network `{network}` died"), *how),
                None => Failure::ended(format!("VM `{vm}` died"), *how).about(vm),
            },
            Self::Mismatch { vm, line } => {
                Failure::from(Cause::Corrupt { line: *line, pages: None }).about(vm)
            }
            Self::Guest { vm, did, said } => {
                Failure::from(Cause::Guest { did, said: said.clone() }).about(vm)
            }
            Self::ProcessEnded { name, how } => {
                Failure::ended(format!("process `{name}` ended, but no `exit` or `wait` allows that"), *how)
            }
            Self::MigrationFailed { vm, .. } => {
                let status = "failed".to_owned();
                Failure::from(Cause::Migration { status, expected: None, error: None }).about(vm)
            }
        }
    }
}

/// For how many changes the board knows when they happened.
const KEPT_TIMES: usize = 256;

/// The board of a session.
#[derive(Debug)]
pub struct Board {
    changes: watch::Sender<u64>,
    /// When the last changes happened.
    times: Mutex<VecDeque<Instant>>,
    /// The number of live host processes of the case, including those abandoned by their step.
    processes: watch::Sender<usize>,
    state: Mutex<State>,
    /// What interferes with the case from outside of its scenario.
    interference: Option<Arc<dyn Interference>>,
}

#[derive(Debug, Default)]
struct State {
    troubles: Vec<Trouble>,
    may_exit: BTreeSet<String>,
    /// What the guests of VMs are allowed to print and do.
    allowed: Vec<(String, Regex)>,
    migrations: Vec<Migration>,
}

/// A migration that a step has started.
#[derive(Debug)]
struct Migration {
    /// The source, and the destination if it is known; empty if it did not start.
    vms: Vec<String>,
    /// Whether its failure would be trouble.
    watched: bool,
}

impl State {
    fn allows(&self, vm: &str, said: &str) -> bool {
        self.allowed.iter().any(|(of, expression)| of == vm && expression.is_match(said))
    }

    /// The number of the VM's last migration. One that is not known to migrate takes part in the last migration of all.
    fn migration_of(&self, vm: &str) -> Option<usize> {
        let of_vm = |migration: &Migration| migration.vms.iter().any(|of| of == vm);
        self.migrations.iter().rposition(of_vm).or_else(|| self.last_migration())
    }

    fn last_migration(&self) -> Option<usize> {
        self.migrations.iter().rposition(|migration| !migration.vms.is_empty())
    }

    /// Whether the failure of this migration, reported by this VM, is trouble.
    fn is_watched(&self, migration: Option<usize>, vm: &str) -> bool {
        let is_last = migration == self.migration_of(vm);
        is_last
            && migration.is_some_and(|number| self.migrations[number].watched)
            && !self.may_exit.contains(vm)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Board {
    /// The board of a session with which something interferes.
    #[must_use]
    pub fn with(interference: Option<Arc<dyn Interference>>) -> Self {
        let (changes, processes) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { changes, times: Mutex::default(), processes, state: Mutex::default(), interference }
    }

    /// What interferes with the case, if anything does.
    #[must_use]
    pub const fn interference(&self) -> Option<&Arc<dyn Interference>> {
        self.interference.as_ref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Notifies of a change of a log, a process or a flag.
    pub fn changed(&self) {
        self.changed_at(Instant::now());
    }

    /// The same for a change that happened earlier.
    pub fn changed_at(&self, moment: Instant) {
        let mut times = lock(&self.times);
        times.push_back(moment);
        if times.len() > KEPT_TIMES {
            times.pop_front();
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// When the earliest of the changes after so many happened. They need not be in the order of their times: a line of
    /// output has the time at which it was read, an event that at which it was emitted.
    #[must_use]
    pub fn earliest_after(&self, count: u64) -> Option<Instant> {
        let times = lock(&self.times);
        let later = self.changes.borrow().saturating_sub(count);
        let later = usize::try_from(later).unwrap_or(usize::MAX).min(times.len());
        times.range(times.len() - later..).min().copied()
    }

    /// A host process was started.
    pub fn process_began(&self) {
        self.processes.send_modify(|count| *count += 1);
    }

    /// A host process and its group have ended.
    pub fn process_ended(&self) {
        self.processes.send_modify(|count| *count -= 1);
        self.changed();
    }

    /// Waits until no host process is alive; false on timeout.
    pub async fn all_processes_ended(&self, patience: Duration) -> bool {
        let mut processes = self.processes.subscribe();
        tokio::time::timeout(patience, processes.wait_for(|count| *count == 0)).await.is_ok()
    }

    /// A receiver that is notified of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reports trouble. Ignores the expected exit of a VM; a failed migration that is not watched, or is reported by
    /// a VM that may exit (its last message may arrive after the exit); and repeated reports of one kind by the same
    /// VM.
    pub fn report(&self, mut trouble: Trouble) {
        let mut state = self.state();
        if let Trouble::MigrationFailed { vm, migration } = &mut trouble {
            *migration = state.migration_of(vm);
        }
        let is_news = match &trouble {
            Trouble::Died { vm, .. } => !state.may_exit.contains(vm),
            Trouble::MigrationFailed { vm, migration } => state.is_watched(*migration, vm),
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

    /// Allows the VM's process to exit.
    pub fn expect_exit(&self, vm: &str) {
        self.state().may_exit.insert(vm.to_owned());
    }

    /// Forbids the VM's process to exit: it has just been started.
    pub fn forbid_exit(&self, vm: &str) {
        self.state().may_exit.remove(vm);
    }

    /// Allows output lines and events of the VM's guest that match this expression.
    pub fn allow(&self, vm: &str, expression: &str) {
        // An invalid expression is reported where it is written.
        if let Ok(expression) = Regex::new(expression) {
            self.state().allowed.push((vm.to_owned(), expression));
        }
    }

    /// Whether the VM's exit is expected.
    #[must_use]
    pub fn may_exit(&self, vm: &str) -> bool {
        self.state().may_exit.contains(vm)
    }

    /// Whether trouble has become expected since it was reported.
    #[must_use]
    pub fn is_asked_for(&self, trouble: &Trouble) -> bool {
        let state = self.state();
        match trouble {
            Trouble::Died { vm, .. } => state.may_exit.contains(vm),
            Trouble::MigrationFailed { vm, migration } => !state.is_watched(*migration, vm),
            Trouble::Guest { vm, said, .. } => state.allows(vm, said),
            Trouble::Mismatch { .. } | Trouble::ProcessEnded { .. } => false,
        }
    }

    /// Starts watching a new migration; earlier failures of these VMs no longer count. Returns its number.
    pub fn begin_migration(&self, vms: impl IntoIterator<Item = String>) -> usize {
        let migrations = &mut self.state().migrations;
        migrations.push(Migration { vms: vms.into_iter().collect(), watched: true });
        migrations.len() - 1
    }

    /// A migration did not start: its VMs are in their earlier ones.
    pub fn discard_migration(&self, number: usize) {
        self.state().migrations[number].vms.clear();
    }

    /// The VM is the destination of the last migration.
    pub fn join_migration(&self, vm: &str) {
        let mut state = self.state();
        if let Some(number) = state.last_migration() {
            state.migrations[number].vms.push(vm.to_owned());
        }
    }

    /// From now on a failure of the VM's migration is expected.
    pub fn forgive_migration(&self, vm: &str) {
        let mut state = self.state();
        if let Some(number) = state.migration_of(vm) {
            state.migrations[number].watched = false;
        }
    }

    /// The number of troubles so far; later ones have this number or a higher one.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.state().troubles.len()
    }

    /// The first trouble with this number or a higher one.
    #[must_use]
    pub fn trouble_since(&self, mark: usize) -> Option<Trouble> {
        self.state().troubles.get(mark).cloned()
    }

    /// Waits for trouble with this number or a higher one.
    pub async fn trouble(&self, mark: usize) -> Trouble {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(trouble) = self.trouble_since(mark) {
                return trouble;
            }
            // The board owns the sender, so this cannot fail.
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

    fn failed(vm: &str, migration: Option<usize>) -> Trouble {
        Trouble::MigrationFailed { vm: vm.to_owned(), migration }
    }

    fn begin(board: &Board, vms: &[&str]) -> usize {
        board.begin_migration(vms.iter().copied().map(str::to_owned))
    }

    #[tokio::test]
    async fn an_unexpected_death_is_reported_to_the_waiting_step() {
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
        assert_eq!(died("a").failure().to_string(), "VM `a` died: signal KILL");
    }

    #[test]
    fn the_earliest_change_counts_also_if_it_was_seen_last() {
        let board = Board::default();
        let now = Instant::now();
        let second = std::time::Duration::from_secs(1);
        [now - 3 * second, now, now - second].into_iter().for_each(|moment| board.changed_at(moment));
        assert_eq!(board.earliest_after(1), Some(now - second));
        assert_eq!(board.earliest_after(0), Some(now - 3 * second));
        assert_eq!(board.earliest_after(3), None);
        (0..2 * KEPT_TIMES).for_each(|_| board.changed_at(now));
        assert_eq!(board.earliest_after(0), Some(now));
    }

    #[test]
    fn a_failed_migration_is_trouble_only_while_it_is_watched() {
        let board = Board::default();
        board.report(failed("a", None));
        assert_eq!(board.trouble_since(0), None);
        assert_eq!(begin(&board, &["a"]), 0);
        board.report(failed("a", None));
        assert_eq!(board.trouble_since(0), Some(failed("a", Some(0))));
        assert_eq!(board.trouble_since(board.mark()), None);
        assert!(!board.is_asked_for(&failed("a", Some(0))));
        board.forgive_migration("a");
        assert!(board.is_asked_for(&failed("a", Some(0))));
    }

    #[test]
    fn a_new_migration_starts_clean_and_one_that_did_not_begin_changes_nothing() {
        let board = Board::default();
        begin(&board, &["a"]);
        let second = begin(&board, &["a"]);
        let is_trouble = |number| !board.is_asked_for(&failed("a", Some(number)));
        assert!(!is_trouble(0) && is_trouble(1));
        board.discard_migration(second);
        assert!(is_trouble(0) && !is_trouble(1));
    }

    #[test]
    fn two_migrations_at_once_fail_and_are_expected_to_fail_separately() {
        let board = Board::default();
        begin(&board, &["a", "b"]);
        begin(&board, &["c"]);
        board.join_migration("d");
        board.forgive_migration("d");
        ["b", "c", "a"].into_iter().for_each(|vm| board.report(failed(vm, None)));
        assert_eq!(board.trouble_since(0), Some(failed("b", Some(0))));
        assert_eq!(board.trouble_since(1), Some(failed("a", Some(0))));
        assert_eq!(board.mark(), 2);
        // A VM that is not known to migrate takes part in the last one.
        board.report(failed("e", None));
        assert_eq!(board.mark(), 2);
    }

    #[test]
    fn a_death_by_a_signal_explains_the_rest_and_an_exit_status_a_failed_migration() {
        let status = Trouble::Died { vm: "b".into(), how: Ended::Status(1) };
        let failed = failed("b", Some(0));
        assert!(died("a").rank() < status.rank() && status.rank() < failed.rank());
    }

    #[test]
    fn the_last_output_of_a_vm_that_may_exit_is_not_trouble() {
        let board = Board::default();
        begin(&board, &["a", "b"]);
        board.expect_exit("a");
        board.report(failed("a", None));
        assert_eq!(board.trouble_since(0), None);
        board.report(failed("b", None));
        assert_eq!(board.trouble_since(0), Some(failed("b", Some(0))));
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
