//! Links: relays of byte streams with faults that a scenario controls.
//!
//! A link listens at its own address and relays each connection to its target. It is a task of the runner; dropping
//! it closes its connections.

mod relay;
mod spec;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use spec::{LinkSpec, Listen, Setting, State};
pub use stream::Address;

use super::board::Board;
use super::failure::Failure;
use super::lock;
use super::ports::Port;
use crate::event::{Sink, What};
use relay::{End, Pace, cut, relay};
use stream::Listener;

/// The delay after an error of `accept`: the cause, such as a lack of descriptors, usually persists.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// The state of one connection, per direction: forward and back.
#[derive(Debug, Default)]
struct Connection {
    bytes: [AtomicU64; 2],
    /// Whether the sender of this direction has closed it, or the connection has ended.
    closed: [AtomicBool; 2],
    /// Whether reading in this direction is paused because the receiver does not take the data.
    full: [AtomicBool; 2],
}

impl Connection {
    fn close(&self, direction: usize) {
        self.closed[direction].store(true, Ordering::Relaxed);
    }

    fn bytes(&self) -> [u64; 2] {
        [0, 1].map(|direction: usize| self.bytes[direction].load(Ordering::Relaxed))
    }

    fn is_intact(&self) -> bool {
        !self.closed.iter().chain(&self.full).any(|is_so| is_so.load(Ordering::Relaxed))
    }
}

/// The state shared by a link and its connections.
#[derive(Debug)]
struct Shared {
    name: String,
    setting: watch::Sender<Setting>,
    target: Mutex<Option<Address>>,
    /// Per direction: forward and back.
    paces: [Mutex<Pace>; 2],
    /// Every accepted connection, in order.
    connections: Mutex<Vec<Arc<Connection>>>,
    alive: AtomicUsize,
    /// How often `accept` has failed.
    refused: AtomicU64,
    /// Whether it listens, or why it cannot.
    listening: Mutex<Result<bool, String>>,
    board: Arc<Board>,
    sink: Sink,
}

impl Shared {
    fn pace(&self, direction: usize) -> MutexGuard<'_, Pace> {
        lock(&self.paces[direction])
    }

    fn count(&self) -> u64 {
        lock(&self.connections).len() as u64
    }

    fn bytes(&self) -> [u64; 2] {
        let each = lock(&self.connections);
        each.iter().map(|one| one.bytes()).fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
    }

    /// Counts a connection; returns its number, from 1.
    fn accepted(&self) -> (usize, Arc<Connection>) {
        let mut each = lock(&self.connections);
        let connection = Arc::new(Connection::default());
        each.push(Arc::clone(&connection));
        (each.len(), connection)
    }

    fn note(&self, happened: impl Into<String>) {
        self.sink.emit(What::Link {
            link: self.name.clone(),
            happened: happened.into(),
            connections: self.count(),
            bytes: self.bytes().iter().sum(),
        });
        self.board.changed();
    }
}

/// A link of a case.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    address: Address,
    _port: Option<Port>,
    task: AbortHandle,
}

impl Link {
    /// Opens a link. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When its `to` is not an address, or it cannot listen.
    pub fn open(
        name: &str,
        spec: &LinkSpec,
        directory: &Path,
        board: &Arc<Board>,
        sink: &Sink,
    ) -> io::Result<Self> {
        let target = spec.to.as_deref().map(str::parse).transpose().map_err(io::Error::other)?;
        let (address, port) = match spec.listen {
            Listen::Tcp => {
                let port = Port::hold()?;
                (Address::Tcp(format!("127.0.0.1:{}", port.number)), Some(port))
            }
            Listen::Unix => (Address::Unix(directory.join(format!("{name}.link"))), None),
        };
        let setting = Setting { state: spec.state, delay: spec.delay, rate: spec.rate };
        let listener = if spec.state == State::Cut { None } else { Some(address.listen()?) };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            setting: watch::Sender::new(setting),
            target: Mutex::new(target),
            paces: [Mutex::new(Pace::new()), Mutex::new(Pace::new())],
            connections: Mutex::default(),
            alive: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            listening: Mutex::new(Ok(listener.is_some())),
            board: Arc::clone(board),
            sink: sink.clone(),
        });
        let task = tokio::spawn(serve(Arc::clone(&shared), address.clone(), listener)).abort_handle();
        Ok(Self { shared, address, _port: port, task })
    }

    /// Its listening address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Sets the target of new connections.
    pub fn set_target(&self, target: Address) {
        *lock(&self.shared.target) = Some(target);
    }

    /// Its current setting.
    #[must_use]
    pub fn setting(&self) -> Setting {
        self.shared.setting.borrow().clone()
    }

    /// Changes the setting. [`Self::is_settled`] says when that has taken effect.
    pub fn set(&self, setting: Setting) {
        self.shared.paces.iter().for_each(|pace| *lock(pace) = Pace::new());
        self.shared.note(setting.to_string());
        self.shared.setting.send_replace(setting);
    }

    /// Whether the setting has taken effect: if cut, no connection is left and none is accepted; else it listens.
    ///
    /// # Errors
    /// Why it cannot listen.
    pub fn is_settled(&self) -> Result<bool, Failure> {
        let listens = lock(&self.shared.listening).clone().map_err(Failure::error)?;
        Ok(match self.shared.setting.borrow().state {
            State::Cut => !listens && self.alive() == 0,
            State::Open | State::Blackhole => listens,
        })
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.count()
    }

    /// How many connections are read at both ends and not closed by either. The state of a full connection is
    /// unknown, and a connection in a black hole still counts as intact.
    #[must_use]
    pub fn intact(&self) -> usize {
        lock(&self.shared.connections).iter().filter(|one| one.is_intact()).count()
    }

    /// How many connections are open.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.shared.alive.load(Ordering::Relaxed)
    }

    /// The bytes delivered: to its target, and back.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        self.shared.bytes()
    }

    /// The template values under `link`: its address.
    #[must_use]
    pub fn place(&self) -> Value {
        let address = self.address.to_string();
        match &self.address {
            Address::Tcp(at) => {
                let port = at.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                json!({"address": address, "port": port})
            }
            Address::Unix(path) => json!({"address": address, "path": path}),
        }
    }

    /// The template values under `run.link`.
    #[must_use]
    pub fn values(&self) -> Value {
        let carried = |[there, back]: [u64; 2]| {
            let bytes = [("bytes", there + back), ("bytes_there", there), ("bytes_back", back)];
            bytes.map(|(name, bytes)| (name.to_owned(), json!(bytes))).into_iter().collect::<Map<_, _>>()
        };
        let mut values = carried(self.bytes());
        values.insert("state".to_owned(), json!(self.setting().state));
        values.insert("connections".to_owned(), json!(self.connections()));
        values.insert("alive".to_owned(), json!(self.alive()));
        values.insert("intact".to_owned(), json!(self.intact()));
        let each =
            lock(&self.shared.connections).iter().map(|one| Value::Object(carried(one.bytes()))).collect();
        values.insert("each".to_owned(), each);
        Value::Object(values)
    }

    /// Its state and traffic, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let [there, back] = self.bytes();
        let target =
            lock(&self.shared.target).as_ref().map_or("no target yet".to_owned(), ToString::to_string);
        format!(
            "{}; {} -> {target}; {} connections, {} open; {there} bytes forward, {back} bytes back",
            self.setting(),
            self.address,
            self.connections(),
            self.alive(),
        )
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its connections belong to the task.
        self.task.abort();
    }
}

/// Accepts connections while the link's state allows it.
async fn serve(shared: Arc<Shared>, address: Address, mut listener: Option<Listener>) {
    let mut setting = shared.setting.subscribe();
    let mut relays = JoinSet::new();
    let mut pause = Duration::ZERO;
    loop {
        let state = setting.borrow_and_update().state;
        match state {
            State::Cut => listener = None,
            State::Open | State::Blackhole if listener.is_none() => match address.listen() {
                Ok(again) => listener = Some(again),
                Err(error) => {
                    *lock(&shared.listening) = Err(format!("{address}: {error}"));
                    shared.board.changed();
                    return;
                }
            },
            _ => {}
        }
        *lock(&shared.listening) = Ok(listener.is_some());
        shared.board.changed();
        let accept = async {
            match &listener {
                Some(listener) if state == State::Open => {
                    tokio::time::sleep(pause).await;
                    listener.accept().await
                }
                // In a black hole, connections stay unaccepted; they look established to the peer.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = setting.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = accept => match accepted {
                Ok(near) => {
                    pause = Duration::ZERO;
                    shared.alive.fetch_add(1, Ordering::Relaxed);
                    relays.spawn(through(Arc::clone(&shared), shared.accepted(), near));
                }
                Err(error) => {
                    shared.refused.fetch_add(1, Ordering::Relaxed);
                    // Report it once while it lasts.
                    if pause.is_zero() {
                        shared.note(format!("cannot accept a connection: {error}"));
                    }
                    pause = AFTER_AN_ERROR;
                }
            },
            Some(_) = relays.join_next() => {}
        }
    }
}

/// One connection from its start to its end.
async fn through(shared: Arc<Shared>, (number, connection): (usize, Arc<Connection>), near: stream::Stream) {
    /// Counts the connection while it exists, however it ends.
    struct Alive<'s>(&'s Shared, &'s Connection);
    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.0.alive.fetch_sub(1, Ordering::Relaxed);
            (0..2).for_each(|direction| self.1.close(direction));
            self.0.board.changed();
        }
    }
    let alive = Alive(&shared, &connection);
    let target = lock(&shared.target).clone();
    let connecting = async {
        match &target {
            Some(target) => target.connect().await.map_err(|error| format!("{target}: {error}")),
            None => Err("the link has no target yet".to_owned()),
        }
    };
    let far = tokio::select! {
        biased;
        () = cut(&shared) => Err("the link was cut".to_owned()),
        far = connecting => far,
    };
    match far {
        Ok(far) => {
            shared.note(format!("connection {number} is up"));
            let end = match relay(&shared, &connection, near, far).await {
                End::Finished => "finished".to_owned(),
                End::Lost(error) => format!("lost: {error}"),
                End::Cut => "cut".to_owned(),
            };
            shared.note(format!("connection {number} {end}"));
        }
        Err(why) => {
            drop(near);
            shared.note(format!("connection {number} failed: {why}"));
        }
    }
    drop(alive);
}

/// The links of a case by name.
pub type Links = BTreeMap<String, Link>;

#[cfg(test)]
mod tests;
