//! What a case has before its VMs are planned: ports, links, and descriptors that VMs inherit.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::link::Links;
use super::ports::Ports;

/// The ports, links and inherited descriptors of a case.
#[derive(Debug, Default)]
pub struct Wiring {
    /// The ports reserved for the case.
    pub ports: Ports,
    /// Its links.
    pub links: Links,
    /// The descriptors that VMs inherit, by VM and name.
    pub inherited: BTreeMap<String, BTreeMap<String, Arc<OwnedFd>>>,
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
}
