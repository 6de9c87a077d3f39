//! Warns if a guest moves to a VM that has a different disk.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::scenario::model::Case;
use crate::step::{Action, actual};

/// Reports each VM that takes over a guest but has a separate, empty disk in place of the source's.
pub(super) fn check(case: &Case, diagnostics: &mut Diagnostics) {
    let mut pairs = BTreeSet::new();
    let mut may_fill = false;
    for step in case.all_steps() {
        match &step.step.action {
            Action::Migrate(migrate) => match &migrate.to {
                Some(to) => drop(pairs.insert((migrate.from.as_str(), to.as_str()))),
                // The source's target is an address; the destination is a VM with a URI in `incoming`.
                None => pairs.extend(
                    case.vms
                        .iter()
                        .filter(|(_, spec)| spec.incoming.as_ref().is_some_and(|uri| uri != "defer"))
                        .map(|(vm, _)| (migrate.from.as_str(), vm.as_str())),
                ),
            },
            Action::Protect(protect) => {
                pairs.insert((protect.primary.as_str(), protect.secondary.as_str()));
            }
            // A program may fill the image.
            Action::Exec(_) => may_fill = true,
            Action::Qmp(qmp) => may_fill |= fills(&qmp.execute),
            Action::Capabilities(capabilities) => {
                may_fill |= capabilities.on.iter().any(|capability| capability == "block");
            }
            _ => {}
        }
    }
    if may_fill {
        return;
    }
    let mut reported = BTreeSet::new();
    for (from, to) in pairs {
        let (from, to) = (actual(&case.roles, from), actual(&case.roles, to));
        let source_has_one = names(case, from, "self.disk.") || names(case, from, "{{disk.");
        let (Some(spec), Some(vm)) = (case.vms.get(to), case.vm_sources.get(to)) else { continue };
        let own = |(name, disk): &(&String, &crate::qemu::disk::Disk)| {
            let is_empty = disk.backing.is_none() && disk.copy.is_none() && !disk.share;
            is_empty && names(case, to, &format!("self.disk.{name}"))
        };
        let Some((name, _)) = spec.disks.iter().find(own).filter(|_| source_has_one && reported.insert(to))
        else {
            continue;
        };
        let message = format!(
            "VM `{to}` takes over the guest of `{from}`, but its disk `{name}` is a separate, empty image"
        );
        let help = "add `share: true` to the disk, if both VMs reach the same storage; else declare it under `disks` at \
                    the top of the file and use `{{disk.NAME}}` in both VMs, or copy it first with `drive-mirror` or `blockdev-mirror`";
        diagnostics.push(Diagnostic::warning(Code::OwnDisk, &vm.at, message).help(help));
    }
}

/// Whether a command may fill the disk of another VM, or attach it.
fn fills(command: &str) -> bool {
    ["mirror", "backup", "nbd", "blockdev", "block-export", "human-monitor"]
        .iter()
        .any(|word| command.contains(word))
}

/// Whether the options of a VM contain the word; omits options whose `when` is false.
fn names(case: &Case, vm: &str, word: &str) -> bool {
    let template = case.vm_sources.get(vm).and_then(|source| source.template.as_ref());
    template.is_some_and(|options| options.to_string().contains(word))
}
