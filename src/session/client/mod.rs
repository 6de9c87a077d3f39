//! Clients: tasks of the runner that use a service in a guest and record the results.

mod history;
mod http;
mod lines;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod redis;
mod request;
mod service;
mod talk;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use history::{Contents, Kind, Operation, Outcome};
pub use lines::recall;
pub(crate) use lines::with_number;
pub use record::{Line, Record};
pub use request::Does;
pub use service::{Service, Speaks, contents};

use super::board::Board;
use super::lock;
use crate::event::{Sink, What};

/// What a client does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Does numbered operations over TCP, each after the previous one was acknowledged.
    Operations {
        /// The service.
        service: Service,
        /// The pause between an answer and the next operation.
        every: Duration,
        /// The first number.
        first: u64,
        /// The number of connections, each with operations of its own.
        connections: u32,
    },
    /// Sends datagrams and expects no reply.
    Datagrams {
        /// Where to, `HOST:PORT`.
        to: String,
        /// The pause between two.
        every: Duration,
        /// How long each is, in bytes.
        size: usize,
    },
}

/// The state shared by a client and its task.
#[derive(Debug)]
struct Shared {
    name: String,
    record: Mutex<Record>,
    board: Arc<Board>,
    sink: Sink,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    fn note(&self, happened: impl Into<String>) {
        let (lines, reconnects) = {
            let record = self.record();
            (record.lines, record.reconnects)
        };
        let happened = happened.into();
        self.sink.emit(What::Client { client: self.name.clone(), happened, lines, reconnects });
    }
}

/// A client of a case, running or stopped. Dropping it ends its task.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    work: Work,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts a client. Must be called within a tokio runtime. [`Self::is_up`] says whether it has reached the
    /// service.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start(name: &str, work: Work, board: &Arc<Board>, sink: &Sink) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            record: Mutex::new(Record::new(match work {
                Work::Operations { first, .. } => first,
                Work::Datagrams { .. } => 0,
            })),
            board: Arc::clone(board),
            sink: sink.clone(),
        });
        let (stop, stopped) = watch::channel(false);
        let task = match &work {
            Work::Operations { service, every, connections, .. } => {
                let pace = (*every, *connections);
                tokio::spawn(talk::operations(Arc::clone(&shared), service.clone(), pace, stopped))
            }
            Work::Datagrams { to, every, size } => {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(to.as_str())?;
                socket.set_nonblocking(true)?;
                let socket = UdpSocket::from_std(socket)?;
                tokio::spawn(talk::datagrams(Arc::clone(&shared), socket, *every, *size, stopped))
            }
        };
        Ok(Self { shared, work, stop, task })
    }

    /// Its progress: the lines acknowledged, or the datagrams sent.
    #[must_use]
    pub fn progress(&self) -> u64 {
        if self.has_lines() { self.lines() } else { self.record().sent }
    }

    /// Whether it sends lines or does other operations (else datagrams).
    #[must_use]
    pub const fn has_lines(&self) -> bool {
        self.service().is_some()
    }

    /// The service that it uses, unless it sends datagrams.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        match &self.work {
            Work::Operations { service, .. } => Some(service),
            Work::Datagrams { .. } => None,
        }
    }

    /// Its record so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.shared.record().clone()
    }

    /// All numbers that were acknowledged, in order.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<u64> {
        self.shared.record().acknowledged.iter().flat_map(|[first, last]| *first..=*last).collect()
    }

    /// How many lines were acknowledged.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.shared.record().lines
    }

    /// Whether the service draws a value for each line.
    #[must_use]
    pub const fn has_draws(&self) -> bool {
        matches!(self.service(), Some(Service { speaks: Speaks::Lines { draws: true, .. }, .. }))
    }

    /// Whether the service has replied, or a datagram was sent.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let record = self.shared.record();
        record.lines > 0 || record.sent > 0
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.record().ended.is_some()
    }

    /// Asks it to stop after the pending reply; it stops at once if none is pending.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops it now.
    pub fn stop_now(&self) {
        self.task.abort();
        self.shared.record().end();
        self.shared.note(format!("stopped: {}", self.summary()));
        self.shared.board.changed();
    }

    /// The template values under `run.client`.
    #[must_use]
    pub fn values(&self) -> Value {
        let record = self.shared.record();
        json!({
            "lines": record.lines,
            "reconnects": record.reconnects,
            "longest_gap": record.longest_gap().map(|gap| gap.as_secs_f64()),
            "acknowledged": record.acknowledged,
            "wrong": record.wrong_answers,
            "refused": record.refused,
            "unknown": record.unknown,
            "latency": record.latency(0.5),
            "latency_max": record.latency(1.0),
            "sent": record.sent,
        })
    }

    /// Its record and its current activity, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let record = self.shared.record();
        if self.has_lines() { record.summary() } else { format!("{} datagrams sent", record.sent) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
pub(crate) mod played;
#[cfg(test)]
mod tests;
