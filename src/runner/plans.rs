//! How to start the VMs of a case, and whether it can run at all.

use std::path::Path;

use indexmap::IndexMap;
use semver::Version;
use serde_json::{Map, Value};

use super::binaries::Binaries;
use super::cannot_run::CannotRun;
use super::machine_types::choose_machine_types;
use super::requirements::{not_given, unmet};
use super::settings::Settings;
use crate::qemu::arch::{self, Arch};
use crate::qemu::binary::{Binary, find};
use crate::qemu::guests_dir;
use crate::qemu::programs::{QEMU_IMG, is_there};
use crate::qemu::spec::{Accel, Boot, Guest, VmSpec};
use crate::scenario::model::Case;
use crate::scenario::{RunValues, resolve_vm};
use crate::session::Plan;
use crate::step::Exec;
use crate::template::Versions;

/// How to start each VM, or why the case cannot run. `names` are the extra values for templates besides `run`.
pub(super) fn plans(
    case: &Case,
    directory: &Path,
    binaries: &Binaries,
    settings: &Settings,
    names: &Map<String, Value>,
) -> Result<IndexMap<String, Plan>, CannotRun> {
    if let Some(reason) = not_given(&case.requires, binaries) {
        return Err(CannotRun::skip(reason));
    }
    // Before the case runs it has no directory.
    let here = if directory.is_dir() { directory.to_owned() } else { std::env::temp_dir() };
    let (known, _) = binaries.of(case);
    let known: Vec<&Binary> = known.values().map(|binary| &**binary).collect();
    let mut found = IndexMap::new();
    for name in case.vms.keys() {
        let nothing = serde_json::json!({"captures": {}, "vm": {}, "process": {}, "role": case.roles});
        let versions = CaseVersions { case, binaries };
        let values =
            RunValues { run: &nothing, names, rounds: &Map::new(), dir: directory, versions: &versions };
        // Values that only a later step knows are filled in when that step starts the VM.
        let spec = match resolve_vm(case, name, &values) {
            Ok(spec) => spec,
            // Ports and descriptors do not exist before the case has its directory.
            Err(_) if !case.vms[name].start || !directory.is_dir() => None,
            Err(why) => return Err(CannotRun::error(format!("VM `{name}`: {why}"))),
        };
        let spec = spec.unwrap_or_else(|| case.vms[name].clone());
        let plan = plan(name, spec, binaries, settings).map_err(|why| {
            match unmet(&case.requires, &known, &here) {
                Some(reason) => CannotRun::skip(reason),
                None => why,
            }
        })?;
        found.insert(name.clone(), plan);
    }
    choose_machine_types(&mut found)?;
    let used: Vec<&Binary> = found.values().map(|plan: &Plan| &*plan.binary).collect();
    let unmet = unmet(&case.requires, &used, &here);
    let missing = unmet.or_else(|| other_accelerator(case, &found)).or_else(|| no_program(case, &found));
    match missing.or_else(|| no_ssh(&found)) {
        Some(reason) => Err(CannotRun::skip(reason)),
        None => Ok(found),
    }
}

/// The reason to skip if a VM does not have the accelerator that the case needs.
fn other_accelerator(case: &Case, plans: &IndexMap<String, Plan>) -> Option<String> {
    let wanted = case.requires.accel?;
    let (name, plan) = plans.iter().find(|(_, plan)| plan.accel != wanted)?;
    let why = plan.without_kvm.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("needs accelerator {}, but VM `{name}` would use {}{why}", wanted.name(), plan.accel.name()))
}

/// The reason to skip if the case has disks but no `qemu-img`, or runs a program that comes with QEMU and is not there.
fn no_program(case: &Case, plans: &IndexMap<String, Plan>) -> Option<String> {
    let lacks = |plan: &Plan, name: &str| !is_there(&plan.binary.path, name);
    let reason = |what: &str| format!("needs {what}, found neither next to QEMU nor in PATH");
    // What belongs to no VM is done with the programs of the first VM's QEMU.
    let first = plans.values().next()?;
    let makers = plans.values().filter(|plan| !plan.spec.disks.is_empty());
    if makers.chain(Some(first).filter(|_| !case.disks.is_empty())).any(|plan| lacks(plan, QEMU_IMG)) {
        return Some(reason("`qemu-img` for its disks"));
    }
    let missing =
        case.host_commands().into_iter().filter_map(Exec::of_qemu).find(|name| lacks(first, name))?;
    Some(reason(&format!("`{missing}`")))
}

/// The reason to skip if a VM is entered by SSH and the host lacks a program for that.
fn no_ssh(plans: &IndexMap<String, Plan>) -> Option<String> {
    plans.values().find_map(|plan| {
        let ssh = plan.spec.guest.access()?.ssh()?;
        let programs = ["ssh", if ssh.key.is_none() { "ssh-keygen" } else { "ssh" }];
        let missing = programs.into_iter().find(|program| find(program).is_err())?;
        let vm = &plan.name;
        Some(format!(
            "VM `{vm}` has `access: ssh`, which needs the program `{missing}` on the host; it is not in PATH (Debian's package openssh-client has it)"
        ))
    })
}

/// Whether the built-in guest, if the VM has it, runs on the architecture of a QEMU.
fn runs_ticker(spec: &VmSpec, binary: &Binary) -> Result<(), String> {
    let Guest::Ticker(ticker) = &spec.guest else { return Ok(()) };
    match Arch::of(&binary.arch) {
        None => {
            let known = arch::NAMES.join(", ");
            Err(format!("the built-in guest runs on {known}, and this QEMU emulates {}", binary.arch))
        }
        Some(Arch::X86) => Ok(()),
        Some(_) if ticker.boot == Boot::Disk => {
            Err(format!("on {} the built-in guest cannot be booted from a disk", binary.arch))
        }
        Some(_) if ticker.suspend => Err(format!("on {} the built-in guest cannot suspend", binary.arch)),
        Some(_) => Ok(()),
    }
}

/// How to start one VM.
pub(super) fn plan(
    name: &str,
    mut spec: VmSpec,
    binaries: &Binaries,
    settings: &Settings,
) -> Result<Plan, CannotRun> {
    let binary = binaries.get(&spec.qemu, spec.arch()).map_err(|error| {
        match binaries.lacks(&spec.qemu, spec.arch()) {
            true => CannotRun::skip(format!("VM `{name}` has `arch: {}`: {error}", spec.arch())),
            false => CannotRun::error(error.to_string()),
        }
    })?;
    // A QEMU that is known before the case runs has been refused before.
    if let Some(why) = spec.other_target(&binary) {
        return Err(CannotRun::error(format!("VM `{name}` has {why}")));
    }
    if let Some(accel) = settings.accel.filter(|accel| spec.accel.excludes(*accel)) {
        let wanted: Vec<String> = spec.accel.names().iter().map(|own| spec.accel.option(*own)).collect();
        let reason = format!(
            "VM `{name}` needs `-accel {}`, but `--accel {}` was given",
            wanted.join(" or "),
            accel.name()
        );
        return Err(CannotRun::skip(reason));
    }
    if !spec.trace.is_empty() && binary.trace_events.is_empty() {
        let reason = format!(
            "VM `{name}` has `trace`, but the QEMU at `{}` is built without the trace backend `log`",
            binary.path.display()
        );
        return Err(CannotRun::skip(reason));
    }
    let (accel, without_kvm) = accelerator(name, &spec, &binary, binaries, settings.accel)?;
    if let Some(machine) =
        Arch::of(&binary.arch).and_then(|arch| arch.machine(spec.machine.as_deref(), accel))
    {
        spec.machine = Some(machine);
    }
    runs_ticker(&spec, &binary).map_err(|why| CannotRun::error(format!("VM `{name}`: {why}")))?;
    guests_dir::locate(&mut spec, &settings.guests)
        .map_err(|why| CannotRun::skip(format!("VM `{name}` {why}")))?;
    if let Guest::Linux(linux) = &mut spec.guest {
        let located = linux.clone().located(&settings.guests);
        *linux = located.map_err(|why| CannotRun::skip(format!("VM `{name}` {why}")))?;
    }
    if let Some(firmware) = spec.firmware.take() {
        let located = firmware.located().map_err(|why| CannotRun::skip(format!("VM `{name}` {why}")))?;
        spec.firmware = Some(located);
    }
    let attachable = settings.is_watched();
    Ok(Plan { without_kvm, attachable, ..Plan::new(name, spec, binary, accel) })
}

/// The accelerator of a VM, the first that works, or the given one. Also why it is not KVM, if it could have been.
fn accelerator(
    name: &str,
    spec: &VmSpec,
    binary: &Binary,
    binaries: &Binaries,
    given: Option<Accel>,
) -> Result<(Accel, Option<String>), CannotRun> {
    let wanted = given.map_or_else(|| spec.accel.names(), |accel| vec![accel]);
    let host = binaries.host();
    let trouble = |accel| match accel {
        Accel::Tcg => binary.accelerator_trouble(accel, host),
        // Without hardware virtualization KVM is slower than TCG; it is used only if nothing else is allowed.
        Accel::Kvm if wanted.len() > 1 && host.trouble.is_none() && !host.virtualizes => {
            Some("KVM is slow here: the CPU has no hardware virtualization (vmx or svm)".to_owned())
        }
        Accel::Kvm => binaries.kvm_trouble(binary, spec.accel.option(accel), spec.machine_type(), &spec.cpu),
    };
    first_that_works(&wanted, trouble).map_err(|why| {
        if given == Some(Accel::Kvm) {
            let message = format!("VM `{name}` cannot use KVM (use `--accel tcg`, or no `--accel`): {why}");
            return CannotRun::error(message);
        }
        let wanted: Vec<&str> = wanted.iter().map(|accel| accel.name()).collect();
        let wanted = wanted.join(" or ");
        CannotRun::skip(format!("needs accelerator {wanted}, which does not work on this host: {why}"))
    })
}

/// The first accelerator without trouble, and the trouble of those before it; or that of all.
fn first_that_works(
    wanted: &[Accel],
    trouble: impl Fn(Accel) -> Option<String>,
) -> Result<(Accel, Option<String>), String> {
    let mut reasons = Vec::new();
    for accel in wanted {
        match trouble(*accel) {
            None => return Ok((*accel, Some(reasons.join("; ")).filter(|why| !why.is_empty()))),
            Some(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; "))
}

/// The QEMU versions for a case's templates.
pub(super) struct CaseVersions<'c> {
    pub(super) case: &'c Case,
    pub(super) binaries: &'c Binaries,
}

impl Versions for CaseVersions<'_> {
    fn version(&self, vm: Option<&str>) -> Option<Version> {
        let spec = match vm {
            Some(name) => self.case.vms.get(name),
            None => self.case.vms.values().next(),
        }?;
        self.binaries.get(&spec.qemu, spec.arch()).ok().map(|binary| binary.version.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::kvm::Host;

    #[test]
    fn a_host_has_kvm_for_its_own_architecture_and_tcg_for_the_others() {
        let host = |trouble| Host { arch: "aarch64".to_owned(), trouble, virtualizes: true };
        let spec: VmSpec = serde_json::from_value(serde_json::json!({})).unwrap();
        let on = |host, arch: &str, built: &[&str], given| {
            let accelerators = built.iter().map(|&name| name.to_owned()).collect();
            let binary = Binary { arch: arch.to_owned(), accelerators, ..Binary::made_up("11.1.3") };
            accelerator("vm", &spec, &binary, &Binaries::on(host, []), given).map_err(|error| error.reason)
        };
        let used = |arch, built| on(host(None), arch, built, None).unwrap();
        let both = &["kvm", "tcg"][..];
        assert_eq!(used("aarch64", both), (Accel::Kvm, None));
        for arch in ["x86_64", "i386", "s390x", "ppc64"] {
            let why = format!("KVM on aarch64 does not run guests of {arch}");
            assert_eq!(used(arch, both), (Accel::Tcg, Some(why)));
        }
        // As Debian builds it on that host.
        let why = "QEMU 11.1.3 is built without KVM".to_owned();
        assert_eq!(used("x86_64", &["tcg"]), (Accel::Tcg, Some(why)));
        let broken = on(host(Some("no /dev/kvm".to_owned())), "aarch64", both, None).unwrap();
        assert_eq!(broken, (Accel::Tcg, Some("no /dev/kvm".to_owned())));
        // As `--accel` says.
        assert_eq!(on(host(None), "aarch64", both, Some(Accel::Tcg)), Ok((Accel::Tcg, None)));
        let refused = on(host(None), "s390x", both, Some(Accel::Kvm)).unwrap_err();
        assert!(refused.ends_with("KVM on aarch64 does not run guests of s390x"), "{refused}");
    }

    #[test]
    fn an_accelerator_that_does_not_work_is_skipped_with_its_reason() {
        let broken = |accel: Accel| (accel == Accel::Kvm).then(|| "no MSR".to_owned());
        let both = [Accel::Kvm, Accel::Tcg];
        assert_eq!(first_that_works(&both, broken), Ok((Accel::Tcg, Some("no MSR".to_owned()))));
        assert_eq!(first_that_works(&both, |_| None), Ok((Accel::Kvm, None)));
        assert_eq!(first_that_works(&[Accel::Tcg], broken), Ok((Accel::Tcg, None)));
        assert_eq!(first_that_works(&[Accel::Kvm], broken), Err("no MSR".to_owned()));
    }
}
