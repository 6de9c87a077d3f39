//! Commands in a guest by its agent.

use serde_json::Value;
use tokio::time::Instant;

use super::place::{Left, fail_if_moved, left};
use super::{Command, Ran};
use crate::cause::CauseKind;
use crate::qemu::agent::{Agent, AgentError, Pid, ProgramState};
use crate::qemu::process::Ended;
use crate::session::{Cause, Failure, Machine};
use crate::step::running::Running;
use crate::step::wakes::LONGEST;

/// The identifier of the agent's port.
const PORT: &str = "lockstep-agent";

/// How far a command has got.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// It has not been sent.
    Unsent,
    /// It has been sent to this agent.
    Sent,
    /// The agent has started it.
    Started(Pid),
}

/// Runs a command by the agent. Goes on at the destination if the guest migrates meanwhile.
pub(super) async fn run(
    run: &Running<'_>,
    vm: &str,
    command: &Command,
    stdin: Option<&str>,
) -> Result<Ran, Failure> {
    let began = Instant::now();
    let mut place = vm.to_owned();
    let mut phase = Phase::Unsent;
    let what = format!("`{command}` in the guest of `{vm}`");
    loop {
        let machine = run.session.machine(&place)?;
        let agent = machine.agent().ok_or_else(|| no_agent(&place))?;
        let talk = talk(run, &machine, agent, (command, stdin), &mut phase);
        let moved = tokio::select! {
            biased;
            done = talk => match done? {
                Some((how, stdout, stderr)) => {
                    return Ok(Ran { vm: place, how, stdout, stderr, took: began.elapsed() });
                }
                // The connection broke, so the VM ends.
                None => left(run, &place, &what).await,
            },
            moved = left(run, &place, &what) => moved,
        };
        match (moved, phase) {
            (Left::Lost(failure), _) => return Err(failure),
            (Left::Moved(to), Phase::Sent) => {
                let message = format!(
                    "`{command}`: the guest moved from `{place}` to `{to}` before its agent said that the command had started"
                );
                return Err(Failure::failed(message).about(&place));
            }
            (Left::Moved(to), _) => place = to,
        }
    }
}

/// Runs a command of the agent itself, and returns its reply. Fails if the guest moves meanwhile.
pub(super) async fn execute(
    run: &Running<'_>,
    vm: &str,
    command: &str,
    arguments: &Value,
) -> Result<Value, Failure> {
    let what = format!("the reply of the guest agent of `{vm}` to `{command}`");
    fail_if_moved(run, vm, &what).await?;
    let machine = run.session.machine(vm)?;
    let agent = machine.agent().ok_or_else(|| no_agent(vm))?;
    let talk = async {
        agent.synchronize(run.deadline).await?;
        agent.execute(command, arguments.clone(), run.deadline).await
    };
    let gone = tokio::select! {
        biased;
        reply = talk => match reply {
            Ok(reply) => return Ok(reply),
            Err(error) => match failure(run, &machine, error) {
                Some(failure) => return Err(failure),
                None => left(run, vm, &what).await,
            },
        },
        gone = left(run, vm, &what) => gone,
    };
    Err(match gone {
        Left::Lost(failure) => failure,
        Left::Moved(to) => {
            let message =
                format!("`{command}`: the guest moved from `{vm}` to `{to}` before its agent replied");
            Failure::failed(message).about(vm)
        }
    })
}

/// Why the agent of a VM did not do what it was asked. None: the connection broke, so the VM ends.
pub(super) fn failure(run: &Running<'_>, machine: &Machine, error: AgentError) -> Option<Failure> {
    let name = machine.name();
    match error {
        AgentError::Io(_) => None,
        AgentError::Silent(_) => {
            let (awaited, seen) = (format!("the guest agent of `{name}` to answer"), port_state(machine));
            Some(Cause::Timeout { awaited, waited: run.began.elapsed(), seen }.into())
        }
        error => Some(Failure::of_kind(CauseKind::Check, error.to_string()).of(name)),
    }
}

type Output = (Ended, Vec<u8>, Vec<u8>);

/// None: the connection broke.
async fn talk(
    run: &Running<'_>,
    machine: &Machine,
    agent: &Agent,
    (command, stdin): (&Command, Option<&str>),
    phase: &mut Phase,
) -> Result<Option<Output>, Failure> {
    let name = machine.name();
    let failed = |error: AgentError| failure(run, machine, error).map_or(Ok(None), Err);
    if let Err(error) = agent.synchronize(run.deadline).await {
        return failed(error);
    }
    let pid = match *phase {
        Phase::Started(pid) => pid,
        Phase::Unsent | Phase::Sent => {
            *phase = Phase::Sent;
            match agent.start(&command.argv(), stdin, run.deadline).await {
                Ok(pid) => pid,
                Err(AgentError::Refused { why, is_generic: true, .. }) => {
                    return Ok(Some((Ended::Status(super::NOT_STARTED), Vec::new(), why.into_bytes())));
                }
                Err(error) => return failed(error),
            }
        }
    };
    *phase = Phase::Started(pid);
    loop {
        match agent.state(pid, run.deadline).await {
            Ok(ProgramState::Running) if Instant::now() < run.deadline => {
                tokio::time::sleep_until((Instant::now() + LONGEST).min(run.deadline)).await;
            }
            Ok(ProgramState::Running) | Err(AgentError::Silent(_)) => {
                let awaited = format!("`{command}` in the guest of `{name}` to end");
                let seen = "it has been started and has not ended".to_owned();
                let waited = run.began.elapsed();
                return Err(Failure::from(Cause::Timeout { awaited, waited, seen }).about(name));
            }
            Ok(ProgramState::Ended { truncated: true, .. }) => {
                let message = format!("`{command}`: the guest agent has dropped a part of its output");
                return Err(Failure::failed(message).of(name));
            }
            Ok(ProgramState::Ended { how, stdout, stderr, .. }) => return Ok(Some((how, stdout, stderr))),
            Err(error) => return failed(error),
        }
    }
}

/// What the VM's events say of the agent's port.
fn port_state(machine: &Machine) -> String {
    let log = machine.log.lock();
    let last = log.events.iter().rfind(|event| event.name == "VSERPORT_CHANGE" && event.data["id"] == PORT);
    match last.map(|event| &event.data["open"] == true) {
        Some(true) => "no reply, although the guest has its port open".to_owned(),
        Some(false) => "no reply; the guest has closed its port".to_owned(),
        None => "no reply; the guest has not opened its port in this VM".to_owned(),
    }
}

pub(super) fn no_agent(vm: &str) -> Failure {
    Failure::error(format!("VM `{vm}` has no port for a guest agent")).about(vm)
}
