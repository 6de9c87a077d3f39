//! The Linux guest boots on a real QEMU and writes its disk; a case is skipped if the guest has not been built.

mod common;

use std::process::ExitCode;

use common::harness::{self, each, once};
use common::{Home, Qemu};
use lockstep_vm::event::Verdict;

/// Line `n` as the guest writes it to its sector.
fn sector(n: u64) -> Vec<u8> {
    format!("{n:<511}\n").into_bytes()
}

fn the_lines_that_the_guest_reports_as_written_are_on_its_disk(qemu: &Qemu) {
    let guests = common::guests().display().to_string();
    let home = Home::new();
    let disk = home.path("disk.raw");
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    home.write(
        "disk.yaml",
        r#"
name: linux/disk
timeout: 5m
vms:
  vm:
    guest: {linux: {load: disk}}
    blockdevs: [{driver: raw, node-name: disk0, file: {driver: file, filename: "{{env.HERE}}/disk.raw"}}]
    devices: [{driver: virtio-blk-pci, drive: disk0}]
steps:
  - wait: {vm: vm, serial: "lockstep guest ready"}
    timeout: 2m
  - wait: {vm: vm, serial: "(?m)^wrote 5$", fresh: false}
  # A line is one sector: the write of a line does not write the lines beside it again.
  - qmp: {vm: vm, execute: stop}
  - qmp: {vm: vm, execute: query-blockstats}
    capture: disk
  - check: {value: "{{run.captures.disk.0.stats.wr_bytes}}", of: "{{run.captures.disk.0.stats.wr_operations}}", above: 511, below: 513}
  - quit: [vm]
"#,
    );
    let started = std::time::Instant::now();
    home.run_on(qemu, &["disk.yaml", "--guests", &guests]).expect(0);
    eprintln!("QEMU {}: {:.1} s", qemu.version, started.elapsed().as_secs_f64());
    assert_eq!(home.results().case("linux/disk").verdict(), Verdict::Pass);
    let written = std::fs::read(&disk).unwrap();
    let at = |n: u64| &written[usize::try_from((2000 + n) * 512).unwrap()..][..512];
    for n in 1..=5 {
        assert_eq!(at(n), sector(n), "line {n}");
    }
    assert!(at(0).iter().all(|&byte| byte == 0), "there is no line 0");
    home.assert_nothing_is_left();
}

fn a_guest_that_has_not_been_made_skips_the_case_and_a_kernel_that_is_not_there_is_an_error() {
    let qemu = common::qemu(5);
    let home = Home::new();
    home.write("unmade.yaml", "name: unmade\nvms: {vm: {guest: linux}}\nsteps: []\n");
    home.run_on(qemu, &["unmade.yaml"]).expect(0);
    let told = home.results();
    assert_eq!(told.case("unmade").verdict(), Verdict::Skip);
    let expected = format!(
        "VM `vm` needs the Linux guest: {} not found; run scripts/fetch-guest, or pass its directory with --guests",
        home.path(".guests/vmlinuz").display()
    );
    assert_eq!(told.case("unmade").reason(), Some(expected));

    let kernel = home.path("own/bzImage").display().to_string();
    home.write(
        "own.yaml",
        &format!("name: own\nvms: {{vm: {{guest: {{linux: {{kernel: {kernel}}}}}}}}}\nsteps: []\n"),
    );
    home.run_on(qemu, &["own.yaml"]).expect(1);
    let told = home.results();
    assert_eq!(told.case("own").verdict(), Verdict::Error);
    let expected = format!(
        "cannot start VM `vm`: cannot read its kernel {}: No such file",
        home.path("own/bzImage").display()
    );
    let reason = told.case("own").reason().unwrap();
    assert!(reason.starts_with(&expected), "{reason}");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(the_lines_that_the_guest_reports_as_written_are_on_its_disk, Guest),
            once!(
                a_guest_that_has_not_been_made_skips_the_case_and_a_kernel_that_is_not_there_is_an_error,
                Qemu(5)
            ),
        ],
    )
}
