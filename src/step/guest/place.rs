//! Where a guest is while a command runs in it.

use std::time::Duration;

use serde_json::Value;

use crate::session::log::QmpEvent;
use crate::session::{Cause, Failure};
use crate::step::running::{Running, STOPPED};
use crate::step::wakes::LONGEST;

/// Why a guest no longer runs in a VM.
#[derive(Debug)]
pub(in crate::step) enum Left {
    /// It has migrated to this VM, or continues there after a failover.
    Moved(String),
    /// It runs nowhere that is known.
    Lost(Failure),
}

/// Fails if a guest has migrated from this VM before; `what` is what is awaited of it.
pub(super) async fn fail_if_moved(run: &Running<'_>, vm: &str, what: &str) -> Result<(), Failure> {
    match stopped(run, vm, what).await {
        Some(Left::Moved(to)) => {
            let why = format!("its guest has moved to `{to}`; name that VM, or a role that it has");
            Err(Failure::from(Cause::Impossible { awaited: what.to_owned(), why }).about(vm))
        }
        Some(Left::Lost(failure)) => Err(failure),
        None => Ok(()),
    }
}

/// Waits until the guest no longer runs in this VM; `what` is what is awaited of it.
pub(in crate::step) async fn left(run: &Running<'_>, vm: &str, what: &str) -> Left {
    let mut changes = run.session.board().changes();
    loop {
        changes.borrow_and_update();
        let machine = match run.session.machine(vm) {
            Ok(machine) => machine,
            Err(failure) => return Left::Lost(failure),
        };
        let is_stopped = machine.log.lock().is_stopped();
        if (is_stopped || machine.process.ended().is_some())
            && let Some(left) = stopped(run, vm, what).await
        {
            return left;
        }
        // The session has the sender. There is no event for the run state after the migration.
        let patience = if is_stopped { LONGEST } else { Duration::MAX };
        let _ = tokio::time::timeout(patience, changes.changed()).await;
    }
}

/// Where the guest is if this VM has ended or its vCPUs are stopped. None if it runs, or may run again without a command, as in COLO
/// or while it migrates, or if the secondary of this VM may take over.
async fn stopped(run: &Running<'_>, vm: &str, what: &str) -> Option<Left> {
    let machine = run.session.machine(vm).ok()?;
    if let Some(how) = machine.process.ended() {
        return match secondary(run, vm) {
            Some((to, true)) => Some(Left::Moved(to)),
            Some((_, false)) => None,
            None => Some(Left::Lost(Failure::ended(format!("{what}: VM `{vm}` has ended"), how).about(vm))),
        };
    }
    if !machine.is_connected() {
        return None;
    }
    let reply = machine.qmp("query-status", Value::Null, false, run.patience()).await.ok()?;
    let state = reply["status"].as_str().filter(|state| STOPPED.contains(state))?;
    let pair = run.session.pair_of(vm).filter(|pair| pair.source == vm && state == "postmigrate");
    if let Some(to) = pair.and_then(|pair| pair.destination.clone()) {
        return Some(Left::Moved(to));
    }
    // A background process may resume it.
    run.session.background().is_empty().then(|| {
        let why = format!("the vCPUs of `{vm}` are stopped, run state `{state}`");
        Left::Lost(Failure::from(Cause::Impossible { awaited: what.to_owned(), why }).about(vm))
    })
}

/// The running secondary of a VM, and whether it has taken over; none if it cannot.
fn secondary(run: &Running<'_>, vm: &str) -> Option<(String, bool)> {
    let pair = run.session.pair_of(vm).filter(|pair| pair.source == vm)?;
    let name = pair.destination?;
    let machine = run.session.machine(&name).ok().filter(|machine| machine.process.ended().is_none())?;
    let log = machine.log.lock();
    let events = log.events.iter().filter(|event| event.seen >= pair.started);
    let mut statuses = events.filter_map(QmpEvent::migration_status).skip_while(|status| *status != "colo");
    statuses.next()?;
    match statuses.next() {
        None => Some((name, false)),
        Some("completed") => Some((name, true)),
        Some(_) => None,
    }
}
