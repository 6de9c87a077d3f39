//! Guest memory.

use super::others::OUTPUT;
use crate::audit::blow::Blow;
use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::Site;
use crate::qemu::arch::Arch;

/// The hint for damaged memory.
pub(in super::super) const MEMORY_HINT: &str = "check: {vm: VM, memory: consistent}";

/// The devices with video memory that the built-in guest uses.
const DISPLAYS: &[&str] = &["VGA", "bochs-display", "cirrus-vga", "qxl-vga", "virtio-vga"];

/// The guests' moments, for damage to a page that the guest uses.
pub(in super::super) fn page_sites(scene: &Scene<'_>) -> Sites {
    let known = |vm: &str, site: Result<Site, Rule>| match site {
        Ok(_) if !scene.has_ticker(vm) => Err(Rule::UnknownPages),
        Ok(site) if !scene.is_booted(vm, &site) => Err(Rule::Booting),
        Ok(site) if scene.is_sent(vm, &site) => Err(Rule::Sent),
        Ok(site) if scene.is_loaded(vm, &site) => Err(Rule::Loaded),
        Ok(site) if scene.is_saved(vm, &site, &[OUTPUT, &["memory"]].concat()) => Err(Rule::Leaves),
        site => site,
    };
    let moments = |vm| scene.guest_moments(vm).into_iter().map(move |site| known(vm, site));
    scene.vms().into_iter().flat_map(moments).collect()
}

/// The same for devices of a PC, in the VMs that are one.
pub(in super::super) fn device_sites(scene: &Scene<'_>) -> Sites {
    let is_pc = |vm: &str| scene.spec(vm).is_some_and(|spec| Arch::of(spec.arch()) == Some(Arch::X86));
    let mut all = page_sites(scene);
    all.sites.retain(|site| is_pc(&site.target));
    all
}

/// The same once the guest was given a number.
pub(in super::super) fn witness_sites(scene: &Scene<'_>) -> Sites {
    let mut all = page_sites(scene);
    let given = |step: usize| {
        let before = scene.tape.steps.iter().take_while(|own| own.number <= step);
        before.filter(|own| own.done).any(|own| matches!(own.action(), "witness" | "migrate" | "protect"))
    };
    let (kept, early) = all.sites.into_iter().partition(|site| given(site.after.number));
    all.sites = kept;
    let early: Vec<Site> = early;
    early.into_iter().for_each(|_| all.add(Err(Rule::NoNumber)));
    all
}

/// The same for the video memory of VMs that have a display.
pub(in super::super) fn video_sites(scene: &Scene<'_>) -> Sites {
    let has_display = |vm: &str| {
        let devices = scene.spec(vm).and_then(|spec| serde_json::to_value(&spec.devices).ok());
        devices.is_some_and(|devices| {
            let text = devices.to_string();
            DISPLAYS.iter().any(|display| text.contains(&format!("\"{display}\"")))
        })
    };
    let mut all = page_sites(scene);
    all.sites.retain(|site| has_display(&site.target));
    all.left_out.clear();
    all
}

/// Overwrites a word.
pub(in super::super) async fn overwrite(blow: &Blow, address: u64) -> Result<(), String> {
    let old = blow.read(address, 4).await?;
    blow.write(address, 4, (old ^ 0x5a5a_5a5a) & 0xffff_ffff).await
}

/// The addresses of the words of eight bytes of a page.
pub(in super::super) fn page_words(page: u64) -> impl Iterator<Item = u64> {
    (0..512).map(move |word| page + 8 * word)
}
