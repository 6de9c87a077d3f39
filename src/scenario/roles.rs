//! The roles of a case: names for VMs, which can be rebound in a run.

use indexmap::IndexMap;

use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::qemu::spec::VmSpec;
use crate::template::Scope;
use crate::yaml::{Key, Node};

/// Reads the `roles` of a scenario: each names a VM and does not have a VM's name itself. If the VMs are not `sound`, one
/// of them is invalid, and unknown VMs are not reported.
pub(super) fn read(
    section: Option<&(Key, Node)>,
    vms: &IndexMap<String, VmSpec>,
    sound: bool,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, String> {
    let mut roles = IndexMap::new();
    for (key, node) in section.map(|(_, node)| node.entries()).unwrap_or_default() {
        let Some(vm) = typed::read::<String>(&key.at, node, scope, diagnostics) else {
            continue;
        };
        if vms.contains_key(&key.name) {
            let message = format!("`{}` is the name of a VM, so it cannot be a role", key.name);
            let help = "rename the VM, for example to `first`, and keep the role";
            diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
        } else if vms.contains_key(&vm) || !sound {
            roles.insert(key.name.clone(), vm);
        } else {
            let message = format!("there is no VM `{vm}` in this case");
            let help = suggest(&vm, vms.keys().map(String::as_str));
            diagnostics.push(Diagnostic::error(Code::WrongValue, &node.at, message).help(help));
        }
    }
    roles
}
