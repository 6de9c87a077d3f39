//! File systems that are full, or mounted while a case runs.

use super::common::{Home, Ran, qemu};
use super::home;

/// Runs a scenario with a small file system, mounted by `mount`, in its own mount namespace.
fn run_with_mounts(home: &Home, mounts: &str, arguments: &[&str]) -> Ran {
    let mut command = home.command("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &format!("{mounts} && exec \"$@\""),
        "sh",
    ]);
    command.arg(env!("CARGO_BIN_EXE_lockstep")).args(arguments);
    home.finish(command)
}

pub(super) fn a_qemu_sees_what_a_step_mounts() {
    let qemu = qemu(7);
    let home = home();
    let text = "name: mounted\nvms: {vm: {}}\nsteps:\n\
        - exec: {sh: 'mount -t tmpfs none HOME/later && truncate -s 1M HOME/later/image'}\n\
        - qmp: {vm: vm, execute: blockdev-add, arguments: {driver: file, node-name: a, filename: HOME/later/image}}\n";
    home.write("mounted.yaml", &text.replace("HOME", &home.path("").display().to_string()));
    let path = qemu.path.display().to_string();
    let mounts = "mkdir later && mount --bind later later && mount --make-shared later";
    let ran = run_with_mounts(&home, mounts, &["run", "mounted.yaml", "--accel", "tcg", "--qemu", &path]);
    assert!(ran.expect(0).stdout.contains("1 passed"));
    home.assert_nothing_is_left();
}

pub(super) fn a_full_disk_of_the_reports_ends_the_run_cleanly() {
    let qemu = qemu(5);
    let home = home();
    let path = qemu.path.display().to_string();
    let arguments = ["run", "two.yaml", "--accel", "tcg", "--qemu", &path, "--keep", "always"];
    let mount = "mount -t tmpfs -o size=12k none reports";
    let ran = run_with_mounts(&home, mount, &arguments);
    let ran = ran.expect(1);
    assert!(ran.stdout.contains("2 passed"), "{ran:?}");
    assert!(ran.stderr.contains("reports/events.jsonl: No space left on device"), "{ran:?}");
    assert!(ran.stderr.contains("reports/junit.xml: No space left on device"), "{ran:?}");
    assert!(ran.stdout.contains("cannot save the artifacts to reports/two/1: No space left"), "{ran:?}");
    home.assert_nothing_is_left();
}

pub(super) fn a_full_disk_of_the_temporary_directory_is_an_error_of_each_case() {
    let qemu = qemu(5);
    let home = home();
    let path = qemu.path.display().to_string();
    let arguments = ["run", "two.yaml", "--accel", "tcg", "--qemu", &path];
    let small = |options: &str| format!("mount -t tmpfs -o {options} none tmp");
    let ran = run_with_mounts(&home, &small("size=8k"), &arguments);
    let ran = ran.expect(1);
    assert!(ran.stdout.contains("2 errors") && ran.stdout.contains("No space left on device"), "{ran:?}");
    // Room for the run's own directory and its lock only.
    let ran = run_with_mounts(&home, &small("nr_inodes=4"), &arguments);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("No space left on device"), "{ran:?}");
    assert!(!said.contains("passed"), "{ran:?}");
    // No room at all.
    let ran = run_with_mounts(&home, &small("nr_inodes=1"), &arguments).expect(2);
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    home.assert_nothing_is_left();
}
