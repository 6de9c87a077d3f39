//! A client of QEMU's monitor protocol (QMP): commands with deadlines, in band and out of band, and events.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hmp;
use super::qmp_input::{Input, Message, NotQmp};
use super::read::read_now;

/// Why a command failed.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum QmpError {
    /// QEMU replied with an error.
    #[error("`{command}` was refused: {description}{}", class.as_ref().map(|class| format!(" ({class})")).unwrap_or_default())]
    Refused {
        /// The command.
        command: String,
        /// The error's class, if it is not `GenericError`.
        class: Option<String>,
        /// QEMU's description.
        description: String,
    },
    /// No reply came before the deadline.
    #[error("`{command}`{} got no reply within {}", if *oob { " (out of band)" } else { "" }, crate::units::elapsed(*waited))]
    Silent {
        /// The command.
        command: String,
        /// Whether it was sent out of band.
        oob: bool,
        /// How long we waited.
        waited: Duration,
    },
    /// The monitor's connection is closed: QEMU has exited or is about to.
    #[error("`{command}`: the monitor is closed")]
    Closed {
        /// The command.
        command: String,
    },
    /// The received data is not QMP.
    #[error("not a QMP monitor: {0}")]
    Protocol(String),
}

/// The traffic, for the transcript and the event log.
#[derive(Debug)]
pub enum Traffic<'a> {
    /// A command as sent.
    Sent(&'a Value),
    /// A reply or error as received.
    Reply(&'a Value),
    /// An event as received.
    Event(&'a Value),
    /// The connection is closed.
    Closed,
}

type Tap = Box<dyn Fn(Traffic<'_>) + Send + Sync>;

/// A connected monitor; its clones share the connection.
#[derive(Clone)]
pub struct Qmp {
    wire: Arc<Wire>,
    /// The unsent rest of the last command; locked by the writer.
    unsent: Arc<tokio::sync::Mutex<Vec<u8>>>,
    /// Whether commands can run out of band.
    pub oob: bool,
    /// The greeting's `version`.
    pub version: Value,
}

struct Wire {
    stream: UnixStream,
    tap: Tap,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    input: Input,
    next_id: u64,
    pending: HashMap<u64, oneshot::Sender<Value>>,
    greeting: Option<oneshot::Sender<Result<Value, String>>>,
    /// A greeting that was not expected yet: another QEMU is at the other end.
    greeted_again: Option<Value>,
    closed: bool,
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads everything that has arrived, without waiting. False once the connection is closed.
    fn pump(&self) -> bool {
        let mut state = self.state();
        let mut chunk = [0; 16 * 1024];
        loop {
            if state.closed {
                return false;
            }
            match read_now(&self.stream, &mut chunk) {
                Ok(count @ 1..) => {
                    state.input.feed(&chunk[..count]);
                    self.dispatch(&mut state);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.close(&mut state, "closed before the greeting"),
            }
        }
    }

    fn dispatch(&self, state: &mut State) {
        loop {
            match state.input.next_message() {
                Ok(Some(Message::Greeting(message))) => {
                    // Requests to the previous QEMU get no reply any more.
                    state.pending.clear();
                    match state.greeting.take() {
                        Some(greeting) => drop(greeting.send(Ok(message))),
                        None => state.greeted_again = Some(message),
                    }
                }
                Ok(Some(Message::Event(message))) => (self.tap)(Traffic::Event(&message)),
                Ok(Some(Message::Reply { id, message })) => {
                    (self.tap)(Traffic::Reply(&message));
                    if let Some(waiting) = id.and_then(|id| state.pending.remove(&id)) {
                        // The receiver is gone if it has given up meanwhile.
                        let _ = waiting.send(message);
                    }
                }
                Ok(None) => return,
                Err(NotQmp(why)) => return self.close(state, &why),
            }
        }
    }

    fn close(&self, state: &mut State, why: &str) {
        state.closed = true;
        state.pending.clear();
        if let Some(greeting) = state.greeting.take() {
            let _ = greeting.send(Err(why.to_owned()));
        }
        (self.tap)(Traffic::Closed);
    }
}

impl Qmp {
    /// Waits for QEMU's greeting and negotiates. `oob`: `None` enables out-of-band execution if offered, `Some(true)`
    /// requires it. The tap receives everything but the greeting.
    ///
    /// # Errors
    /// When no greeting comes before the deadline, the connection closes, or required out-of-band execution is not
    /// offered.
    pub async fn connect(
        stream: UnixStream,
        oob: Option<bool>,
        deadline: Instant,
        tap: impl Fn(Traffic<'_>) + Send + Sync + 'static,
    ) -> Result<Self, QmpError> {
        let (greet, greeting) = oneshot::channel();
        let state = Mutex::new(State { greeting: Some(greet), ..State::default() });
        let wire = Arc::new(Wire { stream, tap: Box::new(tap), state });
        let reader = Arc::clone(&wire);
        tokio::spawn(async move { while reader.stream.readable().await.is_ok() && reader.pump() {} });
        let greeting = greeted(greeting, deadline).await?;
        let mut qmp = Self { wire, unsent: Arc::default(), oob: false, version: Value::Null };
        qmp.negotiate(&greeting, oob, deadline).await?;
        Ok(qmp)
    }

    /// Waits for a further greeting on the same connection, from a QEMU that replaced the previous one (`execve`),
    /// and negotiates. A greeting that has already arrived counts.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn greet_again(&mut self, oob: Option<bool>, deadline: Instant) -> Result<(), QmpError> {
        self.catch_up();
        let (greet, greeting) = oneshot::channel();
        let there = {
            let mut state = self.wire.state();
            if state.closed {
                return Err(QmpError::Protocol("it is closed".to_owned()));
            }
            let there = state.greeted_again.take();
            state.greeting = there.is_none().then_some(greet);
            there
        };
        let greeting = match there {
            Some(greeting) => greeting,
            None => greeted(greeting, deadline).await?,
        };
        self.negotiate(&greeting, oob, deadline).await
    }

    async fn negotiate(
        &mut self,
        greeting: &Value,
        oob: Option<bool>,
        deadline: Instant,
    ) -> Result<(), QmpError> {
        let offered =
            greeting["QMP"]["capabilities"].as_array().is_some_and(|list| list.contains(&json!("oob")));
        if oob == Some(true) && !offered {
            return Err(QmpError::Protocol("no support for out-of-band execution".to_owned()));
        }
        self.oob = offered && oob.unwrap_or(true);
        self.version = greeting["QMP"]["version"].clone();
        let enable = if self.oob { json!({"enable": ["oob"]}) } else { json!({}) };
        self.execute("qmp_capabilities", enable.as_object().cloned().unwrap_or_default(), false, deadline)
            .await?;
        Ok(())
    }

    /// Runs a command and waits for its reply until the deadline. QEMU may still execute a command that timed out.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn execute(
        &self,
        command: &str,
        arguments: Map<String, Value>,
        oob: bool,
        deadline: Instant,
    ) -> Result<Value, QmpError> {
        self.execute_with(command, arguments, None, oob, deadline).await
    }

    /// Runs a command like [`Self::execute`] and passes a descriptor (`SCM_RIGHTS`), for `getfd` and `add-fd`.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn execute_with(
        &self,
        command: &str,
        arguments: Map<String, Value>,
        descriptor: Option<BorrowedFd<'_>>,
        oob: bool,
        deadline: Instant,
    ) -> Result<Value, QmpError> {
        let began = Instant::now();
        let closed = || QmpError::Closed { command: command.to_owned() };
        let (id, reply) = {
            let mut state = self.wire.state();
            if state.closed {
                return Err(closed());
            }
            state.next_id += 1;
            let (waiting, reply) = oneshot::channel();
            let id = state.next_id;
            state.pending.insert(id, waiting);
            (id, reply)
        };
        let human = arguments.get("command-line").filter(|_| command == hmp::CARRIER);
        let human = human.and_then(Value::as_str).map(str::to_owned);
        let mut message = json!({ if oob { "exec-oob" } else { "execute" }: command, "id": id });
        if !arguments.is_empty() {
            message["arguments"] = Value::Object(arguments);
        }
        (self.wire.tap)(Traffic::Sent(&message));
        let outcome = tokio::time::timeout_at(deadline, async {
            self.send(&message, descriptor).await.map_err(|_| closed())?;
            reply.await.map_err(|_| closed())
        })
        .await;
        self.wire.state().pending.remove(&id);
        let silent = |_| QmpError::Silent { command: command.to_owned(), oob, waited: began.elapsed() };
        let mut reply = outcome.map_err(silent)??;
        match reply.get_mut("error") {
            None => answered(human, reply.get_mut("return").map(Value::take).unwrap_or_default()),
            Some(error) => Err(QmpError::Refused {
                command: command.to_owned(),
                class: error["class"].as_str().filter(|class| *class != "GenericError").map(str::to_owned),
                description: error["desc"].as_str().unwrap_or("no reason given").to_owned(),
            }),
        }
    }

    /// Writes a message. Cancel-safe: a partly written message is completed before the next one.
    async fn send(&self, message: &Value, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut text = message.to_string();
        text.push('\n');
        let mut unsent = self.unsent.lock().await;
        self.complete(&mut unsent).await?;
        let sent = self.write(text.as_bytes(), descriptor).await?;
        unsent.extend_from_slice(&text.as_bytes()[sent..]);
        self.complete(&mut unsent).await
    }

    async fn complete(&self, unsent: &mut Vec<u8>) -> io::Result<()> {
        while !unsent.is_empty() {
            let sent = self.write(unsent, None).await?;
            unsent.drain(..sent);
        }
        Ok(())
    }

    /// Writes as many bytes as the socket accepts.
    async fn write(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        loop {
            self.wire.stream.writable().await?;
            let sent = match descriptor {
                None => self.wire.stream.try_write(bytes),
                Some(fd) => {
                    self.wire.stream.try_io(Interest::WRITABLE, || send_beside(&self.wire.stream, bytes, fd))
                }
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    /// Reads everything that has arrived so far, so that what follows is up to date.
    pub fn catch_up(&self) {
        self.wire.pump();
    }
}

async fn greeted(
    greeting: oneshot::Receiver<Result<Value, String>>,
    deadline: Instant,
) -> Result<Value, QmpError> {
    match tokio::time::timeout_at(deadline, greeting).await {
        Ok(Ok(Ok(greeting))) => Ok(greeting),
        Ok(Ok(Err(why))) => Err(QmpError::Protocol(why)),
        Ok(Err(_)) | Err(_) => Err(QmpError::Protocol("no greeting in time".to_owned())),
    }
}

/// The result of a successful reply; a reply of the human monitor to this command line may still report an error.
fn answered(human: Option<String>, reply: Value) -> Result<Value, QmpError> {
    match human.zip(reply.as_str()).and_then(|(line, text)| Some((hmp::refusal(&line, text)?, line))) {
        Some((description, command)) => Err(QmpError::Refused { command, class: None, description }),
        None => Ok(reply),
    }
}

/// Writes bytes with a descriptor attached to the first of them.
fn send_beside(stream: &UnixStream, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(sendmsg(stream, &[io::IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
}

impl std::fmt::Debug for Qmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qmp").field("oob", &self.oob).field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A monitor that greets, accepts the negotiation and then answers as `answers` says.
    async fn monitor(stream: UnixStream, answers: Vec<String>) {
        let (input, mut output) = stream.into_split();
        let mut lines = BufReader::new(input).lines();
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 11}}, "capabilities": ["oob"]}});
        output.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
        let hello: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        output.write_all(format!("{}\n", json!({"return": {}, "id": hello["id"]})).as_bytes()).await.unwrap();
        for answer in answers {
            let command: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
            let answer = answer.replace("ID", &command["id"].to_string());
            output.write_all(answer.as_bytes()).await.unwrap();
        }
        // Open until the client has gone.
        while let Ok(Some(_)) = lines.next_line().await {}
    }

    async fn connected(answers: &[&str]) -> (Qmp, Arc<Mutex<Vec<String>>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(monitor(theirs, answers.iter().map(|&answer| answer.to_owned()).collect()));
        let events = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&events);
        let tap = move |traffic: Traffic<'_>| {
            if let Traffic::Event(event) = traffic {
                log.lock().unwrap().push(event["event"].as_str().unwrap().to_owned());
            }
        };
        (Qmp::connect(ours, None, soon(), tap).await.unwrap(), events)
    }

    #[tokio::test]
    async fn an_event_before_the_reply_is_not_lost() {
        let (qmp, events) = connected(&["{\"event\": \"STOP\"}\n{\"return\": 7, \"id\": ID}\n"]).await;
        assert!(qmp.oob);
        assert_eq!(qmp.execute("stop", Map::new(), false, soon()).await, Ok(json!(7)));
        assert_eq!(*events.lock().unwrap(), ["STOP"]);
    }

    #[tokio::test]
    async fn an_error_contains_the_message_of_qemu() {
        let error = r#"{"error": {"class": "DeviceNotFound", "desc": "Instance not found"}, "id": ID}"#;
        let (qmp, _) = connected(&[&format!("{error}\n")]).await;
        let message = qmp.execute("yank", Map::new(), true, soon()).await.unwrap_err().to_string();
        assert_eq!(message, "`yank` was refused: Instance not found (DeviceNotFound)");
    }

    #[tokio::test]
    async fn a_command_without_a_reply_times_out_and_the_next_one_works() {
        let (qmp, _) = connected(&["", "{\"return\": {}, \"id\": ID}\n"]).await;
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = qmp.execute("query-status", Map::new(), false, deadline).await.unwrap_err();
        assert!(matches!(&error, QmpError::Silent { oob: false, .. }), "{error}");
        assert!(qmp.execute("yank", Map::new(), true, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn a_command_that_times_out_while_it_is_written_does_not_corrupt_the_next_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (input, mut output) = theirs.into_split();
        let mut lines = BufReader::new(input).lines();
        let negotiate = async {
            output.write_all(b"{\"QMP\": {\"capabilities\": []}}\n").await.unwrap();
            let hello = lines.next_line().await.unwrap().unwrap();
            output.write_all(b"{\"return\": {}, \"id\": 1}\n").await.unwrap();
            assert!(hello.contains("qmp_capabilities"), "{hello}");
        };
        let ((), qmp) = tokio::join!(negotiate, Qmp::connect(ours, None, soon(), |_| ()));
        let qmp = qmp.unwrap();
        // More than the socket holds, so that it stops in the middle as long as nothing is read.
        let long = Map::from_iter([("long".to_owned(), Value::from("x".repeat(4 << 20)))]);
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = qmp.execute("first", long, false, deadline).await.unwrap_err();
        assert!(matches!(&error, QmpError::Silent { .. }), "{error}");
        let answers = async {
            let mut commands = Vec::new();
            for _ in 0..2 {
                let line = lines.next_line().await.unwrap().unwrap();
                let command: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}"));
                commands.push(command["execute"].as_str().unwrap().to_owned());
            }
            output.write_all(b"{\"return\": 7, \"id\": 3}\n").await.unwrap();
            commands
        };
        let (commands, reply) = tokio::join!(answers, qmp.execute("second", Map::new(), false, soon()));
        assert_eq!((commands.join(" ").as_str(), reply), ("first second", Ok(json!(7))));
    }

    #[tokio::test]
    async fn a_second_greeting_closes_the_pending_commands() {
        let greeting = "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 12}}, \"capabilities\": []}}\n";
        let (mut qmp, _) = connected(&[greeting, "{\"return\": {}, \"id\": ID}\n"]).await;
        let lost = qmp.execute("stop", Map::new(), false, soon()).await;
        assert_eq!(lost, Err(QmpError::Closed { command: "stop".to_owned() }));
        qmp.greet_again(None, soon()).await.unwrap();
        assert_eq!((qmp.version["qemu"]["major"].as_u64(), qmp.oob), (Some(12), false));
        let soon = Instant::now() + Duration::from_millis(50);
        assert!(qmp.greet_again(None, soon).await.unwrap_err().to_string().contains("no greeting"));
    }

    #[tokio::test]
    async fn a_peer_that_is_not_a_monitor_is_reported() {
        for (said, expected) in [("hello\n", "\"hello\""), ("", "closed before the greeting")] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said.as_bytes()).await.unwrap();
            drop(theirs);
            let error = Qmp::connect(ours, None, soon(), |_| ()).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
