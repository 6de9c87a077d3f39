//! `answer-late`.

use std::time::Duration;

use super::acts::client_sites;
use super::{Act, Kind, Sabotage, Shows};
use crate::session::interference::Operation;

/// A client waits three seconds longer for an answer.
pub(super) const ANSWER_LATE: Sabotage = Sabotage {
    name: "answer-late",
    kind: Kind::Clients,
    does: "a client waits three seconds longer for an answer",
    blind: "how long client `VM` waits for an answer",
    hint: |_| "check: {client: VM, longest_gap: 1s}",
    shows: Shows::AtOnce,
    sites: client_sites,
    act: Act::Operation(Operation::Late(Duration::from_secs(3))),
};
