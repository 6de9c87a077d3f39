//! Waiting for each condition of a `wait`.

use regex::bytes::RegexBuilder;
use serde_json::Value;

use super::impossible::{FINAL, fail_if_stopped, impossible};
use super::{Condition, Exit, Wait};
use crate::cause::CauseKind;
use crate::qemu::contains::contains;
use crate::session::checkpoints::checkpoints;
use crate::session::log::Log;
use crate::session::{Cause, Failure, Machine, Session};
use crate::step::client::{find, summary};
use crate::step::running::Running;

impl Wait {
    pub(super) async fn wait(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let condition = self.condition().ok_or_else(|| Failure::error("the wait has no condition"))?;
        if let Condition::Process { name, exit } = &condition {
            return process(run, name, *exit).await;
        }
        if let Condition::Client { name, lines } = &condition {
            return client(run, name, *lines).await;
        }
        condition.allow_expected(run, self);
        let mut result = Value::Null;
        // All VMs must meet it. To wait for one after the other is enough, because each counts from the step's beginning.
        for vm in self.vm.iter().flatten() {
            run.session.machine(vm)?;
            result = condition.wait(run, vm).await.map_err(|failure| failure.about(vm))?;
        }
        Ok(result)
    }
}

impl Condition {
    /// Allows the trouble that the step waits for, so that it does not end the step.
    pub(super) fn allow_expected(&self, run: &Running<'_>, wait: &Wait) {
        let board = run.session.board();
        let allow = |expression: &str| wait.vm.iter().flatten().for_each(|vm| board.allow(vm, expression));
        match self {
            Self::Exit(_) => {
                wait.vm.iter().flatten().for_each(|vm| {
                    board.expect_exit(vm);
                    board.allow(vm, "^SHUTDOWN ");
                });
                // If a VM exits, its migration fails, and the other side may report that first.
                board.forgive_migration();
            }
            Self::Migration { states, .. } if states.iter().any(|state| state == "failed") => {
                board.forgive_migration();
            }
            Self::Event { name, data, .. }
                if name == "MIGRATION" && data.as_ref().is_some_and(|data| data["status"] == "failed") =>
            {
                board.forgive_migration();
            }
            Self::Event { name, .. } => allow(&format!("^{}( |$)", regex::escape(name))),
            Self::Serial { expression, .. } => allow(expression),
            _ => {}
        }
    }

    async fn wait(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let awaited = format!("{self} of `{vm}`");
        let mark = run.mark(vm);
        let log = |session: &Session, read: &dyn Fn(&mut Log) -> Option<Value>| {
            let machine = session.machine(vm)?;
            if let Some(found) = read(&mut machine.log.lock()) {
                return Ok(Some(found));
            }
            let Some(why) = impossible(session, vm, self) else { return Ok(None) };
            machine.catch_up();
            match read(&mut machine.log.lock()) {
                Some(found) => Ok(Some(found)),
                None => Err(Cause::Impossible { awaited: awaited.clone(), why }.into()),
            }
        };
        let seen = |session: &Session, describe: &dyn Fn(&Log) -> String| {
            session
                .machine(vm)
                .map_or_else(|failure| failure.to_string(), |machine| describe(&machine.log.lock()))
        };
        match self {
            Self::Event { name, count, data, fresh } => {
                let from = |log: &Log| {
                    if *fresh { mark.events.max(log.event_cursor) } else { log.event_cursor }
                };
                let matches = |event: &crate::session::log::QmpEvent| {
                    event.name == *name && data.as_ref().is_none_or(|data| contains(&event.data, data))
                };
                let look = |log: &mut Log| {
                    let found =
                        log.events.iter().enumerate().skip(from(log)).filter(|(_, event)| matches(event));
                    let (at, event) = found
                        .take(usize::try_from(*count).ok()?)
                        .enumerate()
                        .last()
                        .and_then(|(number, found)| (number as u64 + 1 == *count).then_some(found))?;
                    let data = event.data.clone();
                    log.event_cursor = at + 1;
                    Some(data)
                };
                let describe = |log: &Log| {
                    let events = log.events.get(from(log)..).unwrap_or_default();
                    let found = events.iter().filter(|event| matches(event)).count();
                    let others: Vec<String> =
                        events.iter().rev().take(8).rev().map(ToString::to_string).collect();
                    let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
                    format!("{found} of {count}; its events: {others}")
                };
                run.until(&awaited, |session| log(session, &look), |session| seen(session, &describe)).await
            }
            Self::Checkpoints(count) => {
                let number = |log: &Log| {
                    checkpoints(&log.events).iter().filter(|done| done.resume_at >= mark.events).count()
                        as u64
                };
                let look = |log: &mut Log| (number(log) >= *count).then_some(Value::Null);
                let describe = |log: &Log| number(log).to_string();
                run.until(&awaited, |session| log(session, &look), |session| seen(session, &describe)).await
            }
            Self::Ticks(count) => {
                let number = |log: &Log| log.ticks_from(mark.serial).count() as u64;
                let look = |log: &mut Log| {
                    if number(log) >= *count { log.progress_since(mark.serial) } else { None }
                };
                let describe = |log: &Log| {
                    let tail = log.serial_tail(1);
                    format!(
                        "{}; its last line: {}",
                        number(log),
                        if tail.is_empty() { "none" } else { &tail }
                    )
                };
                output(run, vm, &awaited, |session| log(session, &look), |session| seen(session, &describe))
                    .await
            }
            Self::Serial { expression, fresh } => {
                let expression = RegexBuilder::new(expression)
                    .multi_line(true)
                    .crlf(true)
                    .build()
                    .map_err(|error| Failure::error(error.to_string()))?;
                let look = |log: &mut Log| {
                    let from = if *fresh { mark.serial } else { log.serial_cursor };
                    let (end, text) = log.find_serial(&expression, from)?;
                    log.serial_cursor = end;
                    Some(text.into())
                };
                let describe = |log: &Log| format!("as its last lines: {}", log.serial_tail(5));
                output(run, vm, &awaited, |session| log(session, &look), |session| seen(session, &describe))
                    .await
            }
            Self::Migration { states, never } => {
                // A query can miss a short status, events cannot.
                let passed = || -> Result<Option<String>, Failure> {
                    let log = run.session.machine(vm)?.log.lock();
                    let mut states = log.migration_statuses(mark.events);
                    Ok(states.find(|state| never.iter().any(|never| never == state)).map(str::to_owned))
                };
                let mut without_stream = 0;
                let is_reported = |status: &str| -> Result<bool, Failure> {
                    let log = run.session.machine(vm)?.log.lock();
                    Ok(log.migration_statuses(0).next_back().is_none_or(|last| last == status))
                };
                let judge = |reply: &Value| {
                    let status = reply["status"].as_str().unwrap_or("none");
                    no_stream(run.session.machine(vm)?, reply, &mut without_stream)?;
                    let now = never.iter().find(|never| *never == status).cloned();
                    if let Some(state) = now.map_or_else(passed, |now| Ok(Some(now)))? {
                        let message = format!("the migration of `{vm}` was {state}, which `never` excludes");
                        return Err(Failure::of_kind(CauseKind::Migration, message));
                    }
                    if states.iter().any(|state| state == status) {
                        return Ok(Some(reply.clone()));
                    }
                    // Wait for its event too, which `never` needs.
                    if FINAL.contains(&status) && is_reported(status)? {
                        let expected = Some(states.join(" or "));
                        return Err(Cause::Migration { status: status_of(reply), expected }.into());
                    }
                    Ok(None)
                };
                run.poll(vm, ("query-migrate", &Value::Null), &awaited, judge, status_of).await
            }
            Self::Status(states) => {
                let status = |reply: &Value| reply["status"].as_str().unwrap_or("none").to_owned();
                let judge = |reply: &Value| Ok(states.contains(&status(reply)).then(|| reply.clone()));
                run.poll(vm, ("query-status", &Value::Null), &awaited, judge, status).await
            }
            Self::Memory(watched) => watched.wait(run, vm, &awaited).await,
            Self::Query { command, arguments, until } => {
                let judge = |reply: &Value| Ok(contains(reply, until).then(|| reply.clone()));
                let arguments = Value::Object(arguments.clone());
                run.poll(vm, (command, &arguments), &awaited, judge, ToString::to_string).await
            }
            Self::Job { id, is } => super::job::wait_for(run, vm, &awaited, (id, *is)).await,
            Self::Exit(exit) => {
                let look = |session: &Session| Ok(session.machine(vm)?.process.ended());
                let how = run.until(&awaited, look, |_| "a running process".to_owned()).await?;
                if exit.matches(how) {
                    return Ok(Value::Null);
                }
                Err(exit.mismatch(format!("VM `{vm}`"), how, String::new()))
            }
            Self::Process { name, exit } => process(run, name, *exit).await,
            Self::Client { name, lines } => client(run, name, *lines).await,
        }
    }
}

/// Waits for output of a guest like [`Running::until`]. Fails if its vCPUs are stopped and its output so far does not match.
async fn output(
    run: &Running<'_>,
    vm: &str,
    awaited: &str,
    look: impl Fn(&Session) -> Result<Option<Value>, Failure>,
    seen: impl Fn(&Session) -> String,
) -> Result<Value, Failure> {
    tokio::select! {
        biased;
        found = run.until(awaited, &look, seen) => found,
        failure = fail_if_stopped(run, vm, awaited) => {
            run.session.machine(vm)?.catch_up();
            look(run.session)?.map_or(failure, Ok)
        }
    }
}

async fn process(run: &Running<'_>, name: &str, exit: Exit) -> Result<Value, Failure> {
    let process = run.session.background().get(name);
    let process = process.ok_or_else(|| Failure::failed(format!("process `{name}` has not been started")))?;
    let awaited = format!("process `{name}` to end");
    let how = run.until(&awaited, |_| Ok(process.ended()), |_| process.state_and_output()).await?;
    if exit.matches(how) {
        return Ok(process.result());
    }
    Err(exit.mismatch(format!("process `{name}`"), how, process.said()))
}

async fn client(run: &Running<'_>, name: &str, lines: u64) -> Result<Value, Failure> {
    let before = run.lines_before(name);
    let more = |session: &Session| -> Result<u64, Failure> {
        Ok(find(session, name)?.progress().saturating_sub(before))
    };
    let awaited = format!("{lines} more lines of client `{name}`");
    let seen = |session: &Session| {
        format!("{} of {lines}; in total {}", more(session).unwrap_or_default(), summary(session, name))
    };
    let look = |session: &Session| {
        let more = more(session)?;
        if more < lines && find(session, name)?.is_stopped() {
            let message = format!("client `{name}` was stopped after {more} more lines, expected {lines}");
            return Err(Failure::of_kind(CauseKind::Impossible, message));
        }
        Ok((more >= lines).then_some(()))
    };
    run.until(&awaited, look, seen).await?;
    Ok(find(run.session, name)?.values())
}

/// The number of consecutive replies without a stream after which there is none: QEMU may have made the first one before it
/// has read the command's last output.
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
