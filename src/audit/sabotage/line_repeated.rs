//! `line-repeated`.

use super::acts::repeated_sites;
use super::{Act, Kind, Sabotage, Shows};

/// A line from before is repeated.
pub(super) const LINE_REPEATED: Sabotage = Sabotage {
    name: "line-repeated",
    kind: Kind::Serial,
    does: "a line from before is repeated",
    blind: "whether the guest of `VM` says something again",
    hint: |site| super::acts::repeated_hint(site),
    shows: Shows::AtOnce,
    sites: repeated_sites,
    act: Act::Lines {
        change: |_, line, kept| {
            let earlier = kept.as_str()?.as_bytes().to_vec();
            Some(vec![line.to_vec(), earlier])
        },
        once: true,
    },
};
