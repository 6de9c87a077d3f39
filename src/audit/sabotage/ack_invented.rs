//! `ack-invented`.

use super::acts::client_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Operation;

/// An operation of a client is not sent, and counts as acknowledged.
pub(super) const ACK_INVENTED: Sabotage = Sabotage {
    name: "ack-invented",
    kind: Kind::Clients,
    does: "an operation of a client is not sent, and counts as acknowledged",
    blind: "whether the service has what client `VM` got acknowledged",
    hint: |_| "check: {client: VM, history: kept}",
    shows: Shows::AtOnce,
    sites: client_sites,
    act: Act::Operation(Operation::Invent),
};
