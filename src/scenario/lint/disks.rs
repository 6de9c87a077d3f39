//! A guest that is moved to another VM finds another disk there.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::scenario::model::{Case, each_step};
use crate::step::{Action, actual};

/// Tells of each VM that takes over a guest and has an empty disk of its own where the source has one.
pub(super) fn check(case: &Case, diagnostics: &mut Diagnostics) {
    let mut pairs = BTreeSet::new();
    let mut may_fill = false;
    for blocks in [&case.steps, &case.finally] {
        each_step(blocks, &mut |step| match &step.step.action {
            Action::Migrate(migrate) => match &migrate.to {
                Some(to) => drop(pairs.insert((migrate.from.as_str(), to.as_str()))),
                // What it leaves somewhere is taken in by a VM that is told of it on its command line.
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
            // A program may do anything with an image.
            Action::Exec(_) => may_fill = true,
            Action::Qmp(qmp) => may_fill |= fills(&qmp.execute),
            Action::Capabilities(capabilities) => {
                may_fill |= capabilities.on.iter().any(|capability| capability == "block");
            }
            _ => {}
        });
    }
    if may_fill {
        return;
    }
    let mut told = BTreeSet::new();
    for (from, to) in pairs {
        let (from, to) = (actual(&case.roles, from), actual(&case.roles, to));
        let source_has_one = names(case, from, "self.disk.") || names(case, from, "{{disk.");
        let (Some(spec), Some(vm)) = (case.vms.get(to), case.vm_sources.get(to)) else { continue };
        let own = |(name, disk): &(&String, &crate::qemu::disk::Disk)| {
            disk.backing.is_none() && names(case, to, &format!("self.disk.{name}"))
        };
        let Some((name, _)) = spec.disks.iter().find(own).filter(|_| source_has_one && told.insert(to))
        else {
            continue;
        };
        let message = format!(
            "VM `{to}` takes over the guest of `{from}`, and its disk `{name}` is an image of its own, which is empty"
        );
        let help = "declare the image under `disks` at the top of the file and name it in both as `{{disk.NAME}}`, \
                    or copy it before with `drive-mirror` or `blockdev-mirror`";
        diagnostics.push(Diagnostic::warning(Code::OwnDisk, &vm.at, message).help(help));
    }
}

/// Whether a command may fill the disk of another VM, or have a VM use it.
fn fills(command: &str) -> bool {
    ["mirror", "backup", "nbd", "blockdev", "block-export", "human-monitor"]
        .iter()
        .any(|word| command.contains(word))
}

/// Whether the options of a VM, without what its conditions leave out, name this.
fn names(case: &Case, vm: &str, word: &str) -> bool {
    let options = case.late_vms.get(vm);
    options.is_some_and(|options| options.to_string().contains(word))
}
