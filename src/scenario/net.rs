//! The ports, links and networks of a case.

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::names;
use super::typed::{self, Reader};
use super::vms::Vms;
use crate::diagnostic::{Code, Diagnostics};
use crate::qemu::network::{NetworkSpec, wrong_netdev};
use crate::session::link::{Address, LinkSpec, Listen};
use crate::template;
use crate::units::OneOrMany;
use crate::yaml::Node;

/// The ports, links and networks of a case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Net {
    /// The names of its ports.
    pub ports: Vec<String>,
    /// Its links. If a target is only known in a run, it is still a template; see [`resolve_link`](super::resolve_link).
    pub links: IndexMap<String, LinkSpec>,
    /// The links with deferred templates; everything else in them is rendered.
    pub deferred_links: IndexMap<String, Value>,
    /// Its networks.
    pub networks: IndexMap<String, NetworkSpec>,
}

impl Net {
    /// The names of all ports to reserve.
    pub fn port_names(&self) -> impl Iterator<Item = &String> {
        self.ports.iter().chain(self.networks.values().flat_map(|network| network.forward.keys()))
    }

    /// Reports netdevs of VMs whose network the case does not have.
    pub(super) fn check_netdevs(&self, vms: &Vms, diagnostics: &mut Diagnostics) {
        for (name, spec) in vms.specs.iter() {
            for (number, netdev) in spec.netdevs.iter().enumerate() {
                let Some((key, message, help)) = wrong_netdev(netdev, &self.networks) else {
                    continue;
                };
                let source = &vms.sources[name];
                let path = ["netdevs", &number.to_string(), key];
                let at = typed::place(&source.at, &source.options, &path).0;
                diagnostics.error(Code::WrongValue, &at, message, help);
            }
        }
    }

    /// The names for templates, each null: the values are only known in a run.
    pub(super) fn names(&self) -> Map<String, Value> {
        let ports: Map<String, Value> = self.port_names().map(|name| (name.clone(), Value::Null)).collect();
        let links = self.links.iter().map(|(name, link)| {
            let place = match link.listen {
                Listen::Tcp => json!({"address": null, "port": null}),
                Listen::Unix => json!({"address": null, "path": null}),
            };
            (name.clone(), place)
        });
        let sections = [("port", ports), ("link", links.collect())];
        let declared = sections.into_iter().filter(|(_, names)| !names.is_empty());
        declared.map(|(root, names)| (root.to_owned(), Value::Object(names))).collect()
    }
}

/// Reads the `ports`, `links` and `networks` of a file; reports and skips invalid ones.
pub(super) fn read(root: &Node, reader: &mut Reader<'_, '_>) -> Net {
    let mut net = Net { ports: ports(root, reader), ..Net::default() };
    networks(root, &mut net, reader);
    let scope = reader.scope.with(net.names());
    let mut reader = reader.with(&scope);
    for (key, node) in root.section("links") {
        if !names::LINK.check(key, reader.diagnostics) {
            continue;
        }
        let node = node.or_empty(key);
        let Some(piece) = reader.render(&node) else {
            continue;
        };
        if let Some(link) = reader.fit::<LinkSpec>(&piece.value, &key.at, &node) {
            let to = link.to.as_deref().filter(|to| !template::is_deferred(to));
            if let Some(Err(message)) = to.map(str::parse::<Address>) {
                let at = node.get("to").map_or(&key.at, |to| &to.at);
                reader.error(Code::WrongValue, at, message, "");
            }
            net.links.insert(key.name.clone(), link);
            net.deferred_links.extend(piece.raw.map(|raw| (key.name.clone(), raw)));
        }
    }
    net
}

fn networks(root: &Node, net: &mut Net, reader: &mut Reader<'_, '_>) {
    for (key, node) in root.section("networks") {
        if !names::NETWORK.check(key, reader.diagnostics) {
            continue;
        }
        let node = node.or_empty(key);
        let Some(network) = reader.read::<NetworkSpec>(&key.at, &node) else {
            continue;
        };
        for (path, message) in network.wrong() {
            let at = typed::place(&key.at, &node, &path).0;
            reader.error(Code::WrongValue, &at, message, "");
        }
        for (port, _) in node.section("forward") {
            if net.port_names().any(|known| *known == port.name) {
                let message = format!("duplicate port `{}`", port.name);
                let help = "forwarded ports and `ports` share their names; choose another one";
                reader.error(Code::WrongValue, &port.at, message, help);
            }
            names::PORT.check(port, reader.diagnostics);
        }
        net.networks.insert(key.name.clone(), network);
    }
}

fn ports(root: &Node, reader: &mut Reader<'_, '_>) -> Vec<String> {
    let names: Option<OneOrMany<String>> = reader.read_key(root, "ports");
    let mut ports = unique(names.map(|names| names.0).unwrap_or_default());
    ports.retain(|name| {
        let items = root.get("ports").map(Node::items).unwrap_or_default();
        let item = items.iter().find(|item| item.text() == Some(name));
        let at = item.map_or(root.place_of("ports"), |item| &item.at);
        names::PORT.check_text(name, at, reader.diagnostics)
    });
    ports
}

/// Each word once.
pub(super) fn unique(words: Vec<String>) -> Vec<String> {
    IndexSet::<String>::from_iter(words).into_iter().collect()
}
