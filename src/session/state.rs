//! The session itself.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::board::Board;
use super::client::Client;
use super::clock::Reading;
use super::directory::{CaseDirectory, Notes};
use super::failure::Failure;
use super::link::Address;
use super::lock;
use super::log::real_time;
use super::machine::evidence::EVIDENCE_PATIENCE;
use super::machine::{Machine, Plan};
use super::metric::Metric;
use super::process::Background;
use super::wiring::Wiring;
use crate::event::{Sink, What};
use crate::qemu::disk::Disk;
use crate::qemu::process::Ended;

/// How long to wait for the board to learn of an imminent process exit; normally immediate.
const SETTLING: Duration = Duration::from_secs(5);
/// How long a killed process may take to exit; bounds one that hangs inside the kernel.
const DEATH: Duration = Duration::from_secs(10);

/// A number sent to a guest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// The VM.
    pub vm: String,
    /// The number, not 0.
    pub number: u32,
    /// When it was sent, in seconds of the host's real-time clock.
    pub sent: f64,
}

/// The two sides of a migration.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The source; in COLO the primary.
    pub source: String,
    /// The destination; in COLO the secondary.
    pub destination: Option<String>,
    /// When the migration was started.
    pub started: Instant,
    /// The known addresses of its connections: where the destination listens, and the link's.
    pub addresses: Vec<Address>,
    /// The link that it uses.
    pub link: Option<String>,
}

/// The moment of a failover.
#[derive(Debug, Clone)]
pub struct FailoverMark {
    /// The survivor.
    pub survivor: String,
    /// When its connections were about to be cut.
    pub at: Instant,
    /// The same, in seconds of the host's real-time clock, which QEMU's event time stamps use.
    pub at_real: f64,
    /// The length of the survivor's serial output at that time.
    pub serial: usize,
}

/// What a session begins with.
#[derive(Debug)]
pub struct Setup {
    /// The case's directory.
    pub directory: CaseDirectory,
    /// The VMs.
    pub plans: IndexMap<String, Plan>,
    /// The role names, and the VM that each stands for.
    pub roles: IndexMap<String, String>,
    /// The disks that belong to no VM.
    pub disks: BTreeMap<String, Disk>,
    /// The background processes that a step of the case waits for.
    pub awaited: BTreeSet<String>,
    /// The ports, links and inherited descriptors.
    pub wiring: Wiring,
    /// The seed for the memory layout of the built-in guests.
    pub draw: u32,
    /// The factor for deadlines.
    pub slow: f64,
    /// Changes and trouble; the links use it too.
    pub board: Arc<Board>,
    /// Where events go.
    pub sink: Sink,
    /// The janitor's input.
    pub notes: Arc<Notes>,
}

/// The live resources of one case, and the results of its steps.
///
/// Steps share it. What changes is behind a lock, which is never held across an `await`: a method returns a copy, or an
/// `Arc`.
#[derive(Debug)]
pub struct Session {
    live: Mutex<Live>,
    /// Held while files of VMs are made.
    making: tokio::sync::Mutex<()>,
    /// The socket pairs of which we still hold an end, by name.
    pub(super) sockets: Mutex<BTreeMap<String, Vec<OwnedFd>>>,
    pub(super) disks: BTreeMap<String, Disk>,
    pub(super) awaited: BTreeSet<String>,
    pub(super) wiring: Wiring,
    pub(super) draw: u32,
    pub(super) board: Arc<Board>,
    pub(super) sink: Sink,
    pub(super) slow: f64,
    pub(super) notes: Arc<Notes>,
    /// Removed last, when nothing uses it.
    pub(super) directory: CaseDirectory,
}

/// What changes while the case runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub plans: Arc<IndexMap<String, Plan>>,
    pub roles: IndexMap<String, String>,
    pub machines: Arc<BTreeMap<String, Arc<Machine>>>,
    pub background: Arc<BTreeMap<String, Arc<Background>>>,
    pub clients: Arc<BTreeMap<String, Arc<Client>>>,
    pub captures: Map<String, Value>,
    /// The metrics that steps recorded.
    pub recorded: Vec<Metric>,
    /// The clocks of guests that were read, in order.
    pub clocks: Vec<Reading>,
    /// The migrations so far, in order; one for each destination of the same saved state.
    pub pairs: Vec<Pair>,
    pub failover: Option<FailoverMark>,
    /// The numbers sent to guests, in order.
    pub witnesses: Vec<Given>,
}

impl Session {
    /// Opens a session. Starts nothing.
    #[must_use]
    pub fn open(setup: Setup) -> Self {
        let Setup { directory, plans, roles, disks, awaited, wiring, draw, slow, board, sink, notes } = setup;
        let live = Mutex::new(Live { plans: Arc::new(plans), roles, ..Live::default() });
        let (making, sockets) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { live, making, sockets, disks, awaited, wiring, draw, board, sink, slow, notes, directory }
    }

    /// What changes; never hold it across an `await`.
    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    /// The plan of a VM with what it needs on disk: its images, and the key of its SSH server.
    async fn with_files(&self, mut plan: Plan, deadline: Instant) -> Result<Plan, Failure> {
        // VMs share some of them, and steps of several branches may start VMs.
        let _making = self.making.lock().await;
        self.make_disks_of(&plan, deadline).await?;
        self.find_image(&mut plan);
        self.find_ssh(&mut plan, deadline).await?;
        Ok(plan)
    }

    /// Starts VMs in parallel and connects to each.
    ///
    /// # Errors
    /// When one of them is already running, cannot be started, or does not respond.
    pub async fn start(&self, names: &[String], deadline: Instant) -> Result<(), Failure> {
        for name in names {
            let plan = self.plans().get(name).cloned().ok_or_else(|| no_such_vm(name))?;
            let plan = self.with_files(plan, deadline).await?;
            // From here on without an `await`, so that no other step starts it too.
            if self.machines().get(name).is_some_and(|machine| machine.process.ended().is_none()) {
                return Err(Failure::failed(format!("VM `{name}` is already running")));
            }
            let mut plan = self.wiring.joined(plan);
            let interference = self.board.interference().cloned();
            plan.attachable |= interference.is_some();
            let machine = Machine::spawn(plan, self.draw, self.directory.path(), &self.board, &self.sink)?;
            if let Some(interference) = interference {
                interference.started(machine.handle());
            }
            self.notes.remember(machine.process.pid());
            let machines = &mut self.live().machines;
            if let Some(old) = Arc::make_mut(machines).insert(name.clone(), Arc::new(machine)) {
                self.notes.forget(old.process.pid());
            }
        }
        self.takes_over(names);
        // They boot in parallel while we connect to one after the other. If one fails, the others are connected anyway:
        // their state belongs to the evidence.
        let mut all = Ok(());
        for name in names {
            let deadline =
                if all.is_ok() { deadline } else { deadline.min(Instant::now() + EVIDENCE_PATIENCE) };
            let connected = self.connect_first(name, deadline).await;
            all = all.and(connected);
        }
        all
    }

    /// Connects to a VM that was just started, unless a step does that.
    async fn connect_first(&self, name: &str, deadline: Instant) -> Result<(), Failure> {
        let machine = self.machine(name)?;
        if !machine.plan.spec.connect {
            return Ok(());
        }
        // A VM that loads a state at startup may fail from now on. Whether that happens before or after we connect is
        // chance: leave it to the next step as trouble.
        if machine.loads_at_start() {
            let connected = machine.connect(deadline, &self.board, &self.sink).await;
            if machine.process.ended().is_none() {
                return connected;
            }
            machine.gone().await;
            return Ok(());
        }
        // Until it is connected, `connect` reports its exit, with its standard error.
        self.board.expect_exit(name);
        machine.connect(deadline, &self.board, &self.sink).await?;
        self.board.forbid_exit(name);
        match machine.process.ended() {
            Some(how) => Err(Failure::error(format!("cannot start VM `{name}`: {how}")).about(name)),
            None => Ok(()),
        }
    }

    /// If the last migration went to a file or a program, the VM started with `incoming: exec:…` or the like becomes
    /// its destination.
    fn takes_over(&self, names: &[String]) {
        let plans = self.plans();
        let waits = |name: &&String| {
            let incoming = plans.get(*name).and_then(|plan| plan.spec.incoming.as_deref());
            incoming.is_some_and(|incoming| incoming != "defer")
        };
        if let Some(name) = names.iter().find(waits)
            && let Some(pair) = self.live().pairs.last_mut().filter(|pair| pair.destination.is_none())
            && pair.source != *name
        {
            pair.destination = Some(name.clone());
            self.board.join_migration(name);
        }
    }

    /// Connects to a VM that was started without connecting, or to the QEMU that replaced it.
    ///
    /// # Errors
    /// As [`Self::machine`], and when it does not respond.
    pub async fn connect(&self, name: &str, deadline: Instant) -> Result<(), Failure> {
        self.machine(name)?.connect(deadline, &self.board, &self.sink).await
    }

    /// A started VM.
    ///
    /// # Errors
    /// When there is none of that name, or it was not started yet.
    pub fn machine(&self, name: &str) -> Result<Arc<Machine>, Failure> {
        let live = self.live();
        live.machines.get(name).cloned().ok_or_else(|| {
            if live.plans.contains_key(name) {
                Failure::failed(format!("VM `{name}` has not been started")).about(name)
            } else {
                no_such_vm(name)
            }
        })
    }

    /// Processes all output received so far.
    pub fn catch_up(&self) {
        self.machines().values().for_each(|machine| machine.catch_up());
    }

    /// Waits until the board knows of each VM that has exited or is about to (a step, or the other side of a
    /// migration, may notice it first), and until each guest with a wrong page has reported their number.
    pub async fn await_exits(&self) {
        let mut changes = self.board.changes();
        let machines = self.machines();
        let exits = async {
            for machine in machines.values().filter(|machine| machine.ends_just_now()) {
                machine.gone().await;
            }
            while machines.values().any(|machine| machine.counts_bad_pages()) {
                changes.borrow_and_update();
                // The board owns the sender, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        let _ = tokio::time::timeout(SETTLING, exits).await;
        self.catch_up();
    }

    /// Waits for the exit of each VM that exits because a migration to it failed: the destination of the last
    /// migration, and a VM that loads a state at startup.
    pub async fn await_destinations(&self) {
        let (machines, destination) = (self.machines(), self.pair().and_then(|pair| pair.destination));
        let ending = machines.iter().filter(|(name, machine)| {
            (destination.as_ref() == Some(name) || machine.loads_at_start())
                && machine.ends_with_its_migration()
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

    /// The template values besides `run`.
    #[must_use]
    pub fn names(&self) -> Map<String, Value> {
        self.wiring.names()
    }

    /// The template values under `run`.
    #[must_use]
    pub fn run_values(&self) -> Value {
        let mut vms: Map<String, Value> = self
            .machines()
            .iter()
            .map(|(name, machine)| {
                let values = json!({
                    "pid": machine.process.pid(),
                    "address": machine.incoming().address,
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
            .background()
            .iter()
            .map(|(name, process)| (name.clone(), json!({"pid": process.pid()})))
            .collect();
        let roles = self.roles();
        for (role, vm) in &roles {
            if let Some(values) = vms.get(vm).cloned() {
                vms.insert(role.clone(), values);
            }
        }
        let links: Map<String, Value> =
            self.wiring.links.iter().map(|(name, link)| (name.clone(), link.values())).collect();
        let clients: Map<String, Value> =
            self.clients().iter().map(|(name, client)| (name.clone(), client.values())).collect();
        json!({
            "captures": self.live().captures,
            "vm": vms,
            "role": roles,
            "process": processes,
            "link": links,
            "client": clients,
        })
    }

    /// The last output and state of every VM, for the evidence of a failure.
    pub async fn state_and_output(&self) -> String {
        let mut text = String::new();
        for machine in self.machines().values() {
            text.push_str(&machine.state_and_output().await);
        }
        for (name, process) in &*self.background() {
            text.push_str(&format!("process `{name}`: {}\n", process.state_and_output()));
        }
        for (name, client) in &*self.clients() {
            text.push_str(&format!("client `{name}`: {}\n", client.summary()));
        }
        for (name, link) in &self.wiring.links {
            text.push_str(&format!("link `{name}`: {}\n", link.summary()));
        }
        text
    }

    /// Stops everything and removes the case's directory.
    pub async fn close(self) {
        self.tear_down().await;
        self.directory.remove().await;
    }

    /// Stops everything in parallel, gracefully first.
    async fn tear_down(&self) {
        let machines = {
            let mut live = self.live();
            live.clients = Arc::default();
            live.background = Arc::default();
            std::mem::take(&mut live.machines)
        };
        let mut leaving = tokio::task::JoinSet::new();
        for (name, machine) in machines.iter().map(|(name, machine)| (name.clone(), Arc::clone(machine))) {
            let (board, notes) = (Arc::clone(&self.board), Arc::clone(&self.notes));
            leaving.spawn(async move {
                // A VM without a monitor connection cannot be asked to quit.
                let was_alive = machine.process.ended().is_none() && machine.is_connected();
                let ended = machine.tear_down(&board).await;
                notes.forget(machine.process.pid());
                (name, was_alive, ended)
            });
        }
        while let Some(left) = leaving.join_next().await {
            if let Ok((name, true, how @ Ended::Signal(_))) = left {
                self.sink.emit(What::Note {
                    text: format!("VM `{name}` did not exit after `quit`, ended with {how}"),
                });
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
        // Nothing is left here after `close`.
        self.background().values().for_each(|process| process.kill_and_wait());
        for machine in self.machines().values() {
            machine.process.kill_and_wait();
            self.notes.forget(machine.process.pid());
        }
    }
}

fn no_such_vm(name: &str) -> Failure {
    Failure::error(format!("there is no VM `{name}` in this case"))
}
