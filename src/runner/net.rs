//! Sets up the ports, links and networks of a case.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, json};

use super::binaries::Binaries;
use super::plans::CaseVersions;
use crate::event::Sink;
use crate::qemu::access::Access;
use crate::qemu::network::{Sockets, cable, netdevs, wire_name};
use crate::qemu::spec::{Accel, VmSpec};
use crate::qemu::ssh::port_name;
use crate::scenario::model::Case;
use crate::scenario::{RunValues, resolve_link, resolve_text};
use crate::session::board::Board;
use crate::session::link::Link;
use crate::session::ports::Ports;
use crate::session::{Failure, Plan, Wiring};

/// Reserves the case's ports, and one for each VM that forwards a port to its SSH server.
///
/// # Errors
/// When a port cannot be had.
pub(super) fn hold_ports(case: &Case) -> Result<Ports, Failure> {
    let forwards =
        |vm: &&VmSpec| vm.guest.access().and_then(Access::ssh).is_some_and(|ssh| ssh.address.is_none());
    let servers: Vec<String> =
        case.vms.iter().filter(|(_, vm)| forwards(vm)).map(|(name, _)| port_name(name)).collect();
    Ports::hold(case.net.port_names().chain(&servers))
        .map_err(|error| Failure::error(format!("no free port on 127.0.0.1: {error}")))
}

/// Opens the links and creates the descriptors that the case's VMs inherit. Both may name ports.
///
/// # Errors
/// When a link cannot be opened, or a descriptor cannot be made.
pub(super) fn open(
    case: &Case,
    ports: Ports,
    directory: &Path,
    binaries: &Binaries,
    (board, sink): (&Arc<Board>, &Sink),
) -> Result<Wiring, Failure> {
    let mut wiring = Wiring { ports, ..Wiring::default() };
    let names = wiring.names();
    let nothing = json!({"captures": {}, "vm": {}, "process": {}});
    let versions = CaseVersions { case, binaries };
    let values =
        RunValues { run: &nothing, names: &names, rounds: &Map::new(), dir: directory, versions: &versions };
    for name in case.net.links.keys() {
        let broken = |why: String| Failure::error(format!("cannot open link `{name}`: {why}"));
        let spec = resolve_link(case, name, &values).map_err(|why| broken(why.to_string()))?;
        let Some(spec) = spec else {
            continue;
        };
        let link =
            Link::open(name, &spec, directory, board, sink).map_err(|error| broken(error.to_string()))?;
        wiring.links.insert(name.clone(), link);
    }
    // Now with the links' ports.
    let names = wiring.names();
    let values = RunValues { names: &names, ..values };
    for (vm, spec) in case.vms.iter() {
        for (name, fd) in &spec.fds {
            let broken = |why: String| {
                Failure::error(format!("cannot create the file descriptor `{name}` of VM `{vm}`: {why}"))
            };
            let path = resolve_text(case, &fd.listen, &Map::new(), &values);
            let path = path.map_err(|why| broken(why.to_string()))?;
            let path = directory.join(path.as_str().unwrap_or_default());
            let listener =
                UnixListener::bind(&path).map_err(|error| broken(format!("{}: {error}", path.display())))?;
            wiring.inherited.entry(vm.clone()).or_default().insert(name.clone(), Arc::new(listener.into()));
        }
    }
    Ok(wiring)
}

/// Plans the hub QEMU of each network that a VM uses, and creates its sockets. It runs the QEMU of the first VM.
///
/// # Errors
/// When a socket cannot be had.
pub(super) fn plan_wires(
    case: &Case,
    plans: &mut IndexMap<String, Plan>,
    wiring: &mut Wiring,
) -> Result<(), Failure> {
    for (network, spec) in &case.net.networks {
        let broken = |why: &str| Failure::error(format!("cannot create network `{network}`: {why}"));
        let mut sockets = Sockets::new();
        for (vm, plan) in &*plans {
            for id in netdevs(&plan.spec, network) {
                let [hub, own] = cable().map_err(|error| broken(&error.to_string()))?;
                // No VM and no netdev has an `@` in its name.
                sockets.insert(format!("{vm}@{id}"), hub);
                wiring.networks.entry(vm.clone()).or_default().insert(id.to_owned(), own);
            }
        }
        let Some(first) = plans.values().next().filter(|_| !sockets.is_empty()) else {
            continue;
        };
        let wire = spec.wire(|name| wiring.ports.get(name), &sockets).ok_or_else(|| broken("its subnet"))?;
        let name = wire_name(network);
        let plan = Plan::new(&name, wire, Arc::clone(&first.binary), Accel::Tcg);
        wiring.networks.insert(name.clone(), sockets);
        plans.insert(name, plan);
    }
    Ok(())
}
