//! What several sabotages share.

use serde_json::{Value, json};

use super::super::blow::Blow;
use super::super::rule::Rule;
use super::super::scene::{Scene, Sites};
use super::super::site::{Site, Trigger};
use super::super::tape::Heard;
use crate::qemu::qmp_filter::{Late, Said};

/// The hint for damaged memory.
pub(super) const MEMORY_HINT: &str = "check: {vm: VM, memory: consistent}";

/// The guests' moments, for damage to a page that the guest uses.
pub(super) fn page_sites(scene: &Scene<'_>) -> Sites {
    let known = |vm: &str, site: Result<Site, Rule>| match site {
        Ok(_) if !scene.has_ticker(vm) => Err(Rule::UnknownPages),
        site => site,
    };
    let moments = |vm| scene.guest_moments(vm).into_iter().map(move |site| known(vm, site));
    scene.vms().into_iter().flat_map(moments).collect()
}

/// Overwrites the first word of a page.
pub(super) async fn overwrite(blow: &Blow, page: u64) -> Result<(), String> {
    let old = blow.read(page, 4).await?;
    blow.write(page, 4, (old ^ 0x5a5a_5a5a) & 0xffff_ffff).await
}

/// A site at each message of the straight run that `judge` wants, on its VM, after the step before it; one for each name
/// within a step.
pub(super) fn message_sites(
    scene: &Scene<'_>,
    messages: &[Heard],
    trigger: fn(String) -> Trigger,
    judge: impl Fn(&Heard) -> Option<Result<String, Rule>>,
) -> Sites {
    let mut sites = Sites::default();
    let mut seen = std::collections::BTreeSet::new();
    for message in messages.iter().filter(|message| scene.vms().contains(&message.vm.as_str())) {
        let Some(before) = scene.step_before(message.at) else { continue };
        if !seen.insert((message.vm.clone(), message.name.clone(), before)) {
            continue;
        }
        if let Some(judged) = judge(message) {
            sites.add(
                judged.map(|detail| {
                    scene.site(&message.vm, before, trigger(message.name.clone())).with(detail)
                }),
            );
        }
    }
    sites
}

/// A command that is acknowledged and not sent.
pub(super) fn acknowledged(message: &Value) -> Said {
    Said { sent: Vec::new(), heard: vec![Late::not(json!({"return": {}, "id": message["id"]}))] }
}
