//! Conditions on the host: a command that must succeed, a port that must accept a connection.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::{HostCommand, Port};
use crate::session::Failure;
use crate::session::process::Background;
use crate::step::exec::record;
use crate::step::running::Running;
use crate::step::{Complaints, Scene, StepAction};

/// The pause between two attempts. Neither a program nor a port reports a change.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a server may take for its greeting before the next attempt. A port that QEMU forwards accepts a connection
/// before the guest runs, and such a connection may never be answered.
const GREETING: Duration = Duration::from_secs(5);

/// How many bytes of a greeting are read.
const MAX_GREETING: usize = 4096;

impl HostCommand {
    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        let mut own = Complaints::default();
        self.exec.check(scene, &mut own);
        complaints.under("exec", own);
        complaints.rules_at(&["exec"], crate::step::Exec::RULES, &self.exec);
        for (key, given) in
            [("background", self.exec.background.is_some()), ("ready", self.exec.ready.is_some())]
        {
            if given {
                let message = format!("`{key}` is not allowed in a wait, which runs the command to its end");
                complaints.add(&["exec", key], message, "remove it");
            }
        }
    }

    pub(super) async fn wait(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let (expected, session) = (self.exec.expected(), run.session);
        let ask = async || {
            let process = self.exec.start(session, |_| None)?;
            // If it is still running then, it is killed.
            let _ = timeout_at(run.deadline, process.wait()).await;
            Ok(process)
        };
        let judge = |process: &Background| match process.ended() {
            Some(how) if expected.matches(how) => {
                record(session, process, &self.exec.title()).map(|()| Some(process.result()))
            }
            _ => Ok(None),
        };
        let awaited = super::Condition::HostCommand(self.clone()).to_string();
        let seen = |process: &Background, last: &str| match process.ended() {
            None if !last.is_empty() => last.to_owned(),
            _ => process.state_and_output(),
        };
        run.repeat_every(PAUSE, ask, &awaited, judge, seen).await
    }
}

/// What an attempt to connect saw.
struct Attempt {
    /// What the server sent; `None` if it did not accept the connection.
    greeting: Option<String>,
    seen: String,
}

impl Port {
    pub(super) fn check(&self, complaints: &mut Complaints) {
        if let Err(message) = self.address() {
            let help = "write a number, `HOST:PORT`, or the path of a Unix-domain socket";
            complaints.add(&["port"], message, help);
        }
        if let Some(expression) = &self.greeting {
            complaints.regex(&["greeting"], expression);
        }
    }

    /// `HOST:PORT`, or the path of a socket.
    fn address(&self) -> Result<Result<String, PathBuf>, String> {
        let text = self.port.0.as_str();
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        if text.contains('/') {
            Ok(Err(PathBuf::from(text)))
        } else if is_port(text) {
            Ok(Ok(format!("127.0.0.1:{text}")))
        } else if text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port)) {
            Ok(Ok(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a valid port"))
        }
    }

    pub(super) async fn wait(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let address = self.address().map_err(Failure::error)?;
        let address = address.map_err(|path| run.session.directory().join(path));
        let expression = self.greeting.as_deref().map(Regex::new).transpose();
        let expression = expression.map_err(|error| Failure::error(error.to_string()))?;
        let ask = async || {
            let mut sent = Vec::new();
            let attempt = async {
                match &address {
                    Ok(address) => {
                        read(TcpStream::connect(address).await?, expression.as_ref(), &mut sent).await
                    }
                    Err(path) => read(UnixStream::connect(path).await?, expression.as_ref(), &mut sent).await,
                }
            };
            let ended = timeout_at(run.deadline.min(Instant::now() + GREETING), attempt).await;
            let sent = String::from_utf8_lossy(&sent).into_owned();
            Ok(match ended {
                Ok(Err(error)) => Attempt { greeting: None, seen: error.to_string() },
                Err(_) if sent.is_empty() => Attempt { greeting: None, seen: "no answer".to_owned() },
                Ok(Ok(())) | Err(_) => Attempt {
                    seen: format!("a connection on which the server sent {sent:?}"),
                    greeting: Some(sent),
                },
            })
        };
        let judge = |attempt: &Attempt| {
            let matching =
                |text: &&String| expression.as_ref().is_none_or(|expression| expression.is_match(text));
            Ok(attempt.greeting.as_ref().filter(matching).map(|text| json!({"greeting": text})))
        };
        let awaited = super::Condition::Port(self.clone()).to_string();
        run.repeat_every(PAUSE, ask, &awaited, judge, |attempt: &Attempt, _| attempt.seen.clone()).await
    }
}

/// Reads what a server sends until the expression matches; nothing without an expression.
async fn read(
    mut stream: impl AsyncRead + Unpin,
    expression: Option<&Regex>,
    sent: &mut Vec<u8>,
) -> std::io::Result<()> {
    while let Some(expression) = expression
        && !expression.is_match(&String::from_utf8_lossy(sent))
        && sent.len() < MAX_GREETING
        && stream.read_buf(sent).await? > 0
    {}
    Ok(())
}
