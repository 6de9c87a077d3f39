//! A client of QEMU's guest agent.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::process::Ended;

/// How long to wait for the reply to a `guest-sync-delimited` before another one is sent, twice as long each time: the
/// guest drops what arrives while its agent restarts.
const SYNC_AGAIN: Duration = Duration::from_secs(3);

/// The byte that precedes the reply to `guest-sync-delimited`.
const DELIMITER: u8 = 0xff;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The agent refused it.
    #[error("`{command}` was refused by the guest agent: {why}")]
    Refused {
        /// The command.
        command: String,
        /// The agent's error.
        why: String,
        /// Whether it is a `GenericError`: the agent has the command, which failed.
        is_generic: bool,
    },
    /// No reply came before the deadline.
    #[error("no reply of the guest agent to `{0}`")]
    Silent(String),
    /// The agent's reply lacks something.
    #[error("the guest agent replied {reply} to `{command}`")]
    Wrong {
        /// The command.
        command: String,
        /// The reply.
        reply: Value,
    },
    /// The connection broke.
    #[error("the connection to the guest agent broke: {0}")]
    Io(#[from] io::Error),
}

/// A connection to the port of a guest agent. One command per line, one reply per line.
#[derive(Debug)]
pub struct Agent(Mutex<Wire>);

#[derive(Debug)]
struct Wire {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    /// The number of the last `guest-sync-delimited`.
    number: u64,
}

/// A program that the agent has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(u64);

/// The state of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramState {
    /// It is running.
    Running,
    /// It has ended.
    Ended {
        /// How.
        how: Ended,
        /// Its standard output.
        stdout: Vec<u8>,
        /// Its standard error.
        stderr: Vec<u8>,
        /// Whether the agent has dropped a part of its output.
        truncated: bool,
    },
}

impl Agent {
    /// Uses a connection to the port.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let (input, output) = stream.into_split();
        Self(Mutex::new(Wire { input: BufReader::new(input), output, number: 0 }))
    }

    /// Waits until the agent answers, and drops the replies to earlier commands.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn synchronize(&self, deadline: Instant) -> Result<(), AgentError> {
        let mut wire = self.0.lock().await;
        let mut patience = SYNC_AGAIN;
        loop {
            wire.number += 1;
            let arguments = json!({"id": wire.number});
            let command = json!({"execute": "guest-sync-delimited", "arguments": arguments});
            let sent = [&[DELIMITER], command.to_string().as_bytes(), b"\n"].concat();
            let again = deadline.min(Instant::now() + patience);
            match timeout_at(again, wire.synchronize(&sent)).await {
                Ok(done) => return Ok(done?),
                Err(_) if again == deadline => {
                    return Err(AgentError::Silent("guest-sync-delimited".to_owned()));
                }
                Err(_) => patience *= 2,
            }
        }
    }

    /// Starts a program, which gets this standard input.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn start(
        &self,
        argv: &[String],
        stdin: Option<&str>,
        deadline: Instant,
    ) -> Result<Pid, AgentError> {
        let (program, rest) = argv.split_first().map_or(("", argv), |(first, rest)| (first.as_str(), rest));
        let input = STANDARD.encode(stdin.unwrap_or_default());
        let arguments = json!({"path": program, "arg": rest, "input-data": input, "capture-output": true});
        let reply = self.execute("guest-exec", arguments, deadline).await?;
        let pid = reply["pid"].as_u64();
        pid.map(Pid).ok_or_else(|| AgentError::Wrong { command: "guest-exec".to_owned(), reply })
    }

    /// The state of a program. Once the agent has said that it has ended, it does not know it any more.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn state(&self, Pid(pid): Pid, deadline: Instant) -> Result<ProgramState, AgentError> {
        const COMMAND: &str = "guest-exec-status";
        let reply = self.execute(COMMAND, json!({ "pid": pid }), deadline).await?;
        if reply["exited"] == false {
            return Ok(ProgramState::Running);
        }
        let number = |key: &str| reply[key].as_i64().and_then(|number| i32::try_from(number).ok());
        let bytes = |key: &str| STANDARD.decode(reply[key].as_str().unwrap_or_default()).ok();
        let how = number("exitcode").map(Ended::Status).or_else(|| number("signal").map(Ended::Signal));
        let truncated = reply["out-truncated"] == true || reply["err-truncated"] == true;
        match (how, bytes("out-data"), bytes("err-data")) {
            (Some(how), Some(stdout), Some(stderr)) => {
                Ok(ProgramState::Ended { how, stdout, stderr, truncated })
            }
            _ => Err(AgentError::Wrong { command: COMMAND.to_owned(), reply }),
        }
    }

    /// Runs a command, and returns its reply.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn execute(
        &self,
        command: &str,
        arguments: Value,
        deadline: Instant,
    ) -> Result<Value, AgentError> {
        let mut wire = self.0.lock().await;
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        let talk = async {
            wire.output.write_all(line.as_bytes()).await?;
            wire.reply().await
        };
        let reply = timeout_at(deadline, talk).await;
        let mut reply = reply.map_err(|_| AgentError::Silent(command.to_owned()))??;
        match reply["error"]["desc"].as_str() {
            Some(why) => {
                let is_generic = reply["error"]["class"] == "GenericError";
                let (command, why) = (command.to_owned(), why.trim_end().to_owned());
                Err(AgentError::Refused { command, why, is_generic })
            }
            None if reply.get("return").is_some() => Ok(reply["return"].take()),
            None => Err(AgentError::Wrong { command: command.to_owned(), reply }),
        }
    }
}

impl Wire {
    /// Sends a `guest-sync-delimited` with the last number, and reads until the reply to it.
    async fn synchronize(&mut self, sent: &[u8]) -> io::Result<()> {
        self.output.write_all(sent).await?;
        loop {
            let mut dropped = Vec::new();
            if self.input.read_until(DELIMITER, &mut dropped).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.reply().await?["return"].as_u64() == Some(self.number) {
                return Ok(());
            }
        }
    }

    /// The next line; null if it is not JSON.
    async fn reply(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        if self.input.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that has these replies, and the requests that it got.
    fn agent(replies: &'static [&'static [u8]]) -> (Agent, tokio::task::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = tokio::spawn(async move {
            let (input, mut output) = theirs.into_split();
            let mut input = BufReader::new(input);
            let mut heard = vec![];
            for reply in replies {
                let mut line = Vec::new();
                input.read_until(b'\n', &mut line).await.unwrap();
                heard.push(String::from_utf8_lossy(&line).trim_start_matches('\u{fffd}').trim().to_owned());
                output.write_all(reply).await.unwrap();
            }
            heard
        });
        (Agent::new(ours), peer)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn replies_to_earlier_commands_are_dropped() {
        let (agent, peer) = agent(&[
            b"{\"return\": {\"pid\": 3}}\n{\"error\": {\"desc\": \"stray\"}}\n\xff{\"return\": 0}\n\xff{\"return\": 1}\n",
            b"{\"return\": {\"pid\": 70}}\n",
        ]);
        agent.synchronize(soon()).await.unwrap();
        let argv = ["cat".to_owned(), "a b".to_owned()];
        assert_eq!(agent.start(&argv, Some("in"), soon()).await.unwrap(), Pid(70));
        let heard = peer.await.unwrap();
        assert_eq!(heard[0], r#"{"execute":"guest-sync-delimited","arguments":{"id":1}}"#);
        assert!(heard[1].contains(r#""path":"cat","arg":["a b"],"input-data":"aW4=""#), "{}", heard[1]);
    }

    #[tokio::test]
    async fn a_program_has_ended_with_a_status_or_by_a_signal() {
        let (agent, _peer) = agent(&[
            b"{\"return\": {\"exited\": false}}\n",
            b"{\"return\": {\"exited\": true, \"exitcode\": 3, \"out-data\": \"AP8=\"}}\n",
            b"{\"return\": {\"exited\": true, \"signal\": 9}}\n",
            b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid parameter 'pid'\"}}\n",
        ]);
        assert_eq!(agent.state(Pid(7), soon()).await.unwrap(), ProgramState::Running);
        let ended = |how, stdout: &[u8]| ProgramState::Ended {
            how,
            stdout: stdout.to_vec(),
            stderr: Vec::new(),
            truncated: false,
        };
        assert_eq!(agent.state(Pid(7), soon()).await.unwrap(), ended(Ended::Status(3), &[0, 255]));
        assert_eq!(agent.state(Pid(7), soon()).await.unwrap(), ended(Ended::Signal(9), &[]));
        let refused = agent.state(Pid(7), soon()).await.unwrap_err().to_string();
        assert!(refused.ends_with("was refused by the guest agent: Invalid parameter 'pid'"), "{refused}");
    }

    #[tokio::test]
    async fn an_agent_that_does_not_answer_is_named_at_the_deadline() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = Agent::new(ours).synchronize(deadline).await.unwrap_err().to_string();
        assert_eq!(error, "no reply of the guest agent to `guest-sync-delimited`");
    }
}
