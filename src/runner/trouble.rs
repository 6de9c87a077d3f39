//! Turns the trouble of a session into a failure: what fails a step, and what its headline is.

use crate::guest::ticker::Line;
use crate::session::board::Trouble;
use crate::session::process::Background;
use crate::session::{Cause, Failure, Session};
use crate::step::Action;

/// Unhandled trouble as one failure, root cause first, regardless of the order of discovery. Also returns whether
/// a failed migration is part of it. Trouble from number `seen` on counts; what is left to the next step is not counted as
/// seen.
pub(super) async fn cause(
    session: &mut Session,
    seen: &mut usize,
    action: Option<&Action>,
) -> Option<(Failure, bool)> {
    let is_of_migration = |trouble: &Trouble| matches!(trouble, Trouble::MigrationFailed { .. });
    let mut found = Vec::new();
    new_trouble(session, seen, action, &mut found);
    if found.is_empty() {
        return None;
    }
    // A VM that is about to exit may be the root cause.
    session.await_exits().await;
    new_trouble(session, seen, action, &mut found);
    if found.iter().all(is_of_migration) {
        session.await_destinations().await;
        new_trouble(session, seen, action, &mut found);
    }
    let of_migration = found.iter().any(is_of_migration);
    found.sort_by_key(Trouble::rank);
    let mut whole: Option<Failure> = None;
    for trouble in &found {
        let failure = to_failure(session, trouble).await;
        whole = Some(match whole {
            None => failure,
            Some(headline) => headline.then(failure),
        });
    }
    Some((whole?, of_migration))
}

/// Adds new trouble that counts.
fn new_trouble(session: &Session, seen: &mut usize, action: Option<&Action>, found: &mut Vec<Trouble>) {
    let board = session.board();
    let mut left = None;
    while let Some(trouble) = board.trouble_since(*seen) {
        let number = *seen;
        *seen += 1;
        if action.is_some_and(|action| left_to_next_step(action, &trouble)) {
            left.get_or_insert(number);
        } else if !board.is_asked_for(&trouble) && !found.contains(&trouble) {
            found.push(trouble);
        }
    }
    *seen = left.unwrap_or(*seen);
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
        Trouble::ProcessEnded { name, .. } => session.background().get(name).map(Background::output_tail),
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
        let failed = Trouble::MigrationFailed { vm: "a".into(), migration: 1 };
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
