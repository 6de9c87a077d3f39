//! Whether a case can be run here, and if not, why.

use std::collections::BTreeSet;

use crate::qemu::binary::{Binary, kvm_is_usable};
use crate::scenario::model::{HostFeature, Requires};

/// The first requirement that is not met, as the reason of a skip: what is needed and what was found.
#[must_use]
pub fn unmet(requires: &Requires, binaries: &[&Binary]) -> Option<String> {
    for binary in binaries {
        if let Some(range) = requires.qemu.as_ref().filter(|range| !range.contains(&binary.version)) {
            return Some(format!("needs QEMU {range}, this is {}", binary.version));
        }
    }
    for binary in binaries {
        let wanted: [(&str, &[String], &BTreeSet<String>); 6] = [
            ("migration capability", &requires.capabilities, &binary.capabilities),
            ("QMP command", &requires.commands, &binary.commands),
            ("machine type", &requires.machines, &binary.machines),
            ("device", &requires.devices, &binary.devices),
            ("object", &requires.objects, &binary.objects),
            ("block driver", &requires.block_drivers, &binary.block_drivers),
        ];
        for (what, names, there) in wanted {
            if let Some(missing) = names.iter().find(|name| !there.contains(*name)) {
                return Some(format!(
                    "needs the {what} `{missing}`, which QEMU {} does not have",
                    binary.version
                ));
            }
        }
    }
    requires.host.iter().find_map(|feature| missing(*feature)).map(str::to_owned)
}

fn missing(feature: HostFeature) -> Option<&'static str> {
    let (is_there, reason) = match feature {
        HostFeature::Kvm => {
            (kvm_is_usable(), "needs KVM, and /dev/kvm cannot be opened for reading and writing")
        }
        HostFeature::Userfaultfd => (
            userfaultfd_is_usable(),
            "needs userfaultfd, and neither /dev/userfaultfd nor vm.unprivileged_userfaultfd lets this user have it",
        ),
        HostFeature::NetAdmin => (has_net_admin(), "needs CAP_NET_ADMIN, which this user does not have"),
        HostFeature::Root => (rustix::process::geteuid().is_root(), "needs root"),
    };
    (!is_there).then_some(reason)
}

/// `/dev/userfaultfd` can be opened, or the system call is open to this user (`admin-guide/sysctl/vm.rst` of Linux).
fn userfaultfd_is_usable() -> bool {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/userfaultfd");
    let setting = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
    device.is_ok()
        || setting.is_ok_and(|setting| setting.trim() == "1" || rustix::process::geteuid().is_root())
}

/// Bit 12 of the effective capabilities (`capabilities(7)`).
fn has_net_admin() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << 12) != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binary() -> Binary {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Binary {
            capabilities: set(&["x-colo"]),
            block_drivers: set(&["quorum"]),
            ..Binary::made_up("7.2.22")
        }
    }

    fn reason(requires: serde_json::Value) -> Option<String> {
        unmet(&serde_json::from_value(requires).unwrap(), &[&binary()])
    }

    #[test]
    fn what_is_there_is_no_reason() {
        let requires = json!({"qemu": ">=7.2", "capabilities": ["x-colo"], "machines": "pc", "block_drivers": ["quorum"]});
        assert_eq!(reason(requires), None);
    }

    #[test]
    fn what_is_missing_is_named_with_what_was_found() {
        assert_eq!(reason(json!({"qemu": ">=11.0"})).unwrap(), "needs QEMU >=11.0, this is 7.2.22");
        assert_eq!(
            reason(json!({"commands": ["yank", "x-colo-lost-heartbeat"]})).unwrap(),
            "needs the QMP command `x-colo-lost-heartbeat`, which QEMU 7.2.22 does not have"
        );
    }
}
