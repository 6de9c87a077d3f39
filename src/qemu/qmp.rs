//! A client of QEMU's monitor protocol (QMP): commands with deadlines, in band and out of band, and events.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hmp;
use super::qmp_filter::{Filter, Late};
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
    /// Whether commands can run out of band.
    pub oob: bool,
    /// The greeting's `version`.
    pub version: Value,
}

struct Wire {
    stream: UnixStream,
    tap: Tap,
    /// What passes is changed by this.
    filter: Option<Box<dyn Filter>>,
    state: Mutex<State>,
    /// The unsent rest of the last command; locked by the writer.
    unsent: tokio::sync::Mutex<Vec<u8>>,
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
    fn pump(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        let mut chunk = [0; 16 * 1024];
        loop {
            if state.closed {
                return false;
            }
            match read_now(&self.stream, &mut chunk) {
                Ok(count @ 1..) => {
                    let changed = self.filter.as_ref().and_then(|filter| filter.bytes(&chunk[..count]));
                    state.input.feed(changed.as_deref().unwrap_or(&chunk[..count]));
                    self.dispatch(&mut state);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.close(&mut state, "closed before the greeting"),
            }
        }
    }

    fn dispatch(self: &Arc<Self>, state: &mut State) {
        loop {
            match state.input.next_message() {
                Ok(Some(message)) => {
                    match self.filter.as_ref().and_then(|filter| filter.heard(message.value())) {
                        None => self.take(state, message),
                        Some(instead) => self.take_instead(state, instead),
                    }
                }
                Ok(None) => return,
                Err(NotQmp(why)) => return self.close(state, &why),
            }
        }
    }

    /// Takes the messages of a filter, each at its time.
    fn take_instead(self: &Arc<Self>, state: &mut State, messages: Vec<Late>) {
        for Late { after, message } in messages {
            let Some(message) = Message::of(message) else { continue };
            if after.is_zero() {
                self.take(state, message);
                continue;
            }
            let wire: Weak<Self> = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                if let Some(wire) = wire.upgrade() {
                    wire.take(&mut wire.state(), message);
                }
            });
        }
    }

    fn take(&self, state: &mut State, message: Message) {
        match message {
            Message::Greeting(message) => {
                // Requests to the previous QEMU get no reply any more.
                state.pending.clear();
                match state.greeting.take() {
                    Some(greeting) => drop(greeting.send(Ok(message))),
                    None => state.greeted_again = Some(message),
                }
            }
            Message::Event(message) => (self.tap)(Traffic::Event(&message)),
            Message::Reply { id, message } => {
                (self.tap)(Traffic::Reply(&message));
                if let Some(waiting) = id.and_then(|id| state.pending.remove(&id)) {
                    // The receiver is gone if it has given up meanwhile.
                    let _ = waiting.send(message);
                }
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
        Self::connect_through(None, stream, oob, deadline, tap).await
    }

    /// Like [`Self::connect`], through a filter.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_through(
        filter: Option<Box<dyn Filter>>,
        stream: UnixStream,
        oob: Option<bool>,
        deadline: Instant,
        tap: impl Fn(Traffic<'_>) + Send + Sync + 'static,
    ) -> Result<Self, QmpError> {
        let (greet, greeting) = oneshot::channel();
        let state = Mutex::new(State { greeting: Some(greet), ..State::default() });
        let unsent = tokio::sync::Mutex::default();
        let wire = Arc::new(Wire { stream, tap: Box::new(tap), filter, state, unsent });
        let reader = Arc::clone(&wire);
        tokio::spawn(async move { while reader.stream.readable().await.is_ok() && reader.pump() {} });
        let greeting = greeted(greeting, deadline).await?;
        let mut qmp = Self { wire, oob: false, version: Value::Null };
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
            self.wire.send_through(&message, descriptor).await.map_err(|_| closed())?;
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

    /// Reads everything that has arrived so far, so that what follows is up to date.
    pub fn catch_up(&self) {
        self.wire.pump();
    }
}

impl Wire {
    /// Writes a message, or what a filter sends in its place.
    async fn send_through(
        self: &Arc<Self>,
        message: &Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let Some(said) = self.filter.as_ref().and_then(|filter| filter.said(message)) else {
            return self.send(message, descriptor).await;
        };
        for Late { after, message } in said.sent {
            if after.is_zero() {
                self.send(&message, descriptor).await?;
                continue;
            }
            let wire = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                if let Some(wire) = wire.upgrade() {
                    // It is closed if QEMU has ended meanwhile.
                    let _ = wire.send(&message, None).await;
                }
            });
        }
        self.take_instead(&mut self.state(), said.heard);
        Ok(())
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
            self.stream.writable().await?;
            let sent = match descriptor {
                None => self.stream.try_write(bytes),
                Some(fd) => self.stream.try_io(Interest::WRITABLE, || send_beside(&self.stream, bytes, fd)),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
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
#[path = "qmp_tests.rs"]
mod tests;
