//! What a case has before its VMs are planned: ports, links, and descriptors that VMs inherit.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::link::Links;
use super::machine::Plan;
use super::ports::Ports;
use crate::qemu::network::{Sockets, attached, drain};

/// The ports, links and inherited descriptors of a case.
#[derive(Debug, Default)]
pub struct Wiring {
    /// The ports reserved for the case.
    pub ports: Ports,
    /// Its links.
    pub links: Links,
    /// The descriptors that VMs inherit, by VM and name.
    pub inherited: BTreeMap<String, BTreeMap<String, Arc<OwnedFd>>>,
    /// The sockets of the netdevs on networks, by VM.
    pub networks: BTreeMap<String, Sockets>,
}

impl Wiring {
    /// The template values besides `run` once the case has started: its port numbers under `port`, link addresses
    /// under `link`, and under `fd` the numbers of inherited descriptors, which a VM's own options see as `self.fd`.
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

    /// The plan of a process that is started now, with the descriptors that it inherits.
    #[must_use]
    pub fn joined(&self, plan: Plan) -> Plan {
        let none = Sockets::new();
        let sockets = self.networks.get(&plan.name).unwrap_or(&none);
        drain(sockets);
        let inherit = self.inherited.get(&plan.name).into_iter().chain([sockets]);
        let inherit = inherit.flat_map(BTreeMap::values).cloned().collect();
        Plan { spec: attached(&plan.spec, sockets), inherit, ..plan }
    }
}
