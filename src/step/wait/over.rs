//! When what a `wait` waits for can no longer come.

use super::Condition;
use crate::session::Session;
use crate::session::log::Log;

/// The migration statuses after which nothing more comes by itself (QAPI `MigrationStatus`).
pub(super) const FINAL: &[&str] = &["completed", "failed", "cancelled"];

/// Why nothing more of what a condition looks for in a VM's log can come, where that is certain. What has arrived and was
/// not read yet must be looked at once more.
pub(super) fn over(session: &Session, vm: &str, condition: &Condition) -> Option<String> {
    let machine = session.machines.get(vm)?;
    if let Some(how) = machine.process.ended() {
        return Some(format!("VM `{vm}` has ended: {how}"));
    }
    let pair = session.pair.as_ref()?;
    let log = machine.log.lock();
    let since = log.events.partition_point(|event| event.seen < pair.started);
    let last = log.migration_statuses(since).next_back().filter(|status| FINAL.contains(status))?;
    let is_source = pair.source == vm;
    // A destination may have a late word on an earlier migration; that it took over is no such word.
    let took_over = pair.destination.as_deref() == Some(vm) && last == "completed";
    if !is_source && !took_over {
        return None;
    }
    let over = match condition {
        Condition::Event { name, .. } => matches!(name.as_str(), "MIGRATION" | "MIGRATION_PASS"),
        Condition::Checkpoints(_) => true,
        Condition::Ticks(_) => is_source && last == "completed" && stands(&log, since),
        _ => false,
    };
    over.then(|| format!("the migration of `{vm}` is {last}"))
}

/// Whether a source stands for good: its guest has gone elsewhere. One that was in COLO may go on.
fn stands(log: &Log, since: usize) -> bool {
    let last = log.events.iter().rfind(|event| matches!(event.name.as_str(), "STOP" | "RESUME"));
    last.is_some_and(|event| event.name == "STOP")
        && log.migration_statuses(since).all(|status| status != "colo")
}
