//! The ports, links and networks of a case.

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::typed;
use super::vms::Vms;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location};
use crate::qemu::network::{NetworkSpec, wrong_netdev};
use crate::session::link::{Address, LinkSpec, Listen};
use crate::template::{self, Scope};
use crate::units::OneOrMany;
use crate::yaml::{Key, Node};

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
        for (name, spec) in &vms.specs {
            for (number, netdev) in spec.netdevs.iter().enumerate() {
                let Some((key, message, help)) = wrong_netdev(netdev, &self.networks) else {
                    continue;
                };
                let Some(source) = vms.sources.get(name) else {
                    continue;
                };
                let path = ["netdevs".to_owned(), number.to_string(), key.to_owned()];
                let at = typed::place(&source.at, &source.options, &path).0;
                diagnostics.push(Diagnostic::error(Code::WrongValue, &at, message).help(help));
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
pub(super) fn read(root: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Net {
    let mut net = Net { ports: ports(root, scope, diagnostics), ..Net::default() };
    networks(root, scope, &mut net, diagnostics);
    let scope = scope.with(net.names());
    let Some(section) = root.get("links") else {
        return net;
    };
    for (key, node) in section.entries() {
        if !check_name(key, "link", diagnostics) {
            continue;
        }
        let node = if node.is_null() { Node::map(Vec::new(), key.at.clone()) } else { node.clone() };
        let Some(piece) = typed::render(&node, &scope, diagnostics) else {
            continue;
        };
        if let Some(link) = typed::fit_all::<LinkSpec>(&piece.value, &key.at, &node, &scope, diagnostics) {
            let to = link.to.as_deref().filter(|to| !template::is_deferred(to));
            if let Some(Err(message)) = to.map(str::parse::<Address>) {
                let at = node.get("to").map_or(&key.at, |to| &to.at);
                diagnostics.push(Diagnostic::error(Code::WrongValue, at, message));
            }
            net.links.insert(key.name.clone(), link);
            net.deferred_links.extend(piece.raw.map(|raw| (key.name.clone(), raw)));
        }
    }
    net
}

fn networks(root: &Node, scope: &Scope<'_>, net: &mut Net, diagnostics: &mut Diagnostics) {
    let Some(section) = root.get("networks") else {
        return;
    };
    for (key, node) in section.entries() {
        if !check_name(key, "network", diagnostics) {
            continue;
        }
        let node = if node.is_null() { Node::map(Vec::new(), key.at.clone()) } else { node.clone() };
        let Some(network) = typed::read::<NetworkSpec>(&key.at, &node, scope, diagnostics) else {
            continue;
        };
        for (path, message) in network.wrong() {
            let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
            let at = typed::place(&key.at, &node, &path).0;
            diagnostics.push(Diagnostic::error(Code::WrongValue, &at, message));
        }
        for (port, _) in node.get("forward").map(Node::entries).unwrap_or_default() {
            let twice = net.port_names().any(|known| *known == port.name);
            if twice {
                let message = format!("duplicate port `{}`", port.name);
                let help = "forwarded ports and `ports` share their names; choose another one";
                diagnostics.push(Diagnostic::error(Code::WrongValue, &port.at, message).help(help));
            }
            check_name(port, "port", diagnostics);
        }
        net.networks.insert(key.name.clone(), network);
    }
}

fn ports(root: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let Some((key, node)) = root.entry("ports") else {
        return Vec::new();
    };
    let names: Option<OneOrMany<String>> = typed::read(&key.at, node, scope, diagnostics);
    let names: IndexSet<String> = names.into_iter().flat_map(|names| names.0).collect();
    let place = |name: &String| node.items().iter().find(|item| item.text() == Some(name)).unwrap_or(node);
    let mut usable = Vec::new();
    for name in names {
        if check(&name, &place(&name).at, "port", diagnostics) {
            usable.push(name);
        }
    }
    usable
}

pub(super) fn check_name(key: &Key, what: &str, diagnostics: &mut Diagnostics) -> bool {
    check(&key.name, &key.at, what, diagnostics)
}

/// Such a name is used in templates, and may be part of the name of a socket.
fn check(name: &str, at: &Location, what: &str, diagnostics: &mut Diagnostics) -> bool {
    let usable = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.len() <= 32
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !usable {
        let message = format!("`{name}` is not a valid {what} name");
        let help = "start with a letter; use letters, digits, `_` and `-`, at most 32 characters";
        diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
    }
    usable
}
