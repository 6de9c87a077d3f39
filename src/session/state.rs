//! The session itself.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::board::Board;
use super::client::Client;
use super::directory::Notes;
use super::failure::Failure;
use super::link::{Address, Links};
use super::log::real_time;
use super::machine::{Machine, Plan};
use super::ports::Ports;
use super::process::Background;
use super::witness::Given;
use crate::event::{Sink, What};
use crate::qemu::disk::Disk;
use crate::qemu::process::Ended;

/// How long the board may take to hear of the end of a process that is about to end, which it does at once.
const SETTLING: Duration = Duration::from_secs(5);
/// How long a process may take to end that was killed; the bound is for one that hangs inside the kernel.
const DEATH: Duration = Duration::from_secs(10);

/// Who migrates to whom.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The source; in COLO the primary.
    pub source: String,
    /// The destination; in COLO the secondary.
    pub destination: Option<String>,
    /// When the migration was started.
    pub started: Instant,
    /// Where its connections lead to, as far as that is known: to where the destination listens, and to a link.
    pub addresses: Vec<Address>,
    /// The link that it takes.
    pub link: Option<String>,
}

/// The moment of a failover.
#[derive(Debug, Clone)]
pub struct FailoverMark {
    /// The survivor.
    pub survivor: String,
    /// When its connections were about to be cut.
    pub at: Instant,
    /// The same, in seconds of the host's real-time clock, which QEMU stamps its events with.
    pub at_real: f64,
    /// How much the survivor had printed by then.
    pub serial: usize,
}

/// What one case has alive, and what its steps have found out.
#[derive(Debug)]
pub struct Session {
    /// The VMs, started or not.
    pub plans: IndexMap<String, Plan>,
    /// The names that stand for VMs, and the VM each stands for now.
    pub roles: IndexMap<String, String>,
    /// The disks that belong to no VM.
    pub disks: BTreeMap<String, Disk>,
    /// The VMs that were started, ended ones included.
    pub machines: BTreeMap<String, Machine>,
    /// Background processes by name.
    pub background: BTreeMap<String, Background>,
    /// The background processes for whose end some step of the case waits.
    pub awaited: BTreeSet<String>,
    /// The clients that were started, stopped ones included.
    pub clients: BTreeMap<String, Client>,
    /// The ports that are held for the case.
    pub ports: Ports,
    /// Its links.
    pub links: Links,
    /// The socket pairs of which an end is still ours, by name.
    pub sockets: BTreeMap<String, Vec<OwnedFd>>,
    /// The descriptors that VMs inherit, by VM and name.
    pub inherited: BTreeMap<String, BTreeMap<String, Arc<OwnedFd>>>,
    /// What steps have captured.
    pub captures: Map<String, Value>,
    /// The last migration.
    pub pair: Option<Pair>,
    /// The last failover.
    pub failover: Option<FailoverMark>,
    /// The numbers that guests were given, in order.
    pub witnesses: Vec<Given>,
    /// What decides where the built-in guests work.
    pub draw: u32,
    /// Changes and trouble.
    pub board: Arc<Board>,
    /// Where events go.
    pub sink: Sink,
    /// What deadlines are multiplied by.
    pub slow: f64,
    /// What the janitor is told.
    pub notes: Arc<Notes>,
    directory: PathBuf,
}

impl Session {
    /// A session in a folder of its own, which is removed with it. Nothing is started yet.
    #[must_use]
    pub fn new(plans: IndexMap<String, Plan>, directory: PathBuf, notes: Arc<Notes>, sink: Sink) -> Self {
        Self {
            plans,
            roles: IndexMap::new(),
            disks: BTreeMap::new(),
            machines: BTreeMap::new(),
            background: BTreeMap::new(),
            awaited: BTreeSet::new(),
            clients: BTreeMap::new(),
            ports: Ports::default(),
            links: Links::new(),
            sockets: BTreeMap::new(),
            inherited: BTreeMap::new(),
            captures: Map::new(),
            pair: None,
            failover: None,
            witnesses: Vec::new(),
            draw: 0,
            board: Arc::new(Board::default()),
            sink,
            slow: 1.0,
            notes,
            directory,
        }
    }

    /// Its folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts VMs, all at once, and connects to each.
    ///
    /// # Errors
    /// When one of them is alive already, cannot be started, or does not answer.
    pub async fn start(&mut self, names: &[String], deadline: Instant) -> Result<(), Failure> {
        for name in names {
            if self.machines.get(name).is_some_and(|machine| machine.process.ended().is_none()) {
                return Err(Failure::failed(format!("VM `{name}` is already running")));
            }
            let plan = self.plans.get(name).cloned().ok_or_else(|| no_such_vm(name))?;
            self.make_disks_of(&plan, deadline).await?;
            let inherit = self.inherited.get(name).map(|fds| fds.values().cloned().collect());
            let plan = Plan { inherit: inherit.unwrap_or_default(), ..plan };
            let machine = Machine::spawn(plan, self.draw, &self.directory, &self.board, &self.sink)?;
            self.notes.remember(machine.process.pid());
            if let Some(old) = self.machines.insert(name.clone(), machine) {
                self.notes.forget(old.process.pid());
            }
        }
        self.takes_over(names);
        // They boot side by side while we talk to one after the other.
        for name in names {
            if let Some(machine) = self.machines.get_mut(name).filter(|machine| machine.plan.spec.connect) {
                // One that takes in a state as it starts may end of that at any moment from now on. Whether that is before
                // or after it is connected to is chance: it is left to the step that follows, as trouble.
                if machine.loads_at_start() {
                    let connected = machine.connect(deadline, &self.board, &self.sink).await;
                    match machine.process.ended() {
                        Some(_) => drop(machine.gone().await),
                        None => connected?,
                    }
                    continue;
                }
                // Until it is connected, its end is told by `connect`, with what it wrote to its standard error.
                self.board.expect_exit(name);
                machine.connect(deadline, &self.board, &self.sink).await?;
                self.board.expect_life(name);
                if let Some(how) = machine.process.ended() {
                    return Err(Failure::error(format!("cannot start VM `{name}`: {how}")));
                }
            }
        }
        Ok(())
    }

    /// Where the last migration went to no VM but to a file or a program, a VM that is started with `incoming: exec:…` or the
    /// like is the one that takes it.
    fn takes_over(&mut self, names: &[String]) {
        let waits = |name: &&String| {
            let incoming = self.plans.get(*name).and_then(|plan| plan.spec.incoming.as_deref());
            incoming.is_some_and(|incoming| incoming != "defer")
        };
        if let Some(name) = names.iter().find(waits)
            && let Some(pair) = self.pair.as_mut().filter(|pair| pair.destination.is_none())
            && pair.source != *name
        {
            pair.destination = Some(name.clone());
        }
    }

    /// Connects to a VM that was started without that, or to the QEMU that one has put in its own place.
    ///
    /// # Errors
    /// As [`Self::machine`], and when it does not answer.
    pub async fn connect(&mut self, name: &str, deadline: Instant) -> Result<(), Failure> {
        self.machine(name)?;
        match self.machines.get_mut(name) {
            Some(machine) => machine.connect(deadline, &self.board, &self.sink).await,
            None => Ok(()),
        }
    }

    /// A VM that was started.
    ///
    /// # Errors
    /// When there is none of that name, or it was not started yet.
    pub fn machine(&self, name: &str) -> Result<&Machine, Failure> {
        self.machines.get(name).ok_or_else(|| {
            if self.plans.contains_key(name) {
                Failure::failed(format!("VM `{name}` has not been started"))
            } else {
                no_such_vm(name)
            }
        })
    }

    /// Takes in everything that was said so far.
    pub fn catch_up(&self) {
        self.machines.values().for_each(Machine::catch_up);
    }

    /// Waits until the board has heard of each VM that has ended or is about to (a step, and the other side of a migration,
    /// may notice the end of a VM before), and each guest that has found a page wrong has said how many are.
    pub async fn await_exits(&self) {
        let mut changes = self.board.changes();
        let heard = async {
            for machine in self.machines.values().filter(|machine| machine.ends_just_now()) {
                machine.gone().await;
            }
            while self.machines.values().any(|machine| machine.counts_bad_pages()) {
                changes.borrow_and_update();
                // The sender is part of the board, which we hold.
                let _ = changes.changed().await;
            }
        };
        let _ = tokio::time::timeout(SETTLING, heard).await;
        self.catch_up();
    }

    /// Waits for the end of each VM that ends because a migration to it failed: that of the last migration, and one that
    /// takes in a state as it starts.
    pub async fn await_destinations(&self) {
        let destination = self.pair.as_ref().and_then(|pair| pair.destination.as_deref());
        let ending = self.machines.iter().filter(|(name, machine)| {
            (destination == Some(name) || machine.loads_at_start()) && machine.ends_with_its_migration()
        });
        let gone = async {
            for (_, machine) in ending {
                machine.gone().await;
            }
        };
        let _ = tokio::time::timeout(SETTLING, gone).await;
        self.await_exits().await;
    }

    /// The mark of a failover that happens now.
    ///
    /// # Errors
    /// As [`Self::machine`].
    pub fn failover_now(&self, survivor: &str) -> Result<FailoverMark, Failure> {
        let machine = self.machine(survivor)?;
        machine.catch_up();
        let serial = machine.log.lock().serial_end();
        Ok(FailoverMark { survivor: survivor.to_owned(), at: Instant::now(), at_real: real_time(), serial })
    }

    /// What templates find beside `run` once the case has begun: the numbers of its ports under `port`, the addresses of
    /// its links under `link`, and under `fd` the numbers of what VMs inherit, which their own options find as `self.fd`.
    #[must_use]
    pub fn names(&self) -> Map<String, Value> {
        let links: Map<String, Value> =
            self.links.iter().map(|(name, link)| (name.clone(), link.place())).collect();
        let number = |(name, fd): (&String, &Arc<OwnedFd>)| (name.clone(), json!(fd.as_raw_fd()));
        let fds = self
            .inherited
            .iter()
            .map(|(vm, fds)| (vm.clone(), Value::Object(fds.iter().map(number).collect())));
        let sections = [("port", self.ports.values()), ("link", links), ("fd", fds.collect())];
        let there = sections.into_iter().filter(|(_, values)| !values.is_empty());
        there.map(|(name, values)| (name.to_owned(), Value::Object(values))).collect()
    }

    /// What templates find under `run`.
    #[must_use]
    pub fn run_values(&self) -> Value {
        let mut vms: Map<String, Value> = self
            .machines
            .iter()
            .map(|(name, machine)| {
                let values = json!({
                    "pid": machine.process.pid(),
                    "address": machine.address,
                    "version": machine.plan.binary.version.to_string(),
                    "accel": machine.plan.accel.name(),
                    "qemu": machine.plan.binary.path,
                    "argv": machine.command_line(),
                    "disk": self.disk_paths(&machine.plan),
                });
                (name.clone(), values)
            })
            .collect();
        let processes: Map<String, Value> = self
            .background
            .iter()
            .map(|(name, process)| (name.clone(), json!({"pid": process.pid()})))
            .collect();
        for (role, vm) in &self.roles {
            if let Some(values) = vms.get(vm).cloned() {
                vms.insert(role.clone(), values);
            }
        }
        let links: Map<String, Value> =
            self.links.iter().map(|(name, link)| (name.clone(), link.values())).collect();
        let clients: Map<String, Value> =
            self.clients.iter().map(|(name, client)| (name.clone(), client.values())).collect();
        json!({
            "captures": self.captures,
            "vm": vms,
            "role": self.roles,
            "process": processes,
            "link": links,
            "client": clients,
        })
    }

    /// What every VM did last, for the evidence of a failure.
    pub async fn last_moments(&self) -> String {
        let mut text = String::new();
        for machine in self.machines.values() {
            text.push_str(&machine.last_moments().await);
        }
        for (name, process) in &self.background {
            text.push_str(&format!("process `{name}`: {}\n", process.last_moments()));
        }
        for (name, client) in &self.clients {
            text.push_str(&format!("client `{name}`: {}\n", client.summary()));
        }
        for (name, link) in &self.links {
            text.push_str(&format!("link `{name}`: {}\n", link.summary()));
        }
        text
    }

    /// Ends everything, politely first, all at once.
    pub async fn tear_down(&mut self) {
        self.clients.clear();
        self.background.clear();
        let mut leaving = tokio::task::JoinSet::new();
        for (name, machine) in std::mem::take(&mut self.machines) {
            let (board, notes) = (Arc::clone(&self.board), Arc::clone(&self.notes));
            leaving.spawn(async move {
                // One without a monitor cannot be asked to quit.
                let was_alive = machine.process.ended().is_none() && machine.is_connected();
                let ended = machine.tear_down(&board).await;
                notes.forget(machine.process.pid());
                (name, was_alive, ended)
            });
        }
        while let Some(left) = leaving.join_next().await {
            if let Ok((name, true, how @ Ended::Signal(_))) = left {
                self.sink.emit(What::Note { text: format!("VM `{name}` did not quit by itself: {how}") });
            }
        }
        if !self.board.all_processes_ended(DEATH).await {
            let text = "a host process of the case was killed but did not exit".to_owned();
            self.sink.emit(What::Note { text });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing is left here after `tear_down`.
        self.background.values().for_each(Background::kill_and_wait);
        for machine in self.machines.values() {
            machine.process.kill_and_wait();
            self.notes.forget(machine.process.pid());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn no_such_vm(name: &str) -> Failure {
    Failure::error(format!("there is no VM `{name}` in this case"))
}
