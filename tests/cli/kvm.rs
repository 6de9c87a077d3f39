//! Where KVM does not work.

use super::common::{Home, Qemu, qemu};
use super::home;

/// A QEMU whose KVM aborts, as QEMU does if the host refuses an MSR.
fn without_kvm(home: &Home, qemu: &Qemu) -> String {
    let script = format!(
        "#!/bin/sh\nfor word; do case $word in kvm*) echo 'error: no MSR' >&2; kill -ABRT $$;; esac; done\nexec {} \"$@\"\n",
        qemu.path.display()
    );
    let path = home.write("no-kvm", &script);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

pub(super) fn a_kvm_that_does_not_work_is_replaced_by_tcg_with_the_reason() {
    let home = home();
    let path = without_kvm(&home, qemu(5));
    let ran = home.run(&["run", "two.yaml", "--qemu", &path]).expect(0);
    assert_eq!(ran.stdout.matches("NOTE   TCG: ").count(), 1, "{}", ran.stdout);
    let events = home.read("reports/events.jsonl");
    assert!(events.contains(r#""-accel","tcg""#) && !events.contains(r#""-accel","kvm""#), "{events}");
    let ran = home.run(&["run", "two.yaml", "--qemu", &path, "--accel", "kvm"]).expect(1);
    let said = "VM `a` cannot use KVM (use `--accel tcg`, or no `--accel`): ";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    let probed = home.run(&["probe", &path]).expect(0).stdout;
    assert!(probed.contains("(no KVM: "), "{probed}");
    // If the host has no KVM at all, that is the reason.
    if lockstep_vm::qemu::kvm::trouble().is_none() {
        let why = "signal ABRT, saying: error: no MSR";
        assert!(ran.stdout.contains(why) && probed.contains(why), "{}{probed}", ran.stdout);
    }
    home.assert_nothing_is_left();
}

pub(super) fn a_scenario_runs_without_options(qemu: &Qemu) {
    let home = home();
    let path = qemu.path.display().to_string();
    home.run(&["run", "two.yaml", "--qemu", &path]).expect(0);
    home.assert_nothing_is_left();
}
