//! Conditions of a `wait` that can no longer be met.

use serde_json::Value;

use super::Condition;
use super::job_history::{History, jobs};
use crate::session::log::Log;
use crate::session::{Cause, Failure, Session};
use crate::step::running::{Running, STOPPED};

/// The final migration statuses (QAPI `MigrationStatus`).
pub(super) const FINAL: &[&str] = &["completed", "failed", "cancelled"];

/// Why a condition on a VM's log can no longer be met, if that is certain. The caller must still check data that has arrived
/// and was not read yet.
pub(super) fn impossible(session: &Session, vm: &str, condition: &Condition) -> Option<String> {
    let machine = session.machine(vm).ok()?;
    if let Some(how) = machine.process.ended() {
        return Some(format!("VM `{vm}` has ended: {how}"));
    }
    let log = machine.log.lock();
    if let Some(why) = jobs_ended(&log, condition).filter(|_| machine.plan.spec.connect) {
        return Some(why);
    }
    let pair = session.pair_of(vm)?;
    let since = log.events.partition_point(|event| event.seen < pair.started);
    let last = log.migration_statuses(since).next_back().filter(|status| FINAL.contains(status))?;
    let is_source = pair.source == vm;
    // A destination may still send an event of an earlier migration, but not after it took over.
    let took_over = pair.destination.as_deref() == Some(vm) && last == "completed";
    if !is_source && !took_over {
        return None;
    }
    let is_impossible = match condition {
        Condition::Event(wanted) => matches!(wanted.event.as_str(), "MIGRATION" | "MIGRATION_PASS"),
        Condition::Checkpoints(_) => true,
        Condition::Ticks(_) => is_source && last == "completed" && is_source_stopped(&log, since),
        _ => false,
    };
    is_impossible.then(|| format!("the migration of `{vm}` is {last}"))
}

/// Why no more events of a job can come: the job that the condition names, or each job so far, has ended.
fn jobs_ended(log: &Log, condition: &Condition) -> Option<String> {
    let Condition::Event(wanted) = condition else { return None };
    let data = wanted.data.as_ref().unwrap_or(&Value::Null);
    let named = match wanted.event.as_str() {
        // `null` may still come.
        "JOB_STATUS_CHANGE" if data["status"].as_str().is_some_and(|status| status != "null") => &data["id"],
        "BLOCK_JOB_PENDING" => &data["id"],
        "BLOCK_JOB_READY" | "BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED" | "BLOCK_JOB_ERROR" => {
            &data["device"]
        }
        _ => return None,
    };
    let jobs = named.as_str().map_or_else(|| jobs(log), |id| vec![id.to_owned()]);
    let ended: Option<Vec<String>> =
        jobs.iter().map(|id| Some(format!("job `{id}` {}", History::of(log, id).ended()?))).collect();
    ended.filter(|ended| !ended.is_empty()).map(|ended| ended.join(", "))
}

/// Whether a source remains stopped, because its guest has migrated. A source that was in COLO may continue.
fn is_source_stopped(log: &Log, since: usize) -> bool {
    log.is_stopped() && log.migration_statuses(since).all(|status| status != "colo")
}

/// Fails if a step waits for output of a guest whose vCPUs are stopped. Otherwise it never returns, also if QEMU does not
/// answer or a background process might resume the guest.
pub(super) async fn fail_if_stopped<T>(run: &Running<'_>, vm: &str, awaited: &str) -> Result<T, Failure> {
    if run.session.background().is_empty()
        && let Ok(machine) = run.session.machine(vm)
        && let Ok(reply) = machine.qmp("query-status", Value::Null, false, run.patience()).await
        && let Some(state) = reply["status"].as_str().filter(|state| STOPPED.contains(state))
    {
        let why = format!("the vCPUs of `{vm}` are stopped, run state `{state}`");
        return Err(Cause::Impossible { awaited: awaited.to_owned(), why }.into());
    }
    std::future::pending().await
}
