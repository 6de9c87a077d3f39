//! The built-in guest on the architectures besides x86-64: failovers, migrations and negative controls.

mod common;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, qemus, sibling};
use lockstep_vm::event::Verdict;

/// Runs every case: `make architectures`.
const ALL: &str = "LOCKSTEP_TEST_ALL";
/// What runs without that: a failover of each side, a migration, and controls of RAM, a device and code.
const SOME: [&str; 6] = [
    "colo/plain/primary_failover_checkpoint",
    "colo/multifd/secondary_failover",
    "precopy/unix/plain",
    "controls/architectures/end_of_ram",
    "controls/architectures/device",
    "controls/architectures/stale_code",
];
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// Runs failovers, migrations and controls on an architecture: all of them pass, or fail with a known issue, which is
/// printed.
#[track_caller]
fn everything_on(arch: &str) {
    let home = Home::new();
    // The folder of the QEMUs, of which `arch` selects one.
    let folder = qemus()[0].path.parent().unwrap().display().to_string();
    let files = ["colo/failover.yaml", "migration/precopy.yaml", "controls/architectures.yaml"];
    let files = files.map(|file| format!("{SCENARIOS}/{file}"));
    let given = format!("arch={arch}");
    let options = ["run", "--accel", "tcg", "--qemu", &folder, "-D", &given, "--slow", "2"];
    let (cases, selection) = match std::env::var_os(ALL) {
        Some(_) => (8 + 4 + 7, Vec::new()),
        None => (SOME.len(), SOME.iter().flat_map(|name| ["--case", name]).collect()),
    };
    let ran = home.run(&[&options[..], &selection, &files.each_ref().map(String::as_str)].concat());
    assert_eq!(ran.code, Some(0), "{arch}: {}{}", ran.stdout, ran.stderr);
    let verdicts = home.results().verdicts();
    assert_eq!(verdicts.len(), cases, "{arch}: {verdicts:?}");
    for (case, _, reason) in verdicts.iter().filter(|(_, verdict, _)| *verdict == Verdict::Xfail) {
        eprintln!("{arch}: {case} failed with a known issue: {}", reason.as_deref().unwrap_or_default());
    }
    let expected = |verdict| matches!(verdict, Verdict::Pass | Verdict::Xfail);
    let unexpected = verdicts.iter().find(|(_, verdict, _)| !expected(*verdict));
    assert_eq!(unexpected, None, "{arch}");
    home.assert_nothing_is_left();
}

fn failovers_migrations_and_controls_on_i386() {
    everything_on("i386");
}

fn failovers_migrations_and_controls_on_aarch64() {
    everything_on("aarch64");
}

fn failovers_migrations_and_controls_on_s390x() {
    everything_on("s390x");
}

fn failovers_migrations_and_controls_on_ppc64() {
    everything_on("ppc64");
}

fn one_option_names_the_qemus_of_a_matrix_of_architectures() {
    let home = Home::new();
    let text = "name: \"arch/{{arch}}\"\nmatrix: {arch: [x86_64, aarch64, s390x]}\n\
        vms: {vm: {arch: \"{{arch}}\", memory: 64M, guest: {ticker: {dirty: 1M}}}}\n\
        steps: [{wait: {vm: vm, ticks: 1}}, {check: {vm: vm, query: query-target, is: {arch: \"{{arch}}\"}}}]\n";
    home.write("arch.yaml", text);
    let pattern = sibling(&qemus()[0], "{arch}").display().to_string();
    home.run(&["run", "--accel", "tcg", "--qemu", &pattern, "arch.yaml"]).expect(0);
    let passed = home.results().verdicts().iter().filter(|(_, verdict, _)| *verdict == Verdict::Pass).count();
    assert_eq!(passed, 3);
    // A folder that lacks some of them: those cases are skipped.
    let folder = home.path("qemus");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&qemus()[0].path, folder.join("qemu-system-x86_64")).unwrap();
    for given in ["./qemus", "./qemus/qemu-system-{arch}"] {
        home.run(&["run", "--accel", "tcg", "--qemu", given, "arch.yaml"]).expect(0);
        let results = home.results();
        assert_eq!(results.case("arch/x86_64").verdict(), Verdict::Pass);
        assert_eq!(results.case("arch/s390x").verdict(), Verdict::Skip);
        let reason = results.case("arch/s390x").reason().unwrap();
        assert!(reason.starts_with("VM `vm` has `arch: s390x`: no QEMU at `"), "{reason}");
        assert!(reason.contains("qemus/qemu-system-s390x"), "{reason}");
    }
}

fn a_qemu_of_another_architecture_is_refused_with_both_names() {
    let home = Home::new();
    let text = "name: \"arch/{{arch}}\"\nmatrix: {arch: [x86_64, aarch64]}\nvms:\n  vm: {arch: \"{{arch}}\"}\n\
        steps: [{wait: {vm: vm, ticks: 1}}]\n";
    home.write("arch.yaml", text);
    for (qemu, wanted, target) in [
        (qemus()[0].path.clone(), "aarch64", "x86_64"),
        (sibling(&qemus()[0], "aarch64"), "x86_64", "aarch64"),
    ] {
        let path = qemu.display().to_string();
        let ran = home.run(&["run", "--accel", "tcg", "--qemu", &path, "arch.yaml"]).expect(2);
        let said = format!("VM `vm` has `arch: {wanted}`, but the QEMU at `{path}` emulates {target}");
        assert!(ran.stderr.contains(&said) && ran.stderr.contains("arch.yaml:4:14"), "{}", ran.stderr);
        // The control: without the other architecture it runs.
        let only = format!("arch={target}");
        home.run(&["run", "--accel", "tcg", "--qemu", &path, "-D", &only, "arch.yaml"]).expect(0);
        home.run(&["check", "--qemu", &path, "arch.yaml"]).expect(2);
    }
}

fn what_the_guest_cannot_do_on_an_architecture_is_an_error() {
    let home = Home::new();
    let folder = qemus()[0].path.parent().unwrap().display().to_string();
    for (option, why) in [
        ("boot: disk", "on aarch64 the built-in guest cannot be booted from a disk"),
        ("suspend: true", "on aarch64 the built-in guest cannot suspend"),
    ] {
        let text = format!(
            "name: no\nvms: {{vm: {{arch: aarch64, guest: {{ticker: {{{option}}}}}}}}}\nsteps: [{{wait: {{vm: vm, ticks: 1}}}}]\n"
        );
        home.write("no.yaml", &text);
        let ran = home.run(&["run", "--accel", "tcg", "--qemu", &folder, "no.yaml"]);
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(why), "{ran:?}");
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(failovers_migrations_and_controls_on_i386, Qemu(11), Target("i386")),
            once!(failovers_migrations_and_controls_on_aarch64, Qemu(11), Target("aarch64")),
            once!(failovers_migrations_and_controls_on_s390x, Qemu(11), Target("s390x")),
            once!(failovers_migrations_and_controls_on_ppc64, Qemu(11), Target("ppc64")),
            once!(
                one_option_names_the_qemus_of_a_matrix_of_architectures,
                Target("aarch64"),
                Target("s390x")
            ),
            once!(a_qemu_of_another_architecture_is_refused_with_both_names, Target("aarch64")),
            once!(what_the_guest_cannot_do_on_an_architecture_is_an_error, Target("aarch64")),
        ],
    )
}
