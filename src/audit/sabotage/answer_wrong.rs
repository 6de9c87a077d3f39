//! `answer-wrong`.

use super::acts::client_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Operation;

/// A client gets an answer that does not fit its line, and then the right one.
pub(super) const ANSWER_WRONG: Sabotage = Sabotage {
    name: "answer-wrong",
    kind: Kind::Clients,
    does: "a client gets an answer that does not fit its line, and then the right one",
    blind: "what client `VM` is answered",
    hint: |_| "check: {client: VM, order: kept}",
    shows: Shows::AtOnce,
    sites: client_sites,
    act: Act::Operation(Operation::Wrong),
};
