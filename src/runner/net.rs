//! Sets up the ports, links and networks of a case.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use serde_json::{Map, json};

use super::binaries::Binaries;
use super::plans::CaseVersions;
use crate::qemu::network::wire_name;
use crate::qemu::spec::Accel;
use crate::scenario::model::Case;
use crate::scenario::{RunValues, resolve_link, resolve_text};
use crate::session::link::Link;
use crate::session::ports::Ports;
use crate::session::{Failure, Plan, Session};

/// Reserves the ports, opens the links and creates the descriptors that the case's VMs inherit. Links and descriptors
/// may name ports.
///
/// # Errors
/// When a port cannot be had, a link cannot be opened, or a descriptor cannot be made.
pub(super) fn open(case: &Case, session: &mut Session, binaries: &Binaries) -> Result<(), Failure> {
    session.ports = Ports::hold(case.net.port_names())
        .map_err(|error| Failure::error(format!("no free port on 127.0.0.1: {error}")))?;
    let names = session.names();
    let nothing = json!({"captures": {}, "vm": {}, "process": {}});
    let versions = CaseVersions { case, binaries };
    let directory = session.directory().to_owned();
    let values =
        RunValues { run: &nothing, names: &names, rounds: &Map::new(), dir: &directory, versions: &versions };
    for name in case.net.links.keys() {
        let broken = |why: String| Failure::error(format!("cannot open link `{name}`: {why}"));
        let Some(spec) = resolve_link(case, name, &values).map_err(broken)? else {
            continue;
        };
        let link = Link::open(name, &spec, &directory, &session.board, &session.sink)
            .map_err(|error| broken(error.to_string()))?;
        session.links.insert(name.clone(), link);
    }
    // Now with the links' ports.
    let names = session.names();
    let values = RunValues { names: &names, ..values };
    for (vm, spec) in &case.vms {
        for (name, fd) in &spec.fds {
            let broken = |why: String| {
                Failure::error(format!("cannot create the file descriptor `{name}` of VM `{vm}`: {why}"))
            };
            let path = resolve_text(case, &fd.listen, &Map::new(), &values).map_err(broken)?;
            let path = directory.join(path.as_str().unwrap_or_default());
            let listener =
                UnixListener::bind(&path).map_err(|error| broken(format!("{}: {error}", path.display())))?;
            session.inherited.entry(vm.clone()).or_default().insert(name.clone(), Arc::new(listener.into()));
        }
    }
    Ok(())
}

/// Plans the hub QEMU of each network. It runs the QEMU of the first VM.
///
/// # Errors
/// When the case has no VM.
pub(super) fn plan_wires(case: &Case, session: &mut Session) -> Result<(), Failure> {
    for (network, spec) in &case.net.networks {
        let name = wire_name(network);
        let vms = session.plans.iter().map(|(name, plan)| (name.as_str(), &plan.spec));
        let port = |name: &str| session.ports.get(name);
        let spec = spec.wire(network, vms, port, session.directory());
        let first = session.plans.values().next();
        let (Some(spec), Some(first)) = (spec, first) else {
            return Err(Failure::error(format!("network `{network}` has no VM whose QEMU can run it")));
        };
        let binary = std::sync::Arc::clone(&first.binary);
        let plan = Plan {
            name: name.clone(),
            spec,
            binary,
            accel: Accel::Tcg,
            attachable: false,
            inherit: Vec::new(),
        };
        session.plans.insert(name, plan);
    }
    Ok(())
}
