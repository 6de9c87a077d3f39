//! Files to and from a guest by its agent, in pieces.
//!
//! Each piece has its offset, so that one whose reply is lost when the guest moves is sent, or read, once more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::agent::{failure, no_agent};
use super::place::{Left, left};
use crate::qemu::agent::{Agent, AgentError};
use crate::session::Failure;
use crate::step::running::Running;

/// The length of a piece.
const PIECE: usize = 256 << 10;

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Into,
    OutOf,
}

/// A file on its way.
struct Transfer<'f> {
    way: Way,
    /// Its path in the guest.
    path: &'f str,
    /// The host's file.
    file: &'f File,
    /// The agent's number of the open file.
    handle: Option<u64>,
    /// How much of it is there.
    offset: u64,
    /// Whether all of it is, and the agent was told to close it.
    is_closing: bool,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("the host's file: {0}")]
    Host(#[from] io::Error),
}

/// Copies a file. Goes on at the destination if the guest migrates meanwhile; returns the VM in which the copy ended.
pub(super) async fn copy(
    run: &Running<'_>,
    vm: &str,
    (way, path): (Way, &str),
    file: &File,
    what: &str,
) -> Result<String, Failure> {
    let mut place = vm.to_owned();
    let mut transfer = Transfer { way, path, file, handle: None, offset: 0, is_closing: false };
    loop {
        let machine = run.session.machine(&place)?;
        let agent = machine.agent().ok_or_else(|| no_agent(&place))?;
        let moved = tokio::select! {
            biased;
            done = transfer.go_on(agent, run.deadline) => match done {
                Ok(()) => return Ok(place),
                Err(Stopped::Host(error)) => return Err(Failure::error(format!("{what}: {error}"))),
                Err(Stopped::Agent(error)) => match failure(run, &machine, error) {
                    Some(failure) => {
                        let copied = format!("{} bytes had been copied", transfer.offset);
                        return Err(failure.led_by(&format!("{what}: ")).noted(&copied));
                    }
                    // The connection broke, so the VM ends.
                    None => left(run, &place, what).await,
                },
            },
            moved = left(run, &place, what) => moved,
        };
        match moved {
            Left::Lost(failure) => return Err(failure),
            Left::Moved(to) => place = to,
        }
    }
}

impl Transfer<'_> {
    /// Copies what is left.
    async fn go_on(&mut self, agent: &Agent, deadline: Instant) -> Result<(), Stopped> {
        agent.synchronize(deadline).await?;
        let ask = async |command: &str, arguments: Value| agent.execute(command, arguments, deadline).await;
        let handle = match self.handle {
            Some(handle) if self.is_closing => handle,
            Some(handle) => {
                let place = json!({"handle": handle, "offset": self.offset, "whence": "set"});
                ask("guest-file-seek", place).await?;
                handle
            }
            None => {
                let mode = if self.way == Way::Into { "w" } else { "r" };
                let reply = ask("guest-file-open", json!({"path": self.path, "mode": mode})).await?;
                *self.handle.insert(number(&reply, "guest-file-open")?)
            }
        };
        while !self.is_closing && self.piece(agent, handle, deadline).await? {}
        let again = std::mem::replace(&mut self.is_closing, true);
        match ask("guest-file-close", json!({ "handle": handle })).await {
            // The reply to the first one was lost.
            Err(AgentError::Refused { .. }) if again => Ok(()),
            closed => Ok(closed.map(|_| ())?),
        }
    }

    /// Copies the next piece; returns whether there may be more.
    async fn piece(&mut self, agent: &Agent, handle: u64, deadline: Instant) -> Result<bool, Stopped> {
        if self.way == Way::OutOf {
            const COMMAND: &str = "guest-file-read";
            let reply = agent.execute(COMMAND, json!({"handle": handle, "count": PIECE}), deadline).await?;
            let bytes = reply["buf-b64"].as_str().and_then(|digits| STANDARD.decode(digits).ok());
            let is_last = reply["eof"] == true;
            let bytes = bytes.ok_or_else(|| AgentError::Wrong { command: COMMAND.to_owned(), reply })?;
            self.file.write_all_at(&bytes, self.offset)?;
            self.offset += bytes.len() as u64;
            return Ok(!is_last && !bytes.is_empty());
        }
        const COMMAND: &str = "guest-file-write";
        let mut piece = vec![0; PIECE];
        let read = self.file.read_at(&mut piece, self.offset)?;
        piece.truncate(read);
        if piece.is_empty() {
            return Ok(false);
        }
        let arguments = json!({"handle": handle, "buf-b64": STANDARD.encode(&piece)});
        let reply = agent.execute(COMMAND, arguments, deadline).await?;
        let written = number(&reply["count"], COMMAND)?;
        if written == 0 {
            return Err(AgentError::Wrong { command: COMMAND.to_owned(), reply }.into());
        }
        self.offset += written;
        Ok(true)
    }
}

fn number(reply: &Value, command: &str) -> Result<u64, AgentError> {
    let wrong = || AgentError::Wrong { command: command.to_owned(), reply: reply.clone() };
    reply.as_u64().ok_or_else(wrong)
}
