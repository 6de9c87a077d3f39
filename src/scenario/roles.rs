//! The roles of a case: names for VMs, which can be rebound in a run.

use indexmap::IndexMap;

use super::typed::Reader;
use super::vms::Vms;
use crate::diagnostic::{Code, suggest};
use crate::yaml::Node;

/// Reads the `roles` of a scenario: each names a VM and does not have a VM's name itself. If one of the VMs is invalid,
/// unknown VMs are not reported.
pub(super) fn read(root: &Node, vms: &Vms, reader: &mut Reader<'_, '_>) -> IndexMap<String, String> {
    let mut roles = IndexMap::new();
    for (key, node) in root.section("roles") {
        let Some(vm) = reader.read::<String>(&key.at, node) else {
            continue;
        };
        if vms.specs.contains_key(&key.name) {
            let message = format!("`{}` is the name of a VM, so it cannot be a role", key.name);
            let help = "rename the VM, for example to `first`, and keep the role";
            reader.error(Code::WrongValue, &key.at, message, help);
        } else if vms.specs.contains_key(&vm) || !vms.sound {
            roles.insert(key.name.clone(), vm);
        } else {
            let help = suggest(&vm, vms.specs.keys());
            reader.error(Code::WrongValue, &node.at, format!("there is no VM `{vm}` in this case"), help);
        }
    }
    roles
}
