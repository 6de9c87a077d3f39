//! What steps and the runner read and change in a session.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::board::Board;
use super::client::Client;
use super::clock::Reading;
use super::directory::Notes;
use super::link::Links;
use super::machine::{Machine, Plan};
use super::metric::Metric;
use super::process::Background;
use super::state::{FailoverMark, Pair, Session};
use crate::event::Sink;

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
    pub const fn plans(&self) -> &IndexMap<String, Plan> {
        &self.plans
    }

    /// The QEMU of the first VM: the programs next to it are for what belongs to no VM.
    #[must_use]
    pub fn first_qemu(&self) -> &Path {
        self.plans.values().next().map_or(Path::new(""), |plan| &plan.binary.path)
    }

    /// Replaces the plans.
    pub fn set_plans(&mut self, plans: IndexMap<String, Plan>) {
        self.plans = plans;
    }

    /// The role names, and the VM that each currently stands for.
    #[must_use]
    pub const fn roles(&self) -> &IndexMap<String, String> {
        &self.roles
    }

    /// Binds roles to VMs.
    pub fn bind(&mut self, roles: impl IntoIterator<Item = (String, String)>) {
        self.roles.extend(roles);
    }

    /// The VMs that were started, including those that ended.
    #[must_use]
    pub const fn machines(&self) -> &BTreeMap<String, Machine> {
        &self.machines
    }

    /// A started VM, to change what is known of it.
    pub fn machine_mut(&mut self, name: &str) -> Option<&mut Machine> {
        self.machines.get_mut(name)
    }

    /// Background processes by name.
    #[must_use]
    pub const fn background(&self) -> &BTreeMap<String, Background> {
        &self.background
    }

    /// Adds a background process; returns the one that had its name.
    pub fn add_background(&mut self, name: &str, process: Background) -> Option<Background> {
        self.background.insert(name.to_owned(), process)
    }

    /// Whether a step of the case waits for this background process.
    #[must_use]
    pub fn awaits(&self, process: &str) -> bool {
        self.awaited.contains(process)
    }

    /// The clients that were started, including stopped ones.
    #[must_use]
    pub const fn clients(&self) -> &BTreeMap<String, Client> {
        &self.clients
    }

    /// Adds a client.
    pub fn add_client(&mut self, name: &str, client: Client) {
        self.clients.insert(name.to_owned(), client);
    }

    /// The links.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.wiring.links
    }

    /// The ends that we still hold of a socket pair, if it exists.
    pub fn socket_ends(&mut self, name: &str) -> Option<&mut Vec<OwnedFd>> {
        self.sockets.get_mut(name)
    }

    /// Adds a socket pair.
    pub fn add_sockets(&mut self, name: &str, ends: [OwnedFd; 2]) {
        self.sockets.insert(name.to_owned(), ends.into());
    }

    /// Keeps values captured by steps.
    pub fn capture(&mut self, values: Map<String, Value>) {
        self.captures.extend(values);
    }

    /// Records a metric.
    pub fn record(&mut self, metric: Metric) {
        self.recorded.push(metric);
    }

    /// The clocks of guests that were read, in order.
    #[must_use]
    pub fn clocks(&self) -> &[Reading] {
        &self.clocks
    }

    /// Keeps the clocks of a guest.
    pub fn add_clock(&mut self, reading: Reading) {
        self.clocks.push(reading);
    }

    /// The last migration.
    #[must_use]
    pub fn pair(&self) -> Option<&Pair> {
        self.pairs.last()
    }

    /// The last migration of a VM. Several VMs may migrate at once.
    #[must_use]
    pub fn pair_of(&self, vm: &str) -> Option<&Pair> {
        self.pairs.iter().rfind(|pair| pair.source == vm || pair.destination.as_deref() == Some(vm))
    }

    /// A migration has started.
    pub fn set_pair(&mut self, pair: Pair) {
        self.pairs.push(pair);
    }

    /// The last migration has this destination, unless that is its source. A saved state may have several.
    pub fn set_destination(&mut self, vm: &str) {
        let Some(pair) = self.pairs.last_mut().filter(|pair| pair.source != vm) else { return };
        let destination = Some(vm.to_owned());
        if pair.destination.is_none() || pair.destination == destination {
            pair.destination = destination;
        } else {
            let another = Pair { destination, ..pair.clone() };
            self.pairs.push(another);
        }
    }

    /// The last failover.
    #[must_use]
    pub const fn failover(&self) -> Option<&FailoverMark> {
        self.failover.as_ref()
    }

    /// A failover has happened.
    pub fn set_failover(&mut self, mark: FailoverMark) {
        self.failover = Some(mark);
    }
}
