//! `capability-without-effect`.

use super::acts::{capability_sites, with_capability, without_capability};
use super::{Act, Kind, Sabotage, Shows};

/// A migration capability is set and has no effect, although it reads back.
pub(super) const CAPABILITY_WITHOUT_EFFECT: Sabotage = Sabotage {
    name: "capability-without-effect",
    kind: Kind::Commands,
    does: "a migration capability is set and has no effect, although it reads back",
    blind: "whether the capability DETAIL of `VM` has an effect",
    hint: |site| super::acts::capability_hint(site),
    shows: Shows::ByDeadline,
    sites: capability_sites,
    act: Act::Filter {
        heard: Some(|site, message| with_capability(site, &message)),
        said: Some(without_capability),
        once: false,
    },
};
