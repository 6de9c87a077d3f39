//! What steps and the runner read and change in a session.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::board::Board;
use super::client::Client;
use super::clock::Reading;
use super::directory::Notes;
use super::link::Links;
use super::lock;
use super::machine::{Machine, Plan};
use super::metric::Metric;
use super::process::Background;
use super::state::{FailoverMark, Pair, Session};
use crate::event::{Sink, What};

impl Session {
    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Changes and trouble.
    #[must_use]
    pub const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Where events go.
    #[must_use]
    pub const fn sink(&self) -> &Sink {
        &self.sink
    }

    /// A step has waited from one moment on for something that had happened at another one.
    pub fn waited(&self, from: Instant, until: Instant) {
        let until = until.min(Instant::now()).max(from);
        let (from, until) = (self.sink.at(from.into_std()), self.sink.at(until.into_std()));
        self.sink.emit(What::Waited { from, until });
    }

    /// Does something in which the case waits, but not for QMP: for a host process or the guest, for instance.
    pub async fn elsewhere<T>(&self, work: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let done = work.await;
        self.waited(from, Instant::now());
        done
    }

    /// The janitor's input.
    #[must_use]
    pub const fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// The factor for deadlines.
    #[must_use]
    pub const fn slow(&self) -> f64 {
        self.slow
    }

    /// The VMs, started or not.
    #[must_use]
    pub fn plans(&self) -> Arc<IndexMap<String, Plan>> {
        Arc::clone(&self.live().plans)
    }

    /// The QEMU of the first VM: the programs next to it are for what belongs to no VM.
    #[must_use]
    pub fn first_qemu(&self) -> PathBuf {
        self.plans().values().next().map_or_else(PathBuf::new, |plan| plan.binary.path.clone())
    }

    /// Replaces the plans.
    pub fn set_plans(&self, plans: IndexMap<String, Plan>) {
        self.live().plans = Arc::new(plans);
    }

    /// The role names, and the VM that each currently stands for.
    #[must_use]
    pub fn roles(&self) -> IndexMap<String, String> {
        self.live().roles.clone()
    }

    /// Binds roles to VMs.
    pub fn bind(&self, roles: impl IntoIterator<Item = (String, String)>) {
        self.live().roles.extend(roles);
    }

    /// The VMs that were started, including those that ended.
    #[must_use]
    pub fn machines(&self) -> Arc<BTreeMap<String, Arc<Machine>>> {
        Arc::clone(&self.live().machines)
    }

    /// Background processes by name.
    #[must_use]
    pub fn background(&self) -> Arc<BTreeMap<String, Arc<Background>>> {
        Arc::clone(&self.live().background)
    }

    /// Adds a background process; returns the one that had its name.
    pub fn add_background(&self, name: &str, process: Background) -> Option<Arc<Background>> {
        Arc::make_mut(&mut self.live().background).insert(name.to_owned(), Arc::new(process))
    }

    /// Whether a step of the case waits for this background process.
    #[must_use]
    pub fn awaits(&self, process: &str) -> bool {
        self.awaited.contains(process)
    }

    /// The clients that were started, including stopped ones.
    #[must_use]
    pub fn clients(&self) -> Arc<BTreeMap<String, Arc<Client>>> {
        Arc::clone(&self.live().clients)
    }

    /// Adds a client.
    pub fn add_client(&self, name: &str, client: Client) {
        Arc::make_mut(&mut self.live().clients).insert(name.to_owned(), Arc::new(client));
    }

    /// The links.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.wiring.links
    }

    /// The ends that we still hold of each socket pair.
    pub fn sockets(&self) -> MutexGuard<'_, BTreeMap<String, Vec<OwnedFd>>> {
        lock(&self.sockets)
    }

    /// Keeps values captured by steps.
    pub fn capture(&self, values: Map<String, Value>) {
        self.live().captures.extend(values);
    }

    /// Records a metric.
    pub fn record(&self, metric: Metric) {
        self.live().recorded.push(metric);
    }

    /// The clocks of guests that were read, in order.
    #[must_use]
    pub fn clocks(&self) -> Vec<Reading> {
        self.live().clocks.clone()
    }

    /// Keeps the clocks of a guest.
    pub fn add_clock(&self, reading: Reading) {
        self.live().clocks.push(reading);
    }

    /// The last migration.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        self.live().pairs.last().cloned()
    }

    /// The last migration of a VM. Several VMs may migrate at once.
    #[must_use]
    pub fn pair_of(&self, vm: &str) -> Option<Pair> {
        let of_vm = |pair: &&Pair| pair.source == vm || pair.destination.as_deref() == Some(vm);
        self.live().pairs.iter().rfind(of_vm).cloned()
    }

    /// A migration has started.
    pub fn set_pair(&self, pair: Pair) {
        self.live().pairs.push(pair);
    }

    /// The last migration has this destination, unless that is its source. A saved state may have several.
    pub fn set_destination(&self, vm: &str) {
        let pairs = &mut self.live().pairs;
        let Some(pair) = pairs.last_mut().filter(|pair| pair.source != vm) else { return };
        self.board.join_migration(vm);
        let destination = Some(vm.to_owned());
        if pair.destination.is_none() || pair.destination == destination {
            pair.destination = destination;
        } else {
            let another = Pair { destination, ..pair.clone() };
            pairs.push(another);
        }
    }

    /// The last failover.
    #[must_use]
    pub fn failover(&self) -> Option<FailoverMark> {
        self.live().failover.clone()
    }

    /// A failover has happened.
    pub fn set_failover(&self, mark: FailoverMark) {
        self.live().failover = Some(mark);
    }
}
