//! `parameter-without-effect`.

use super::acts::{parameter_hint, parameter_sites, with_parameter, without_parameter};
use super::{Act, Kind, Sabotage, Shows};

/// A migration parameter is set and has no effect, although it reads back.
pub(super) const PARAMETER_WITHOUT_EFFECT: Sabotage = Sabotage {
    name: "parameter-without-effect",
    kind: Kind::Commands,
    does: "a migration parameter is set and has no effect, although it reads back",
    blind: "whether the parameter DETAIL of `VM` has an effect",
    hint: |site| parameter_hint(site),
    shows: Shows::ByDeadline,
    sites: parameter_sites,
    act: Act::Filter {
        heard: Some(|site, message| with_parameter(site, &message)),
        said: Some(without_parameter),
        once: false,
    },
};
