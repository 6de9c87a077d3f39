//! A running VM.

pub(super) mod evidence;
mod guest;
mod handle;
mod plan;
mod streams;
mod traces;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::Instant;

use self::evidence::EVIDENCE_PATIENCE;
use self::guest::guest_image;
pub use self::plan::Plan;
use self::streams::{listen, tap, watch_end};
use self::traces::Traces;
use super::board::Board;
use super::failure::Failure;
use super::lock;
use super::log::{SerialPort, SharedLog};
use crate::cause::CauseKind;
use crate::event::{Sink, What};
use crate::guest::ticker::Layout;
use crate::qemu::agent::Agent;
use crate::qemu::argv::Channels;
use crate::qemu::process::{Ended, Launch, Process, wait_at_most};
use crate::qemu::qmp::{Qmp, QmpError};
use crate::qemu::qtest::Qtest;

/// How a VM was told to listen for a migration (`migrate-incoming`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Whether it exits if the migration fails (`exit-on-error`).
    pub exits: bool,
}

/// What is known of a VM as the destination of a migration.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The address where it listens, once known.
    pub address: Option<String>,
    /// How a step told it to listen, if one did.
    pub told_to_listen: Option<Listening>,
}

/// A started VM.
#[derive(Debug)]
pub struct Machine {
    /// How it was started.
    pub plan: Plan,
    /// The process.
    pub process: Process,
    /// Its output.
    pub log: SharedLog,
    /// When it was started.
    pub spawned: Instant,
    /// The memory layout of the built-in guest, if it runs that.
    pub layout: Option<Layout>,
    argv: Vec<String>,
    incoming: Mutex<Incoming>,
    /// The monitor's socket until [`Self::connect`] turns it into a client.
    monitor: Mutex<Option<UnixStream>>,
    qmp: Mutex<Option<Arc<Qmp>>>,
    qtest: Arc<Qtest>,
    agent: Option<Agent>,
    serial: Arc<SerialPort>,
    end_is_reported: watch::Receiver<bool>,
    directory: PathBuf,
}

impl Machine {
    /// Starts the process in the case's directory. [`Self::connect`] completes it.
    ///
    /// # Errors
    /// When QEMU cannot be started or a file cannot be written.
    pub fn spawn(
        mut plan: Plan,
        draw: u32,
        directory: &Path,
        board: &Arc<Board>,
        sink: &Sink,
    ) -> Result<Self, Failure> {
        let name = plan.name.clone();
        let trouble = |what: &str, error: std::io::Error| {
            Failure::error(format!("cannot start VM `{name}`: {what}: {error}")).about(&name)
        };
        let firmware = plan.spec.firmware.as_mut().map_or(Ok(()), |own| own.copy(&name, directory));
        firmware.map_err(|error| trouble("its firmware", error))?;
        let layout = plan.layout(draw);
        let image = guest_image(&plan, layout.as_ref(), directory)?;
        let channel = || pair().map_err(|error| trouble("a socket pair", error));
        let ((qmp, qmp_end), (serial, serial_end), (qtest, qtest_end)) = (channel()?, channel()?, channel()?);
        let (agent, agent_end) = plan.has_agent().then(channel).transpose()?.unzip();
        let (traces, log_end) = Traces::of(&plan, sink).map_err(|error| trouble("a pipe", error))?.unzip();
        let channels = Channels::Inherited {
            qmp: qmp_end.as_raw_fd(),
            serial: serial_end.as_raw_fd(),
            qtest: qtest_end.as_raw_fd(),
            agent: agent_end.as_ref().map(OwnedFd::as_raw_fd),
            log: log_end.as_ref().map(OwnedFd::as_raw_fd),
        };
        let argv = plan.command_line(channels, image.as_deref(), directory);
        let open = |kind| log_file(directory, &name, kind).map_err(|error| trouble("its log", error));
        let inherited =
            [qmp_end, serial_end, qtest_end].into_iter().chain(agent_end).chain(log_end).map(Arc::new);
        let launch = Launch {
            argv: argv.clone(),
            env: plan.environment(directory),
            directory: directory.to_owned(),
            inherit: inherited.chain(plan.inherit.iter().cloned()).collect(),
            stdin: None,
            stdout: open("stderr.log")?,
            stderr: open("stderr.log")?,
        };
        board.forbid_exit(&name);
        plan.spec.health.allowed().iter().for_each(|expression| board.allow(&name, expression));
        let process = Process::spawn(launch).map_err(|error| trouble(&argv[0], error))?;
        sink.emit(What::VmSpawned {
            vm: name.clone(),
            pid: process.pid(),
            version: Some(plan.binary.version.to_string()),
            argv: argv.clone(),
        });
        let end_is_reported = watch_end(&name, &process, traces, board, sink);
        let log = SharedLog::default();
        let serial = listen(&plan, serial, log.clone(), open("serial.log")?, board, sink);
        Ok(Self {
            plan,
            process,
            log,
            spawned: Instant::now(),
            layout,
            argv,
            incoming: Mutex::default(),
            monitor: Mutex::new(Some(qmp)),
            qmp: Mutex::default(),
            qtest: Arc::new(Qtest::new(qtest)),
            agent: agent.map(Agent::new),
            serial,
            end_is_reported,
            directory: directory.to_owned(),
        })
    }

    /// Negotiates with the monitor and enables migration events.
    ///
    /// # Errors
    /// When QEMU exits or does not reply; the message includes its standard error.
    pub async fn connect(&self, deadline: Instant, board: &Arc<Board>, sink: &Sink) -> Result<(), Failure> {
        let monitor = lock(&self.monitor).take();
        let Some(monitor) = monitor else {
            return self.connect_again(deadline).await;
        };
        let transcript = log_file(&self.directory, self.name(), "qmp.jsonl");
        let transcript = transcript.map_err(|error| Failure::error(format!("its transcript: {error}")))?;
        let tap = tap(self.name().to_owned(), self.log.clone(), transcript, Arc::clone(board), sink.clone());
        let filter = board.interference().and_then(|interference| interference.monitor(self.name()));
        match Qmp::connect_through(filter, monitor, self.plan.spec.oob, deadline, tap).await {
            Ok(qmp) => *lock(&self.qmp) = Some(Arc::new(qmp)),
            Err(error) => {
                // If the process has exited, that is the cause of the closed monitor.
                let why = match wait_at_most(&self.process, EVIDENCE_PATIENCE).await {
                    Some(ended) => ended.to_string(),
                    None => error.to_string(),
                };
                let said = self.stderr_tail(20);
                let said = if said.is_empty() { String::new() } else { format!(", saying: {said}") };
                let message = format!("cannot start VM `{}`: {why}{said}", self.name());
                return Err(Failure::error(message).about(self.name()));
            }
        }
        self.ask_for_events(deadline).await
    }

    /// Negotiates again with a QEMU that replaced itself (`execve`) and kept the monitor's socket.
    async fn connect_again(&self, deadline: Instant) -> Result<(), Failure> {
        let (name, oob) = (self.plan.name.clone(), self.plan.spec.oob);
        let Some(mut qmp) = self.monitor().map(|qmp| Qmp::clone(&qmp)) else {
            return Err(Failure::error(format!("VM `{name}`: no longer possible to connect to its monitor")));
        };
        if let Err(error) = qmp.greet_again(oob, deadline).await {
            let why = match wait_at_most(&self.process, EVIDENCE_PATIENCE).await {
                Some(ended) => format!("it has ended: {ended}"),
                None => error.to_string(),
            };
            let message = format!("VM `{name}`: no QMP greeting from the QEMU that replaced it: {why}");
            return Err(Failure::of_kind(CauseKind::Qmp, message).about(&name));
        }
        *lock(&self.qmp) = Some(Arc::new(qmp));
        self.ask_for_events(deadline).await
    }

    async fn ask_for_events(&self, deadline: Instant) -> Result<(), Failure> {
        if self.plan.binary.capabilities.contains("events") {
            let events = json!({"capabilities": [{"capability": "events", "state": true}]});
            self.qmp("migrate-set-capabilities", events, false, deadline).await?;
        }
        Ok(())
    }

    /// The command line of the process as seen by the kernel, which also covers a program that replaced itself; the
    /// original one if it has exited.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let words = std::fs::read(format!("/proc/{}/cmdline", self.process.pid())).unwrap_or_default();
        if words.is_empty() {
            return self.argv.clone();
        }
        let words = words.strip_suffix(&[0]).unwrap_or(&words);
        words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Runs a QMP command; `arguments` is a map.
    ///
    /// # Errors
    /// When QEMU refuses it, does not reply in time, or has exited; then the failure says how.
    pub async fn qmp(
        &self,
        command: &str,
        arguments: Value,
        oob: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let answer = self.qmp_raw(command, arguments, oob, deadline).await;
        self.reply_or_failure(answer).await
    }

    /// Runs a QMP command like [`Self::qmp`] and returns the monitor's own reply.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn qmp_raw(
        &self,
        command: &str,
        arguments: Value,
        oob: bool,
        deadline: Instant,
    ) -> Result<Value, QmpError> {
        self.qmp_with(command, arguments, None, oob, deadline).await
    }

    /// Runs a QMP command like [`Self::qmp_raw`], passing a descriptor with it.
    ///
    /// # Errors
    /// See [`QmpError`].
    pub async fn qmp_with(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
        oob: bool,
        deadline: Instant,
    ) -> Result<Value, QmpError> {
        let arguments = match arguments {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        match self.monitor() {
            Some(qmp) => {
                let reply = qmp.execute_with(command, arguments.clone(), descriptor, oob, deadline).await;
                reply.inspect(|reply| {
                    let mut log = self.log.lock();
                    log.add_command(command, &arguments);
                    log.add_reply(command, reply);
                })
            }
            None => Err(QmpError::Closed { command: command.to_owned() }),
        }
    }

    /// A monitor's reply for a step: errors include the VM's name, and how it ended if it has.
    ///
    /// # Errors
    /// As [`Self::qmp`].
    pub async fn reply_or_failure(&self, answer: Result<Value, QmpError>) -> Result<Value, Failure> {
        match answer {
            Ok(reply) => Ok(reply),
            Err(QmpError::Closed { command }) if self.is_unconnected() && self.process.ended().is_none() => {
                let name = self.name();
                Err(Failure::failed(format!(
                    "`{command}`: VM `{name}` is not connected yet; a step `connect: {name}` does that"
                )))
            }
            Err(error @ QmpError::Closed { .. }) => {
                match wait_at_most(&self.process, EVIDENCE_PATIENCE).await {
                    Some(how) => {
                        Err(Failure::ended(format!("VM `{}` has ended", self.name()), how).about(self.name()))
                    }
                    None => Err(Failure::from(error).of(self.name())),
                }
            }
            Err(error) => Err(Failure::from(error).of(self.name())),
        }
    }

    /// A query without arguments, in band.
    ///
    /// # Errors
    /// As [`Self::qmp`].
    pub async fn query(&self, command: &str, deadline: Instant) -> Result<Value, Failure> {
        self.qmp(command, Value::Null, false, deadline).await
    }

    /// Whether its monitor is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.monitor().is_some()
    }

    /// Whether no step has connected to its monitor.
    fn is_unconnected(&self) -> bool {
        lock(&self.monitor).is_some()
    }

    fn monitor(&self) -> Option<Arc<Qmp>> {
        lock(&self.qmp).clone()
    }

    /// What is known of it as a destination; never hold it across an `await`.
    pub fn incoming(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.incoming)
    }

    /// Whether its monitor supports out-of-band commands.
    #[must_use]
    pub fn has_oob(&self) -> bool {
        self.monitor().is_some_and(|qmp| qmp.oob)
    }

    /// Whether its guest is running and about to report the number of wrong pages.
    #[must_use]
    pub fn counts_bad_pages(&self) -> bool {
        self.process.ended().is_none() && self.log.lock().counts_bad_pages()
    }

    /// Whether its process has ended or is ending and the board does not know yet.
    #[must_use]
    pub fn ends_just_now(&self) -> bool {
        !*self.end_is_reported.borrow() && (self.process.ended().is_some() || self.process.is_ending())
    }

    /// Whether it loads a state at startup.
    #[must_use]
    pub fn loads_at_start(&self) -> bool {
        self.plan.spec.incoming.as_ref().is_some_and(|incoming| incoming != "defer")
    }

    /// Whether it exits, or has exited, because a migration to it failed: not if it was told to stay, and not before
    /// any migration data has arrived.
    #[must_use]
    pub fn ends_with_its_migration(&self) -> bool {
        let stays = self.incoming().told_to_listen == Some(Listening { exits: false });
        !stays
            && self
                .log
                .lock()
                .migration_statuses(0)
                .next_back()
                .is_some_and(|last| !matches!(last, "completed" | "colo"))
    }

    /// The qtest socket.
    #[must_use]
    pub fn qtest(&self) -> &Qtest {
        &self.qtest
    }

    /// Reads everything that QEMU and the guest have sent so far, so that "from now on" means now.
    pub fn catch_up(&self) {
        if let Some(qmp) = self.monitor() {
            qmp.catch_up();
        }
        self.serial.pump();
    }

    /// The name of the socket of its interactive monitor, in the case's directory.
    #[must_use]
    pub fn attach_socket(&self) -> String {
        attach_socket(self.name())
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.plan.name))
    }

    /// Stops it with `quit`, or with signals if that fails.
    pub async fn tear_down(&self, board: &Board) -> Ended {
        board.expect_exit(self.name());
        let patience = Duration::from_secs(3);
        let polite = async {
            if self.is_connected() {
                let _ = self.query("quit", Instant::now() + patience).await;
            } else {
                self.process.signal(Signal::TERM);
            }
            self.gone().await
        };
        if let Ok(ended) = tokio::time::timeout(patience, polite).await {
            return ended;
        }
        self.process.signal(Signal::TERM);
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(2), self.gone()).await {
            return ended;
        }
        self.process.kill();
        self.gone().await
    }

    /// Waits until its process has ended and the event stream has recorded that.
    pub async fn gone(&self) -> Ended {
        let ended = self.process.wait().await;
        // The sender is dropped only at the end of the run.
        let _ = self.end_is_reported.clone().wait_for(|reported| *reported).await;
        ended
    }
}

/// Our end and QEMU's end of a channel.
fn pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs)))
}

/// A log file of a VM, for more at its end.
fn log_file(directory: &Path, vm: &str, kind: &str) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(directory.join(format!("{vm}.{kind}")))
}

fn attach_socket(name: &str) -> String {
    format!("{name}.attach.qmp")
}
