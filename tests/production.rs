//! The actions for COLO with disk and network, on real QEMUs: what they do to the processes, and what is left at the
//! end.

#[path = "production/cleanup.rs"]
mod cleanup;
mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Case, Home, Qemu, Results, VM, qemu, qemu_img_of};
use lockstep_vm::event::{Verdict, What};

/// Runs one case to its end; nothing may be left.
fn run(qemu: &Qemu, text: &str) -> (Home, Results) {
    let home = Home::new();
    home.write("case.yaml", text);
    let ran = home.run_on(qemu, &["case.yaml"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    home.assert_nothing_is_left();
    let told = home.results();
    (home, told)
}

/// Runs one case, which must pass.
#[track_caller]
fn passes(qemu: &Qemu, text: &str) -> Results {
    let (_, told) = run(qemu, text);
    let case = told.case("case");
    assert_eq!(case.verdict(), Verdict::Pass, "{:?}\n{:?}", case.reason(), case.steps());
    told
}

/// Runs one case, which must fail, and returns the reason.
#[track_caller]
fn fails(qemu: &Qemu, text: &str) -> String {
    let (_, told) = run(qemu, text);
    let case = told.case("case");
    assert_eq!(case.verdict(), Verdict::Fail, "{:?}\n{:?}", case.reason(), case.steps());
    case.reason().unwrap()
}

/// The position of the first matching event of a case.
#[track_caller]
fn position(case: &Case<'_>, what: &str, is_it: impl Fn(&What) -> bool) -> usize {
    let found = case.events.iter().position(|event| is_it(event));
    found.unwrap_or_else(|| panic!("no {what} in {:?}", case.steps()))
}

fn exit_of(name: &str) -> impl Fn(&What) -> bool + '_ {
    move |what| matches!(what, What::VmExited { vm, .. } if vm == name)
}

fn command<'n>(name: &'n str, execute: &'n str) -> impl Fn(&What) -> bool + 'n {
    move |what| matches!(what, What::QmpCommand { vm, message } if vm == name && message.to_string().contains(execute))
}

fn a_role_is_the_vm_of_its_last_rebind_in_steps_and_templates() {
    let qemu = qemu(5);
    let told = passes(
        qemu,
        &r#"
roles: {primary: a, secondary: b}
vms: {a: VM, b: {like: a}, c: {like: a, start: false}}
steps:
- wait: {vm: [primary, secondary], ticks: 1}
- check: {equal: ["{{run.role.primary}}", a]}
- check: {equal: ["{{run.vm.primary.pid}}", "{{run.vm.a.pid}}"]}
- check: {equal: ["{{run.vm.secondary.pid}}", "{{run.vm.b.pid}}"]}
- rebind: {primary: secondary, secondary: c}
  capture: bound
- check: {equal: ["{{run.captures.bound.primary}}", "{{run.role.primary}}", b]}
- check: {equal: ["{{run.vm.primary.pid}}", "{{run.vm.b.pid}}"]}
- start: secondary
- wait: {vm: [primary, secondary], ticks: 1}
- check: {equal: ["{{run.vm.secondary.pid}}", "{{run.vm.c.pid}}"]}
- rebind: {primary: secondary, secondary: primary}
- check: {equal: ["{{run.role.primary}} {{run.role.secondary}}", c b]}
- quit: primary
- exec: {sh: "! test -e /proc/{{run.vm.c.pid}} && test -e /proc/{{run.vm.a.pid}} && test -e /proc/{{run.vm.b.pid}}"}
- wait: {vm: [a, secondary], ticks: 1}
"#
        .replace("VM", VM),
    );
    let case = told.case("case");
    let quit = position(&case, "quit", command("c", "\"quit\""));
    let gone = position(&case, "exit of c", exit_of("c"));
    let last = position(
        &case,
        "last step",
        |what| matches!(what, What::StepBegan { title, .. } if title.starts_with("exec")),
    );
    assert!(quit < gone && gone < last, "{quit} {gone} {last}");
    for other in ["a", "b"] {
        assert!(position(&case, "exit", exit_of(other)) > last, "{other} ended before its time");
    }
}

fn copies_have_disks_of_their_own_which_they_keep_when_they_are_started_again() {
    let qemu = qemu(7);
    passes(
        qemu,
        &r#"
vms:
  a: VM
  spare:
    like: a
    start: false
    copies: 2
    disks: {image: {size: 1M, format: raw}}
    blockdevs: [{driver: file, node-name: d, filename: "{{self.disk.image}}"}]
    args: [-name, "copy-{{self.name}}"]
steps:
- wait: {vm: a, ticks: 1}
- start: [spare1, spare2]
- check: {vm: spare1, query: query-named-block-nodes, is: [{node-name: d, file: "{{run.vm.spare1.disk.image}}"}]}
- check: {vm: spare2, query: query-named-block-nodes, is: [{node-name: d, file: "{{run.vm.spare2.disk.image}}"}]}
- check: {vm: spare2, query: query-name, is: {name: copy-spare2}}
- exec: {sh: "test {{run.vm.spare1.disk.image}} != {{run.vm.spare2.disk.image}}"}
- quit: spare1
- exec: {sh: "printf mine | dd of={{run.vm.spare1.disk.image}} conv=notrunc"}
- start: spare1
- exec: {sh: "test $(head -c 4 {{run.vm.spare1.disk.image}}) = mine && ! grep -q mine {{run.vm.spare2.disk.image}}"}
"#
        .replace("a: VM", &format!("a: {VM}")),
    );
}

fn disks_are_made_by_the_qemu_img_beside_the_qemu_each_over_the_one_it_names() {
    let qemu = qemu(7);
    let real = qemu_img_of(qemu).unwrap();
    let home = Home::new();
    // A QEMU with a `qemu-img` next to it that records its arguments.
    let folder = home.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let binary = folder.join(qemu.path.file_name().unwrap());
    std::os::unix::fs::symlink(&qemu.path, &binary).unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" >>\"$HERE/asked\"\nexec {} \"$@\"\n", real.display());
    let wrapper = home.write("bin/qemu-img", &script);
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.write(
        "case.yaml",
        &r#"
disks: {base: {size: 1M, format: raw}, unused: {size: 1M}}
vms:
  a:
    memory: 32M
    guest: {ticker: {dirty: 1M}}
    disks: {top: {backing: middle}, middle: {backing: base, size: 2M}}
    blockdevs: [{driver: qcow2, node-name: d, file: {driver: file, filename: "{{self.disk.top}}"}}]
steps:
- wait: {vm: a, ticks: 1}
- qmp: {vm: a, execute: query-named-block-nodes}
  capture: nodes
- check:
    vm: a
    query: query-named-block-nodes
    is: [{node-name: d, image: {virtual-size: 2097152, backing-image: {backing-image: {filename: "{{disk.base}}", format: raw}}}}]
- exec: {sh: "test -s {{disk.unused}}"}
"#
        .replace("unused", "other"),
    );
    let here = Qemu { path: binary, version: qemu.version.clone() };
    home.run_on(&here, &["case.yaml"]).expect(0);
    let asked: Vec<String> = home.read("asked").lines().map(str::to_owned).collect();
    let at = |what: &str| {
        let found = asked.iter().position(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("{what} was not asked for: {asked:?}"))
    };
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[at("/base.raw 1048576")].starts_with("create -q -f raw "), "{asked:?}");
    assert!(at("/base.raw 1048576") < at("/base.raw -F raw"), "{asked:?}");
    assert!(asked[at("/base.raw -F raw")].ends_with("/a.middle.qcow2 2097152"), "{asked:?}");
    assert!(at("/base.raw -F raw") < at("/a.middle.qcow2 -F qcow2"), "{asked:?}");
    home.assert_nothing_is_left();
}

fn a_program_of_qemu_is_the_one_beside_the_qemu_or_the_case_is_skipped() {
    let qemu = qemu(7);
    let home = Home::new();
    let script = |path: &str, text: String| {
        let path = home.write(path, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let path = script("bin/qemu", format!("exec {} \"$@\"", qemu.path.display()));
    script("bin/qemu-storage-daemon", "echo \"beside $*\"".to_owned());
    script("path/qemu-storage-daemon", "echo \"in PATH $*\"".to_owned());
    script("path/qemu-io", "echo \"in PATH $*\"".to_owned());
    let runs = |name: &str, program: &str, says: &str| {
        let steps = format!(
            "- exec: {{run: [{program}, a b]}}\n  capture: it\n- wait: {{exec: {{run: [{program}, a b]}}}}\n  capture: again\n\
             - check: {{equal: [\"{{{{run.captures.it.stdout}}}}\", \"{says} a b\\n\"]}}\n\
             - check: {{equal: [\"{{{{run.captures.again.stdout}}}}\", \"{says} a b\\n\"]}}\n"
        );
        home.write(&format!("cases/{name}.yaml"), &format!("vms: {{a: {VM}}}\nsteps:\n{steps}"));
    };
    runs("beside", "qemu-storage-daemon", "beside");
    runs("path", "qemu-io", "in PATH");
    runs("missing", "qemu-nbd", "never");
    let path = path.display().to_string();
    let mut lockstep = home.lockstep(&["run", "cases", "--accel", "tcg", "--qemu", &path]);
    lockstep.env("PATH", home.path("path"));
    home.finish(lockstep).expect(0);
    let told = home.results();
    let of = |name: &str| (told.case(name).verdict(), told.case(name).reason().unwrap_or_default());
    assert_eq!(of("beside"), (Verdict::Pass, String::new()));
    assert_eq!(of("path"), (Verdict::Pass, String::new()));
    let reason = "needs `qemu-nbd`, found neither next to QEMU nor in PATH".to_owned();
    assert_eq!(of("missing"), (Verdict::Skip, reason));
}

fn a_disk_that_cannot_be_created_is_an_error_with_the_message_of_qemu_img() {
    let qemu = qemu(7);
    let text = format!(
        "disks: {{d: {{size: 1M, format: nosuch}}}}\nvms: {{a: {VM}}}\nsteps: [{{exec: {{sh: \"ls {{{{disk.d}}}}\"}}}}]\n"
    );
    let (_, told) = run(qemu, &text);
    let case = told.case("case");
    assert_eq!(case.verdict(), Verdict::Error);
    let reason = case.reason().unwrap();
    assert!(reason.contains("nosuch") && reason.contains("exit status 1"), "{reason}");
}

/// A pair in COLO, and steps between two checkpoints: in a checkpoint, a failover may lose a race in QEMU.
fn in_colo(steps: &str) -> String {
    let steps = steps.trim_start_matches('\n');
    format!(
        r"
vms:
  a: {{memory: 32M, guest: {{ticker: {{dirty: 64K}}}}}}
  b: {{like: a, incoming: defer}}
steps:
- wait: {{vm: a, ticks: 1}}
- capabilities: {{vm: [a, b], on: [return-path, x-colo]}}
- parameters: {{vm: a, set: {{x-checkpoint-delay: 3600000}}}}
- protect: {{primary: a, secondary: b, checkpoints: 0}}
{steps}
"
    )
}

fn fence_selects_when_a_failover_kills_the_other_side() {
    let qemu = qemu(11);
    for survivor in ["a", "b"] {
        let lost = if survivor == "a" { "b" } else { "a" };
        for fence in ["true", "after", "false"] {
            let alive = if fence == "false" { "" } else { "! " };
            let told = passes(
                qemu,
                &in_colo(&format!(
                    "- failover: {{survivor: {survivor}, fence: {fence}}}\n\
                     - exec: {{sh: \"{alive}test -e /proc/{{{{run.vm.{lost}.pid}}}}\"}}\n\
                     - wait: {{vm: {survivor}, status: running}}\n- wait: {{vm: {survivor}, ticks: 3}}\n"
                )),
            );
            let case = told.case("case");
            let asked = position(&case, "heartbeat", command(survivor, "x-colo-lost-heartbeat"));
            let gone = position(&case, "exit", exit_of(lost));
            let looked = position(
                &case,
                "look",
                |what| matches!(what, What::StepBegan { title, .. } if title.starts_with("exec")),
            );
            let as_said = match fence {
                "true" => gone < asked,
                "after" => asked < gone && gone < looked,
                _ => looked < gone,
            };
            assert!(as_said, "{survivor}, fence {fence}: asked {asked}, gone {gone}, looked {looked}");
            let how = case.events.iter().find_map(|what| match what {
                What::VmExited { vm, how, .. } if vm == lost => Some(how.clone()),
                _ => None,
            });
            assert_eq!(how.unwrap() == "signal KILL", fence != "false");
        }
    }
}

fn the_commands_of_a_failover_run_after_its_yank_and_before_the_survivor_takes_over() {
    let qemu = qemu(11);
    let told = passes(
        qemu,
        &in_colo(
            r#"
- qmp: {vm: b, execute: object-add, arguments: {qom-type: iothread, id: t0}}
- failover:
    survivor: b
    fence: true
    commands:
    - {execute: object-del, arguments: {id: t0}}
    - {when: "{{eq 1 2}}", execute: object-del, arguments: {id: nothing}}
- check: {vm: b, query: query-iothreads, is_not: [{id: t0}]}
- wait: {vm: b, ticks: 3}
"#,
        ),
    );
    let case = told.case("case");
    let places = ["\"yank\"", "object-del", "x-colo-lost-heartbeat"]
        .map(|execute| position(&case, execute, command("b", execute)));
    assert!(places.is_sorted(), "{places:?}");
}

fn a_guest_that_writes_to_most_of_its_memory_enters_colo() {
    let home = Home::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/colo/failover.yaml");
    let options =
        ["-D", "dirty=100M", "-D", "memory=192M", "--case", "colo/plain/primary_failover", "--slow", "2"];
    home.run_on(qemu(11), &[&[file], &options[..]].concat()).expect(0);
    assert_eq!(home.results().case("colo/plain/primary_failover").verdict(), Verdict::Pass);
    home.assert_nothing_is_left();
}

fn yank_all_excludes_the_runners_channels() {
    let qemu = qemu(7);
    let told = passes(
        qemu,
        &r#"
vms: {a: VM}
steps:
- wait: {vm: a, ticks: 1}
- qmp:
    vm: a
    execute: chardev-add
    arguments:
      id: other
      backend:
        type: socket
        data: {addr: {type: unix, data: {path: "{{case.dir}}/other"}}, server: true, wait: false}
- check: {vm: a, query: query-yank, is: [{type: chardev, id: lockstep-qmp}, {type: chardev, id: other}]}
- yank: {vm: a}
  capture: yanked
- check: {equal: ["{{len run.captures.yanked}}", 1]}
- check: {equal: ["{{run.captures.yanked.0.id}}", other]}
- qmp: {vm: a, execute: query-status, within: 10s}
- wait: {vm: a, ticks: 1}
- check: {vm: a, memory: consistent}
"#
        .replace("a: VM", &format!("a: {VM}")),
    );
    assert!(exit_of("a")(told.case("case").events.iter().find(|what| exit_of("a")(what)).unwrap()));
}

fn expect_hang_passes_only_for_a_frozen_monitor() {
    let qemu = qemu(5);
    let with = |steps: &str| format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n{steps}\n");
    passes(
        qemu,
        &with(
            "- signal: {vm: a, send: STOP}\n- qmp: {vm: a, execute: query-status, expect: hang, within: 500ms}\n\
             - signal: {vm: a, send: CONT}\n- qmp: {vm: a, execute: query-status, within: 20s}\n  capture: status\n\
             - check: {equal: [\"{{run.captures.status.status}}\", running]}\n- wait: {vm: a, ticks: 1}",
        ),
    );
    let answers = fails(qemu, &with("- qmp: {vm: a, execute: query-status, expect: hang}"));
    assert_eq!(answers, "`query-status` of `a`: expected no reply, but it answered");
    // A hang shorter than the limit does not count.
    let short = fails(
        qemu,
        &with(
            "- signal: {vm: a, send: STOP}\n- qmp: {vm: a, execute: query-status, expect: hang, within: 10s}\n  timeout: 500ms",
        ),
    );
    assert!(short.contains("`within` is longer than the time left for the step"), "{short}");
}

fn protect_names_every_missing_part_before_it_starts() {
    let qemu = qemu(11);
    let vm = "{memory: 32M, guest: {ticker: {dirty: 64K}}, netdevs: [{type: user, id: hn0}], \
              blockdevs: [{driver: null-co, node-name: n0, size: 1048576}, \
              {driver: quorum, node-name: q0, vote-threshold: 1, children: [n0]}]}";
    let text = format!(
        "vms:\n  a: {vm}\n  b: {{like: a, incoming: defer}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n\
         - protect: {{primary: a, secondary: b, disks: [n0, q0], networks: hn0}}\n"
    );
    let (_, told) = run(qemu, &text);
    let case = told.case("case");
    let reason = case.reason().unwrap();
    for missing in [
        "`a` lacks the migration capability `x-colo`",
        "`a` lacks the migration capability `return-path`",
        "`b` lacks the migration capability `x-colo`",
        "`b` lacks the migration capability `return-path`",
        "`n0` of `a` is not a quorum",
        "the quorum `q0` of `a` has no child on `b`",
        "`b` exports no block device",
        "`b` has no node of the driver `replication`",
        "`a` has 0 of 1 filter-mirror on the network `hn0`",
        "`a` has 0 of 2 filter-redirector on the network `hn0`",
        "`a` has no colo-compare",
        "`b` has 0 of 2 filter-redirector on the network `hn0`",
        "`b` has 0 of 1 filter-rewriter on the network `hn0`",
    ] {
        assert!(reason.contains(missing), "{missing}: {reason}");
    }
    assert_eq!(reason.matches("; ").count(), 12, "{reason}");
    assert!(!case.events.iter().any(|what| command("a", "\"migrate\"")(what)), "it migrates all the same");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_role_is_the_vm_of_its_last_rebind_in_steps_and_templates, Qemu(5)),
            once!(
                copies_have_disks_of_their_own_which_they_keep_when_they_are_started_again,
                Qemu(7),
                QemuImg
            ),
            once!(
                disks_are_made_by_the_qemu_img_beside_the_qemu_each_over_the_one_it_names,
                Qemu(7),
                QemuImg
            ),
            once!(a_disk_that_cannot_be_created_is_an_error_with_the_message_of_qemu_img, Qemu(7), QemuImg),
            once!(a_program_of_qemu_is_the_one_beside_the_qemu_or_the_case_is_skipped, Qemu(7)),
            once!(fence_selects_when_a_failover_kills_the_other_side, Qemu(11)),
            once!(the_commands_of_a_failover_run_after_its_yank_and_before_the_survivor_takes_over, Qemu(11)),
            once!(a_guest_that_writes_to_most_of_its_memory_enters_colo, Qemu(11)),
            once!(yank_all_excludes_the_runners_channels, Qemu(7)),
            once!(expect_hang_passes_only_for_a_frozen_monitor, Qemu(5)),
            once!(protect_names_every_missing_part_before_it_starts, Qemu(11)),
            once!(
                cleanup::nothing_is_left_of_disks_networks_and_clients_whatever_ends_the_case,
                Qemu(7),
                QemuImg
            ),
            once!(
                cleanup::nothing_is_left_of_a_protected_pair_with_disk_and_network_whatever_ends_the_case,
                Qemu(11),
                QemuImg,
                Guest
            ),
        ],
    )
}
