//! Machine types that several QEMUs have in common.
//!
//! An alias such as `q35` stands for the newest type of each QEMU, and a VM cannot migrate between two types. So if
//! the VMs of a case use different QEMUs, an alias stands for the newest versioned type that all of them know.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use super::cannot_run::CannotRun;
use crate::qemu::binary::Binary;
use crate::session::Plan;

/// Replaces each alias by a versioned type if the QEMUs of a case differ.
///
/// # Errors
/// A skip, where they have no type in common.
pub(super) fn choose_machine_types(plans: &mut IndexMap<String, Plan>) -> Result<(), CannotRun> {
    let all: BTreeMap<&Path, &Binary> =
        plans.values().map(|plan| (plan.binary.path.as_path(), &*plan.binary)).collect();
    if all.len() < 2 {
        return Ok(());
    }
    let all: Vec<&Binary> = all.into_values().collect();
    let mut settled = Vec::new();
    for (name, plan) in plans.iter() {
        let binary = &plan.binary;
        let properties = plan.spec.machine.as_deref().and_then(|machine| machine.split_once(','));
        let properties = properties.map_or("", |(_, properties)| properties);
        let machine = match plan.spec.machine_type() {
            Some(machine) => machine.to_owned(),
            None => match binary.default_machine.clone() {
                // A QEMU without a default needs an explicit type, and reports that itself.
                None => continue,
                Some(machine) => machine,
            },
        };
        let target = match binary.aliases.get(&machine) {
            Some(target) => target,
            None if plan.spec.machine.is_none() => &machine,
            None => continue,
        };
        let common = common(target, &all).ok_or_else(|| {
            let versions: Vec<String> = all.iter().map(|binary| binary.version.to_string()).collect();
            CannotRun::skip(format!(
                "VM `{name}`: no machine type like `{target}` is common to QEMU {}",
                versions.join(" and ")
            ))
        })?;
        let separator = if properties.is_empty() { "" } else { "," };
        settled.push((name.clone(), format!("{common}{separator}{properties}")));
    }
    for (name, machine) in settled {
        if let Some(plan) = plans.get_mut(&name) {
            plan.spec.machine = Some(machine);
        }
    }
    Ok(())
}

/// The newest type of the same family known to all binaries.
fn common(target: &str, binaries: &[&Binary]) -> Option<String> {
    let (family, _) = versioned(target)?;
    let first = binaries.first()?;
    let of_family = first.machines.iter().filter_map(|machine| {
        let (own, version) = versioned(machine)?;
        let known = own == family && binaries.iter().all(|binary| binary.machines.contains(machine));
        known.then_some((version, machine))
    });
    of_family.max().map(|(_, machine)| machine.clone())
}

/// A type's family and version: `pc-q35-7.2` is `pc-q35` at 7.2.
fn versioned(machine: &str) -> Option<(&str, Vec<u32>)> {
    let (family, version) = machine.rsplit_once('-')?;
    let version: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    Some((family, version?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::qemu::spec::Accel;

    fn binary(version: &str, types: &[&str], alias: &str) -> Arc<Binary> {
        Arc::new(Binary {
            path: format!("/qemu-{version}").into(),
            machines: types.iter().copied().chain(["q35"]).map(str::to_owned).collect(),
            aliases: [("q35".to_owned(), alias.to_owned())].into(),
            ..Binary::made_up(version)
        })
    }

    fn plans(machine: &str, binaries: &[Arc<Binary>]) -> IndexMap<String, Plan> {
        let plan = |(number, binary): (usize, &Arc<Binary>)| {
            let spec = serde_json::from_value(serde_json::json!({"machine": machine})).unwrap();
            let name = format!("vm{number}");
            let plan = Plan::new(&name, spec, Arc::clone(binary), Accel::Tcg);
            (name, plan)
        };
        binaries.iter().enumerate().map(plan).collect()
    }

    fn settled(machine: &str, binaries: &[Arc<Binary>]) -> Result<Vec<String>, CannotRun> {
        let mut plans = plans(machine, binaries);
        choose_machine_types(&mut plans)?;
        Ok(plans.values().map(|plan| plan.spec.machine.clone().unwrap()).collect())
    }

    #[test]
    fn an_alias_becomes_the_newest_type_that_all_know() {
        let old = binary("7.2.0", &["pc-q35-7.1", "pc-q35-7.2", "pc-i440fx-9.0"], "pc-q35-7.2");
        let new =
            binary("10.0.0", &["pc-q35-7.1", "pc-q35-7.2", "pc-q35-10.0", "pc-i440fx-9.0"], "pc-q35-10.0");
        let both = [Arc::clone(&old), Arc::clone(&new)];
        assert_eq!(settled("q35", &both).unwrap(), ["pc-q35-7.2", "pc-q35-7.2"]);
        assert_eq!(settled("q35,smm=off", &both).unwrap()[1], "pc-q35-7.2,smm=off");
        assert_eq!(settled("pc-q35-7.1", &both).unwrap()[0], "pc-q35-7.1");
        // With one QEMU an alias means what it always means.
        assert_eq!(settled("q35", &[Arc::clone(&new), new]).unwrap()[0], "q35");
    }

    #[test]
    fn numbers_are_compared_and_not_letters() {
        let types = ["pc-q35-9.2", "pc-q35-10.0", "pc-q35-10.0.1"];
        let both = [binary("10.1.0", &types, "pc-q35-10.0.1"), binary("10.2.0", &types, "pc-q35-10.0.1")];
        assert_eq!(settled("q35", &both).unwrap()[0], "pc-q35-10.0.1");
    }

    #[test]
    fn what_has_nothing_in_common_is_skipped_with_the_reason() {
        let both = [
            binary("7.2.0", &["pc-q35-7.2"], "pc-q35-7.2"),
            binary("20.0.0", &["pc-q35-20.0"], "pc-q35-20.0"),
        ];
        let reason = settled("q35", &both).unwrap_err().reason;
        assert!(reason.contains("like `pc-q35-7.2` is common to QEMU 20.0.0 and 7.2.0"), "{reason}");
    }
}
