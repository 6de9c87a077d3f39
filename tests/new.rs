//! A new user's first steps: `new`, `check`, `run`, `docs`, `explain`.

mod common;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, Qemu, qemu};

/// Writes a new scenario, checks it, and runs it if a QEMU is given.
fn new(template: &str, qemu: Option<&Qemu>) {
    let home = Home::new();
    let file = format!("{template}.yaml");
    home.run(&["new", &file, "--template", template]).expect(0);
    home.run(&["check", &file]).expect(0);
    if let Some(qemu) = qemu {
        let ran = home.run_on(qemu, &[&file, "--slow", "4"]).expect(0);
        assert!(ran.stdout.contains("passed") && !ran.stdout.contains("skipped"), "{}", ran.stdout);
    }
}

fn a_new_scenario_has_no_errors() {
    ["blank", "precopy", "colo"].into_iter().for_each(|template| new(template, None));
}

/// Command lines, and a part of the scenario that each becomes.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "desktop",
        &[
            "# There is no file `disk.img` here: `disk0` is an empty disk in its place.",
            "# Left out: `-display gtk`: a test has no display.",
            "memory: 2048M",
            "- file={{self.disk.disk0}},format=qcow2,index=0,media=disk",
            "- user,model=virtio-net-pci,mac=52:54:00:12:34:56",
        ],
    ),
    (
        "libvirt",
        &[
            "name: vm1",
            "machine: pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram,hpet=off,acpi=on",
            "filename: '{{self.disk.disk0}}'",
            "id: hostnet0",
            "execute: cont",
            "its backend is left out",
        ],
    ),
    ("kernel", &["append: console=ttyS0 panic=-1", "/vmlinuz", "# Left out: `-s`: "]),
    ("uefi", &["firmware:", "cpu: max", "- tcg"]),
    (
        "colo",
        &[
            "incoming: tcp:127.0.0.1:0",
            "file.file.filename={{self.disk.disk1}}",
            "status: inmigrate",
            "type: user",
        ],
    ),
    (
        "document",
        &[
            "name: first_host",
            "There is no file `/srv/none/first.qcow2` here: `disk0`",
            "- file,node-name=extra-file,filename={{self.disk.disk1}}",
            "port={{port.p19003}},server=on,wait=off",
            "id=second,host=0.0.0.0,port=19004,server` lets the VM wait",
            "id=out,host=127.0.0.1,port={{port.p19005}},reconnect-ms=2000",
            "# Left out: `-chardev socket,id=tpm,path=/srv/none/tpm`: there is no such socket here.",
            "# Left out: `-device tpm-tis,tpmdev=tpm0`: its backend is left out.",
            "# Left out: `-object filter-redirector,id=r0,netdev=lan,queue=rx,indev=tpm`: ",
            "- user,id=admin,hostfwd=tcp:127.0.0.1:{{port.p19022}}-:22",
            "PIIX4_PM.disable_s4: '1'",
            "- p19022",
        ],
    ),
    (
        "flash",
        &[
            "machine: q35\n",
            "firmware:",
            "There is no file `/srv/none/VARS.fd` here: `HERE/VARS.fd` is in its place.",
            "str: tcp:127.0.0.1:{{port.p19023}}-:23",
            "driver: file",
            "- none,id=audio1",
            "# Left out: `-append quiet`: there is no kernel.",
        ],
    ),
    ("numa", &["slots: 4", "val: 20", "PIIX4_PM.disable_s3: '1'"]),
];

fn a_command_line_becomes_a_scenario_that_starts() {
    let qemu = qemu(10);
    let home = Home::new();
    for file in ["vmlinuz", "initrd.gz"] {
        std::fs::copy(common::guests().join(file), home.path(file)).unwrap();
    }
    home.write("code.fd", &"\0".repeat(4096));
    home.write("vars.fd", &"\0".repeat(4096));
    home.write("CODE.fd", &"\0".repeat(4096));
    home.write("VARS.fd", &"\0".repeat(4096));
    // The harness shows the path of the home as this word.
    let here = home.path("a").parent().unwrap().display().to_string();
    for (name, parts) in COMMANDS {
        let command = format!("{}/tests/data/import/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let scenario = home.run(&["import", &command]).expect(0).stdout;
        for part in *parts {
            assert!(scenario.contains(part), "{name}: {part} is missing in {scenario}");
        }
        let file = format!("{name}.yaml");
        home.write(&file, &scenario.replace("HERE", &here));
        let path = qemu.path.display().to_string();
        home.run(&["check", &file, "--qemu", &path]).expect(0);
        let ran = home.run_on(qemu, &[&file, "--slow", "4"]).expect(0);
        assert!(ran.stdout.contains("1 passed"), "{name}: {}", ran.stdout);
    }
    let said = home.run(&["import", "ls -l"]).expect(2).stderr;
    assert_eq!(said, "error: the command line has no `qemu-system-…` with options\n");
    let said = home.run(&["import", "qemu-system-x86_64", "-m"]).expect(2).stderr;
    assert_eq!(said, "error: the option `-m` has no value\n");
}

fn the_first_line_names_a_schema_that_exists() {
    let home = Home::new();
    let said = home.run(&["new", "a/one.yaml"]).expect(2);
    assert!(said.stderr.contains("cannot write a/one.yaml"), "{said:?}");
    std::fs::create_dir_all(home.path("a/b/c")).unwrap();
    let said = home.run(&["new", "a/one"]).expect(0).stdout;
    assert!(said.starts_with("wrote a/one.yaml, and a/scenario.schema.json for editors; next: "), "{said}");
    let said = home.run(&["new", "a/b/c/two.yaml"]).expect(0).stdout;
    assert!(said.starts_with("wrote a/b/c/two.yaml; next: "), "{said}");
    for (file, schema) in
        [("a/one.yaml", "scenario.schema.json"), ("a/b/c/two.yaml", "../../scenario.schema.json")]
    {
        let first = format!("# yaml-language-server: $schema={schema}");
        assert_eq!(home.read(file).lines().next(), Some(first.as_str()));
    }
    assert_eq!(home.read("a/scenario.schema.json"), home.run(&["schema"]).expect(0).stdout);
}

fn a_new_migration_runs_without_changes() {
    ["blank", "precopy"].into_iter().for_each(|template| new(template, Some(qemu(0))));
}

fn a_new_colo_failover_runs_without_changes() {
    new("colo", Some(qemu(11)));
}

fn the_last_line_counts_the_errors_and_names_the_next_command() {
    let home = Home::new();
    home.write("a.yaml", "vms: {vm: }\nsteps:\n  - wait: {vm: vm, tick: 3}\n");
    let checked = home.run(&["check", "a.yaml"]).expect(2);
    assert_eq!(checked.stderr.lines().last(), Some("1 error in 1 file; for details: lockstep explain LS010"));
    let told = home.run(&["explain", "LS010"]).expect(0).stdout;
    assert!(told.contains("wait: {vm: vm, tick: 3}") && told.contains("wait: {vm: vm, ticks: 3}"), "{told}");
}

fn an_unknown_topic_or_code_is_an_error_with_help() {
    let home = Home::new();
    let missed = home.run(&["docs", "tikcs"]).expect(2);
    assert!(missed.stderr.contains("unknown topic `tikcs`; did you mean `ticks`?"), "{}", missed.stderr);
    let missed = home.run(&["explain", "LS999"]).expect(2);
    assert!(missed.stderr.contains("`lockstep explain` lists them"), "{}", missed.stderr);
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_new_scenario_has_no_errors),
            once!(a_command_line_becomes_a_scenario_that_starts, Qemu(10), Guest, QemuImg),
            once!(the_first_line_names_a_schema_that_exists),
            once!(a_new_migration_runs_without_changes, Qemu(0)),
            once!(a_new_colo_failover_runs_without_changes, Qemu(11)),
            once!(the_last_line_counts_the_errors_and_names_the_next_command),
            once!(an_unknown_topic_or_code_is_an_error_with_help),
        ],
    )
}
