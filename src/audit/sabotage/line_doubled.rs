//! `line-doubled`.

use super::acts::client_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Operation;

/// An operation of a client is sent twice.
pub(super) const LINE_DOUBLED: Sabotage = Sabotage {
    name: "line-doubled",
    kind: Kind::Clients,
    does: "an operation of a client is sent twice",
    blind: "whether the service has an operation of client `VM` twice",
    hint: |_| "check: {client: VM, history: kept}",
    shows: Shows::AtOnce,
    sites: client_sites,
    act: Act::Operation(Operation::Twice),
};
