//! Turns the trouble of a session into a failure: what fails a step, and what its headline is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::guest::ticker::Line;
use crate::session::board::{Board, Trouble};
use crate::session::{Cause, Failure, Session, lock};
use crate::step::{Action, Step};

/// Which trouble of a case has been handled, and which steps run.
#[derive(Default)]
pub(super) struct Troubles {
    /// The numbers of the handled ones.
    handled: Mutex<BTreeSet<usize>>,
    /// The current step of each branch, by its number.
    current: Mutex<BTreeMap<usize, Step>>,
    /// Held while trouble is turned into a failure: branches notice it at the same time, and one reports it.
    reporting: tokio::sync::Mutex<()>,
}

impl Troubles {
    /// A branch begins a step.
    pub(super) fn began(&self, branch: usize, step: &Step) {
        lock(&self.current).insert(branch, step.clone());
    }

    /// A branch has ended, or runs no step now.
    pub(super) fn ended(&self, branch: usize) {
        lock(&self.current).remove(&branch);
    }

    /// Whether the trouble with this number fails the branch, whose action this is.
    pub(super) fn fails(
        &self,
        number: usize,
        trouble: &Trouble,
        board: &Board,
        branch: usize,
        action: Option<&Action>,
    ) -> bool {
        !lock(&self.handled).contains(&number)
            && !board.is_asked_for(trouble)
            && !self.is_left(trouble, branch, action)
    }

    /// Whether trouble is left to the next step, or to the current step of another branch.
    fn is_left(&self, trouble: &Trouble, branch: usize, action: Option<&Action>) -> bool {
        let expects = |step: &Step| {
            step.expect_error.is_some()
                && trouble.vm().is_some_and(|vm| step.action.vm_names().iter().any(|named| named.vm == vm))
        };
        action.is_some_and(|action| left_to_next_step(action, trouble))
            || lock(&self.current)
                .iter()
                .filter(|(other, _)| **other != branch)
                .any(|(_, step)| left_to_next_step(&step.action, trouble) || expects(step))
    }

    /// Unhandled trouble as one failure, root cause first, regardless of the order of discovery. Also returns
    /// the VMs whose migration has failed.
    pub(super) async fn cause(
        &self,
        session: &Session,
        branch: usize,
        action: Option<&Action>,
    ) -> Option<(Failure, Vec<String>)> {
        let is_of_migration = |trouble: &Trouble| matches!(trouble, Trouble::MigrationFailed { .. });
        let _reporting = self.reporting.lock().await;
        let mut found = Vec::new();
        self.take(session.board(), branch, action, &mut found);
        if found.is_empty() {
            return None;
        }
        // A VM that is about to exit may be the root cause.
        session.await_exits().await;
        self.take(session.board(), branch, action, &mut found);
        if found.iter().all(is_of_migration) {
            session.await_destinations().await;
            self.take(session.board(), branch, action, &mut found);
        }
        let migrating = found.iter().filter(|trouble| is_of_migration(trouble)).filter_map(Trouble::vm);
        let migrating = migrating.map(str::to_owned).collect();
        found.sort_by_key(Trouble::rank);
        let mut whole: Option<Failure> = None;
        for trouble in &found {
            let failure = to_failure(session, trouble).await;
            whole = Some(match whole {
                None => failure,
                Some(headline) => headline.then(failure),
            });
        }
        Some((whole?, migrating))
    }

    /// Adds trouble that fails the branch; what is left to a step stays unhandled.
    fn take(&self, board: &Board, branch: usize, action: Option<&Action>, found: &mut Vec<Trouble>) {
        for number in 0.. {
            let Some(trouble) = board.trouble_since(number) else { break };
            if self.is_left(&trouble, branch, action) {
                continue;
            }
            if self.fails(number, &trouble, board, branch, action) && !found.contains(&trouble) {
                found.push(trouble);
            }
            lock(&self.handled).insert(number);
        }
    }
}

/// Trouble as a failure, with the last output of a process that ended, or QEMU's error of a migration that failed.
async fn to_failure(session: &Session, trouble: &Trouble) -> Failure {
    let output = match trouble {
        Trouble::Mismatch { vm, line: line @ Line::Bad(_) } => {
            let pages = session.machines().get(vm).and_then(|vm| vm.log.lock().bad_pages);
            return Failure::from(Cause::Corrupt { line: *line, pages }).about(vm);
        }
        Trouble::MigrationFailed { vm, .. } => {
            let error = match session.machine(vm) {
                Ok(machine) => machine.migration_error().await,
                Err(_) => None,
            };
            return Failure::from(Cause::Migration { status: "failed".to_owned(), expected: None, error })
                .about(vm);
        }
        Trouble::Died { vm, .. } => session.machine(vm).map(|machine| machine.stderr_tail(3)).ok(),
        Trouble::ProcessEnded { name, .. } => {
            session.background().get(name).map(|process| process.output_tail())
        }
        _ => None,
    };
    trouble.failure().saying(&output.unwrap_or_default())
}

/// Whether trouble is left to the next step. A step that only starts or disturbs something finishes before the
/// scenario can declare that the migration is expected to fail, the VM to exit, or its guest to panic, reset or shut down;
/// the next step declares it.
pub(super) fn left_to_next_step(action: &Action, trouble: &Trouble) -> bool {
    let starts = |vm: &String| matches!(action, Action::Start(start) if start.0.0.contains(vm));
    let commands = |vm: &String| match action {
        Action::Qmp(qmp) => qmp.vm.0.contains(vm),
        Action::Hmp(hmp) => hmp.vm.0.contains(vm),
        _ => false,
    };
    match trouble {
        Trouble::MigrationFailed { vm, .. } => {
            starts(vm)
                || matches!(
                    action,
                    Action::Migrate(_) | Action::Link(_) | Action::Signal(_) | Action::Yank(_)
                )
        }
        Trouble::Died { vm, .. } => starts(vm),
        Trouble::Guest { vm, .. } => commands(vm),
        Trouble::Mismatch { .. } | Trouble::ProcessEnded { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_migration_is_left_to_the_step_after_the_one_that_brought_it_about() {
        let action = |key, value| Action::read(key, &value).unwrap();
        let migrate = action("migrate", serde_json::json!({"from": "a", "uri": "exec:exit 1"}));
        let wait = action("wait", serde_json::json!({"vm": "a", "ticks": 1}));
        let failed = Trouble::MigrationFailed { vm: "a".into(), migration: Some(0) };
        assert!(left_to_next_step(&migrate, &failed) && !left_to_next_step(&wait, &failed));
    }

    /// The guest may panic before the reply to `inject-nmi` is read.
    #[test]
    fn what_a_guest_does_in_response_to_a_command_is_left_to_the_step_after_it() {
        let action = |key, value| Action::read(key, &value).unwrap();
        let command = action("qmp", serde_json::json!({"vm": "a", "execute": "inject-nmi"}));
        let migrate = action("migrate", serde_json::json!({"from": "a", "uri": "exec:exit 1"}));
        let panicked = |vm: &str| Trouble::Guest { vm: vm.into(), did: "panicked", said: String::new() };
        assert!(left_to_next_step(&command, &panicked("a")));
        assert!(!left_to_next_step(&command, &panicked("b")) && !left_to_next_step(&migrate, &panicked("a")));
    }
}
