//! What a case takes of the machine: what it says itself (`needs`), or an estimate from its VMs.

use serde_json::{Map, Value};

use crate::qemu::spec::{Guest, VmSpec};
use crate::scenario::model::Case;
use crate::step::Action;
use crate::units::Size;

/// The memory of a QEMU beside the RAM of its guest: code, devices, translated code, the buffers of a migration.
const OF_QEMU: u64 = Size::mib(128).0;
/// The least that a case takes: its QEMUs start and end, and the runner reads what they write.
const LEAST_CPUS: f64 = 0.5;

/// What a case takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::runner) struct Demand {
    /// How many CPUs it keeps busy.
    pub cpus: f64,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Whether it runs alone.
    pub exclusive: bool,
}

impl Demand {
    /// That of a case.
    pub(in crate::runner) fn of(case: &Case) -> Self {
        let cpus = case.needs.cpus.unwrap_or_else(|| {
            let busy: f64 = case.vms.values().map(busy).sum();
            busy.max(LEAST_CPUS)
        });
        let memory = case.needs.memory.map_or_else(
            || {
                let colo = has_colo(case);
                case.vms.values().map(|vm| memory(vm, colo)).fold(0, u64::saturating_add)
            },
            |size| size.0,
        );
        Self { cpus, memory, exclusive: case.exclusive }
    }

    /// Both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            cpus: self.cpus + other.cpus,
            memory: self.memory.saturating_add(other.memory),
            exclusive: self.exclusive || other.exclusive,
        }
    }
}

/// How many CPUs a VM keeps busy. The destination of a migration runs when its source has stopped. A COLO pair, which
/// stops for each checkpoint, was measured to take one CPU (`docs/scale.md`).
fn busy(vm: &VmSpec) -> f64 {
    if vm.incoming.is_some() {
        return 0.0;
    }
    match vm.guest {
        // The others wait for a start-up that does not come.
        Guest::Ticker(_) => 1.0,
        Guest::Linux(_) | Guest::Image(_) => {
            let cpus = vm.smp.as_ref().and_then(|smp| smp.0.cpus.or(smp.0.maxcpus));
            cpus.map_or(1.0, |cpus| cpus.get() as f64)
        }
        Guest::None => 0.0,
    }
}

/// The memory of a VM: all RAM that it may have. A COLO secondary has a second copy of it.
fn memory(vm: &VmSpec, colo: bool) -> u64 {
    let given = vm.memory.0;
    let ram = given.maxmem.unwrap_or(given.size).0;
    let backends = vm.objects.iter().filter_map(backend).fold(0, u64::saturating_add);
    let option = vm.args.iter().position(|arg| arg == "-m").and_then(|at| of_option(vm.args.get(at + 1)?));
    let ram = ram.max(backends).max(option.unwrap_or(0));
    let copies = if colo && vm.incoming.is_some() { 2 } else { 1 };
    ram.saturating_mul(copies).saturating_add(OF_QEMU)
}

/// The size of a memory backend.
fn backend(object: &Map<String, Value>) -> Option<u64> {
    object.get("qom-type")?.as_str()?.strip_prefix("memory-backend-")?;
    match object.get("size")? {
        Value::String(text) => text.parse::<Size>().ok().map(|size| size.0),
        size => size.as_u64(),
    }
}

/// The size in an argument of `-m`, in MiB if it has no unit.
fn of_option(text: &str) -> Option<u64> {
    let size = text.split(',').find(|part| part.starts_with("maxmem=")).or(text.split(',').next())?;
    let size = size.split('=').next_back()?;
    match size.parse::<u64>() {
        Ok(mebibytes) => mebibytes.checked_mul(1 << 20),
        Err(_) => size.parse::<Size>().ok().map(|size| size.0),
    }
}

fn has_colo(case: &Case) -> bool {
    case.all_steps().iter().any(|step| match &step.step.action {
        Action::Protect(_) => true,
        Action::Capabilities(set) => set.on.iter().any(|name| name == "x-colo"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Options, load_texts};
    use crate::template::NoVersions;

    fn demands(text: &str) -> Vec<Demand> {
        let loaded = load_texts(&[("a.yaml".into(), text.to_owned())], &Options::default(), &NoVersions);
        assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
        loaded.cases.iter().map(Demand::of).collect()
    }

    fn one(text: &str) -> (f64, u64) {
        let demand = demands(&format!("{text}\nsteps: [{{sleep: 1s}}]\n"))[0];
        (demand.cpus, demand.memory >> 20)
    }

    #[test]
    fn a_case_takes_the_ram_of_its_vms_and_a_cpu_for_each_guest_that_runs() {
        assert_eq!(one("vms: {a: {}}"), (1.0, 256));
        assert_eq!(one("vms: {a: {memory: 64M}, b: {like: a, incoming: defer}}"), (1.0, 2 * 192));
        assert_eq!(one("vms: {a: {smp: 4}}"), (1.0, 256));
        assert_eq!(one("vms: {a: {guest: linux, smp: 4, memory: 1G}}"), (4.0, 1152));
        assert_eq!(one("vms: {a: {guest: none}}"), (0.5, 256));
        assert_eq!(one("vms: {a: {memory: {size: 64M, slots: 1, maxmem: 1G}}}"), (1.0, 1152));
        assert_eq!(one("vms: {a: {guest: none, args: [-m, 'size=512,slots=1,maxmem=2G']}}"), (0.5, 2176));
        assert_eq!(one("vms: {a: {guest: none, args: [-m, '512']}}"), (0.5, 640));
        let backends = "objects: [{qom-type: memory-backend-ram, id: m, size: 536870912}]";
        assert_eq!(one(&format!("vms: {{a: {{{backends}}}}}")), (1.0, 640));
    }

    #[test]
    fn a_colo_secondary_has_its_ram_twice() {
        let vms = "vms: {a: {memory: 64M}, b: {like: a, incoming: defer}}";
        let steps = "steps: [{capabilities: {vm: [a, b], on: [x-colo]}}]";
        assert_eq!(demands(&format!("{vms}\n{steps}\n"))[0].memory >> 20, 3 * 64 + 256);
    }

    #[test]
    fn a_case_says_itself_what_it_takes_in_each_cell() {
        let text = "name: \"n{{n}}\"\nmatrix: {n: [1, 3]}\nneeds: {cpus: \"{{n}}\", memory: \"{{n}}G\"}\n\
                    exclusive: \"{{eq n 3}}\"\nvms: {a: {}}\nsteps: [{sleep: 1s}]\n";
        let told = |cpus: f64, memory, exclusive| Demand { cpus, memory, exclusive };
        assert_eq!(demands(text), [told(1.0, 1 << 30, false), told(3.0, 3 << 30, true)]);
        assert_eq!(one("needs: {cpus: 0.25}\nvms: {a: {}}"), (0.25, 256));
    }
}
