//! Conditions on the reply to a query.

use serde_json::{Value, json};

use super::impossible::FINAL;
use super::watch::{OfVm, Watch};
use super::{Migration, Query, Status};
use crate::cause::CauseKind;
use crate::qemu::contains::{contains, differences};
use crate::session::{Cause, Failure, Machine};
use crate::step::wakes::Wakes;

impl Migration {
    pub(super) fn excluded(&self) -> &[String] {
        self.never.as_ref().map_or(&[], |never| &never.0)
    }
}

impl OfVm for Migration {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let (vm, never) = (watch.vm, self.excluded());
        let machine = watch.run.session.machine(vm)?;
        // A query can miss a short status, events cannot.
        let passed = || {
            let log = machine.log.lock();
            let mut states = log.migration_statuses(watch.mark.events);
            states.find(|state| never.iter().any(|never| never == state)).map(str::to_owned)
        };
        let is_reported = |status: &str| {
            let log = machine.log.lock();
            log.migration_statuses(0).next_back().is_none_or(|last| last == status)
        };
        let (mut without_stream, mut without_event) = (0, 0);
        let judge = |reply: &Value| {
            let status = reply["status"].as_str().unwrap_or("none");
            no_stream(&machine, reply, &mut without_stream)?;
            let now = never.iter().find(|never| *never == status).cloned();
            if let Some(state) = now.or_else(passed) {
                let message = format!("the migration of `{vm}` was {state}, which `never` excludes");
                return Err(Failure::of_kind(CauseKind::Migration, message));
            }
            if self.migration.iter().any(|state| state == status) {
                return Ok(Some(reply.clone()));
            }
            // Its event comes a moment later, and `never` needs those before it. Not every failure has one.
            without_event = if FINAL.contains(&status) { without_event + 1 } else { 0 };
            if without_event >= CERTAIN || (without_event > 0 && is_reported(status)) {
                let expected = Some(self.migration.0.join(" or "));
                return Err(Cause::Migration { status: status_of(reply), expected, error: None }.into());
            }
            Ok(None)
        };
        let (query, null) = ("query-migrate", Value::Null);
        // QEMU does not announce the end of the command of a migration.
        let wakes = if is_exec(&machine) {
            Wakes::Interval
        } else {
            Wakes::of(&machine, query, &statuses(&self.migration.0))
        };
        watch.run.ask(&machine, (query, &null, false), &wakes, watch.awaited, judge, status_of).await
    }
}

impl OfVm for Status {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let status = |reply: &Value| reply["status"].as_str().unwrap_or("none").to_owned();
        let judge = |reply: &Value| Ok(self.status.0.contains(&status(reply)).then(|| reply.clone()));
        let (query, null, machine) = ("query-status", Value::Null, watch.run.session.machine(watch.vm)?);
        let wakes = Wakes::of(&machine, query, &statuses(&self.status.0));
        watch.run.ask(&machine, (query, &null, false), &wakes, watch.awaited, judge, status).await
    }
}

impl OfVm for Query {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let judge = |reply: &Value| Ok(contains(reply, &self.until).then(|| reply.clone()));
        let arguments = Value::Object(self.arguments.clone());
        let seen = |reply: &Value| differences(reply, &self.until);
        let machine = watch.run.session.machine(watch.vm)?;
        let wakes = Wakes::of(&machine, &self.query, &self.until);
        watch.run.ask(&machine, (&self.query, &arguments, false), &wakes, watch.awaited, judge, seen).await
    }
}

/// Replies with one of these statuses.
fn statuses(all: &[String]) -> Value {
    all.iter().map(|status| json!({"status": status})).collect()
}

/// Whether the migration to this VM is the output of a command.
fn is_exec(machine: &Machine) -> bool {
    let incoming = machine.incoming().address.clone().or_else(|| machine.plan.spec.incoming.clone());
    incoming.is_some_and(|address| address.starts_with("exec:"))
}

/// The number of consecutive replies that make something certain, such as the lack of a stream: QEMU may have made the
/// first one before it has read the command's last output.
const CERTAIN: usize = 3;

/// Fails if the command (`exec:`) of an incoming migration has ended without a stream. QEMU (7.2 to 11.1) does not notice
/// that, and stays in `setup` (7.2: without a status). If it listens at a socket, it reports the address instead.
fn no_stream(machine: &Machine, reply: &Value, seen: &mut usize) -> Result<(), Failure> {
    let is_active = reply.get("status").is_some_and(|status| status != "setup" && status != "none");
    let waits = machine.plan.spec.incoming.is_some() && !is_active && reply.get("socket-address").is_none();
    let ended = machine.process.ended_child().filter(|_| waits);
    *seen = ended.map_or(0, |_| *seen + 1);
    match ended.filter(|_| *seen >= CERTAIN) {
        None => Ok(()),
        Some(how) => {
            let said = machine.stderr_tail(5).replace('\n', "\n    ");
            let said = if said.is_empty() { said } else { format!(", saying:\n    {said}") };
            let message = "the `exec:` command ended before it had written a migration stream";
            Err(Failure::of_kind(CauseKind::Migration, format!("{message}: {how}{said}")).of(machine.name()))
        }
    }
}

/// A migration's status, with QEMU's error if there is one.
fn status_of(reply: &Value) -> String {
    let status = reply["status"].as_str().unwrap_or("none");
    match reply["error-desc"].as_str() {
        Some(error) => format!("{status} ({error})"),
        None => status.to_owned(),
    }
}
