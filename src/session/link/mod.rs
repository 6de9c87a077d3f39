//! Links: relays of byte streams whose weather a scenario makes.
//!
//! A link listens at an address of its own and connects each connection through to its target. It is a task of the
//! runner; dropping it ends its connections.

mod relay;
mod spec;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use spec::{LinkSpec, Listen, Setting, State};
pub use stream::Address;

use super::board::Board;
use super::ports::Port;
use crate::event::{Sink, What};
use relay::{End, Pace, cut, relay};
use stream::Listener;

/// What a link and its connections share.
#[derive(Debug)]
struct Shared {
    name: String,
    setting: watch::Sender<Setting>,
    target: Mutex<Option<Address>>,
    /// For each direction, there and back.
    paces: [Mutex<Pace>; 2],
    bytes: [AtomicU64; 2],
    accepted: AtomicU64,
    alive: AtomicUsize,
    /// Whether it listens, or why it cannot.
    listening: Mutex<Result<bool, String>>,
    board: Arc<Board>,
    sink: Sink,
}

impl Shared {
    fn pace(&self, direction: usize) -> MutexGuard<'_, Pace> {
        lock(&self.paces[direction])
    }

    fn tell(&self, happened: impl Into<String>) {
        self.sink.emit(What::Link {
            link: self.name.clone(),
            happened: happened.into(),
            connections: self.accepted.load(Ordering::Relaxed),
            bytes: self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum(),
        });
        self.board.changed();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// When its `to` is no address, or it cannot listen.
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
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            accepted: AtomicU64::new(0),
            alive: AtomicUsize::new(0),
            listening: Mutex::new(Ok(listener.is_some())),
            board: Arc::clone(board),
            sink: sink.clone(),
        });
        let task = tokio::spawn(serve(Arc::clone(&shared), address.clone(), listener)).abort_handle();
        Ok(Self { shared, address, _port: port, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Where its connections are taken to from now on.
    pub fn lead_to(&self, target: Address) {
        *lock(&self.shared.target) = Some(target);
    }

    /// How it is.
    #[must_use]
    pub fn setting(&self) -> Setting {
        self.shared.setting.borrow().clone()
    }

    /// Changes it. [`Self::is_settled`] says when that is done.
    pub fn set(&self, setting: Setting) {
        self.shared.paces.iter().for_each(|pace| *lock(pace) = Pace::new());
        self.shared.tell(setting.to_string());
        self.shared.setting.send_replace(setting);
    }

    /// Whether it is as it was set: cut, no connection is left and none is accepted; else it listens.
    ///
    /// # Errors
    /// Why it cannot listen.
    pub fn is_settled(&self) -> Result<bool, String> {
        let listens = lock(&self.shared.listening).clone()?;
        Ok(match self.shared.setting.borrow().state {
            State::Cut => !listens && self.alive() == 0,
            State::Open | State::Blackhole => listens,
        })
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections it has now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.shared.alive.load(Ordering::Relaxed)
    }

    /// How many bytes it has delivered: to its target, and back.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        [0, 1].map(|direction: usize| self.shared.bytes[direction].load(Ordering::Relaxed))
    }

    /// What templates find under `link`: where it listens.
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

    /// What templates find under `run.link`.
    #[must_use]
    pub fn values(&self) -> Value {
        let [there, back] = self.bytes();
        json!({
            "state": self.setting().state,
            "connections": self.connections(),
            "alive": self.alive(),
            "bytes": there + back,
            "bytes_there": there,
            "bytes_back": back,
        })
    }

    /// How it is and what it has carried, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        let [there, back] = self.bytes();
        let target = lock(&self.shared.target).as_ref().map_or("nowhere yet".to_owned(), ToString::to_string);
        format!(
            "{}; {} -> {target}; {} connections so far, {} now; {there} bytes there, {back} back",
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

/// Accepts connections as long as the link's state lets it.
async fn serve(shared: Arc<Shared>, address: Address, mut listener: Option<Listener>) {
    let mut setting = shared.setting.subscribe();
    let mut relays = JoinSet::new();
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
                Some(listener) if state == State::Open => listener.accept().await,
                // In a black hole a connection waits to be accepted, and looks up to whoever made it.
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
                    let number = shared.accepted.fetch_add(1, Ordering::Relaxed) + 1;
                    shared.alive.fetch_add(1, Ordering::Relaxed);
                    relays.spawn(through(Arc::clone(&shared), number, near));
                }
                Err(error) => shared.tell(format!("a connection could not be accepted: {error}")),
            },
            Some(_) = relays.join_next() => {}
        }
    }
}

/// One connection from its acceptance to its end.
async fn through(shared: Arc<Shared>, number: u64, near: stream::Stream) {
    /// Counts the connection as long as it is there, however it ends.
    struct Alive<'s>(&'s Shared);
    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.0.alive.fetch_sub(1, Ordering::Relaxed);
            self.0.board.changed();
        }
    }
    let alive = Alive(&shared);
    let target = lock(&shared.target).clone();
    let connecting = async {
        match &target {
            Some(target) => target.connect().await.map_err(|error| format!("{target}: {error}")),
            None => Err("the link leads nowhere yet".to_owned()),
        }
    };
    let far = tokio::select! {
        biased;
        () = cut(&shared) => Err("the link was cut".to_owned()),
        far = connecting => far,
    };
    match far {
        Ok(far) => {
            shared.tell(format!("connection {number} is up"));
            let end = match relay(&shared, near, far).await {
                End::Finished => "finished".to_owned(),
                End::Lost(error) => format!("lost: {error}"),
                End::Cut => "cut".to_owned(),
            };
            shared.tell(format!("connection {number} {end}"));
        }
        Err(why) => {
            drop(near);
            shared.tell(format!("connection {number} could not be taken on: {why}"));
        }
    }
    drop(alive);
}

/// The links of a case by name.
pub type Links = BTreeMap<String, Link>;

#[cfg(test)]
mod tests;
