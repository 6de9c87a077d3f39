use std::collections::BTreeMap;
use std::sync::Arc;

use super::against_binaries;
use crate::diagnostic::Diagnostics;
use crate::qemu::binary::Binary;
use crate::qemu::schema;
use crate::scenario::model::Case;
use crate::scenario::tests::Folder;
use crate::scenario::{Options, load_texts};
use crate::template::NoVersions;

fn loaded(text: &str) -> (Vec<Case>, Diagnostics) {
    let loaded = load_texts(&[("a.yaml".into(), text.to_owned())], &Options::default(), &NoVersions);
    (loaded.cases, loaded.diagnostics)
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    let line = |d: &&crate::diagnostic::Diagnostic| {
        let text = d.to_string();
        let place = text.split("a.yaml:").nth(1).unwrap_or(&text).to_owned();
        format!("{} {place}; {}", d.code, d.help.clone().unwrap_or_default())
    };
    diagnostics.sorted().iter().map(line).collect()
}

/// The messages for the steps of a case with the VMs `a`, `b` (not started) and the receiving `c`.
fn messages(steps: &str) -> Vec<String> {
    let (_, diagnostics) = loaded(&format!(
        "vms: {{a: {{}}, b: {{start: false}}, c: {{incoming: defer}}}}\nsteps:\n{steps}\nfinally:\n- set: {{x: '{{{{run.vm}}}}'}}\n"
    ));
    lines(&diagnostics)
}

fn clean(steps: &str) {
    assert_eq!(messages(steps), [] as [&str; 0], "{steps}");
}

/// Checks that the first message for some steps has a text.
fn said(steps: &str, text: &str) {
    let messages = messages(steps);
    assert!(messages.first().is_some_and(|first| first.contains(text)), "{steps}: {messages:?}");
}

#[test]
fn an_ended_vm_can_only_be_awaited_or_started() {
    clean("- quit: a\n- wait: {vm: a, exit: any}\n- start: a\n- wait: {vm: a, ticks: 1}");
    clean("- quit: a\n- wait: {vm: a, event: SHUTDOWN}\n- check: {vm: a, stderr: {allow: []}}");
    clean("- quit: a\n- {wait: {vm: a, ticks: 1}, expect_error: ended}");
    clean("- {quit: a, expect_error: x}\n- wait: {vm: a, ticks: 1}");
    clean("- signal: {vm: a, send: STOP}\n- wait: {vm: a, ticks: 1}");
    for steps in [
        "- quit: a\n- qmp: {vm: a, execute: stop}",
        "- wait: {vm: a, exit: 0}\n- quit: a",
        "- qmp: {vm: a, execute: quit}\n- check: {vm: a, memory: consistent}",
        "- quit: a\n- wait: {vm: a, event: STOP, fresh: true}",
    ] {
        said(steps, "has already ended");
    }
}

#[test]
fn a_vm_that_was_not_started_can_only_be_started() {
    clean("- start: b\n- wait: {vm: b, ticks: 1}");
    said("- set: {y: '{{run.vm.b.pid}}'}", "has not been started when this is read");
}

#[test]
fn a_vm_without_connection_cannot_be_queried() {
    let messages = |steps: &str| {
        let vms = "vms: {a: {}, b: {connect: false, start: false}, c: {connect: false, incoming: defer}, d: {incoming: defer}}";
        let all = "finally:\n- set: {x: '{{run.vm}}'}";
        lines(&loaded(&format!("{vms}\nsteps:\n{steps}\n{all}\n")).1)
    };
    let clean = |steps: &str| assert_eq!(messages(steps), [] as [&str; 0], "{steps}");
    clean(
        "- wait: {vm: c, ticks: 1}\n- migrate: {from: a, to: c, listen: 'unix:x'}\n- connect: c\n- quit: [a, c]",
    );
    clean("- start: b\n- connect: [b, c]\n- wait: {vm: [b, c], status: running}");
    clean("- memory: {vm: c, write: {address: 0, value: 0}}\n- signal: {vm: c, send: KILL}");
    clean("- {qmp: {vm: c, execute: stop}, expect_error: not connected}\n- wait: {vm: c, exit: any}");
    clean("- {capture: n, qmp: {vm: a, execute: x}}\n- {when: '{{run.captures.n}}', connect: c}\n- quit: c");
    let early = messages("- start: b\n- connect: c\n- wait: {vm: [c, b], status: running}");
    let expected = "LS032 5:18: VM `b` is not connected yet; put `connect: b` before this step, or remove `connect: false`";
    assert_eq!(early, [expected]);
    // A new process has a new monitor.
    let again =
        messages("- connect: c\n- quit: c\n- start: c\n- check: {vm: c, query: query-status, is: {}}");
    assert!(again[0].contains("`c` is not connected yet"), "{again:?}");
    for asked in [
        "migrate: {from: c, to: d}",
        "fd: {vm: c, name: x, socket: x}",
        "wait: {vm: c, event: STOP, fresh: true}",
        "check: {vm: c, memory: consistent}",
    ] {
        let messages = messages(&format!("- {asked}")).join("\n");
        assert!(messages.contains("`c` is not connected yet"), "{asked}: {messages}");
    }
}

#[test]
fn values_that_only_the_run_decides_are_not_reported() {
    let maybe = "- {capture: n, qmp: {vm: a, execute: x}}\n- {when: '{{run.captures.n}}', quit: a}\n";
    clean(&format!("{maybe}- wait: {{vm: a, ticks: 1}}"));
    clean(&format!("{maybe}- start: a"));
    clean("- exec: {sh: kill}\n- start: a");
    clean("- repeat: {until: {vm: a, status: running}, steps: [{quit: a}, {start: a}]}");
}

#[test]
fn a_capture_is_read_after_the_step_that_captures_it() {
    clean(
        "- {capture: n, sleep: 1s}\n- set: {y: '{{run.captures.n}}'}\n- set: {y: '{{#each run.captures.y}}{{this}}{{/each}}'}",
    );
    let condition = "- {capture: n, sleep: 1s}\n- {when: '{{run.captures.n}}', capture: m, sleep: 1s}\n";
    clean(&format!("{condition}- {{when: '{{{{run.captures.n}}}}', set: {{y: '{{{{run.captures.m}}}}'}}}}"));
}

#[test]
fn a_process_that_no_step_starts_cannot_be_read() {
    said("- set: {y: '{{run.process.p.pid}}'}", "start one with `exec: {background: p, …}`");
}

#[test]
fn a_vm_that_uses_run_must_be_started_by_a_step() {
    let vm = |start: &str, steps: &str| {
        let text = format!(
            "vms: {{a: {{{start} args: ['{{{{run.captures.n}}}}', '{{{{case.dir}}}}']}}}}\nsteps:\n{steps}"
        );
        lines(&loaded(&text).1)
    };
    let good = "- {capture: n, sleep: 1s}\n- start: a\n- wait: {vm: a, ticks: 1}\n";
    assert_eq!(vm("start: false,", good), [] as [&str; 0]);
    assert!(vm("", "- {capture: n, sleep: 1s}\n- quit: a\n")[0].contains("is started before the first step"));
    assert!(vm("start: false,", "- start: a\n- {capture: n, sleep: 1s}\n")[0].contains("not captured yet"));
}

#[test]
fn a_declaration_that_no_cell_uses_is_a_warning() {
    let text = "matrix: {w: [x, y]}\nvms: {a: {}, b: {}, c: {}}\nsteps:\n- {when: \"{{eq w 'x'}}\", quit: a}\n- {when: \"{{eq w 'z'}}\", quit: b}\n- {capture: n, sleep: 1s}\n";
    let messages = lines(&loaded(text).1);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("LS033 2:21: warning: VM `c` is not used"), "{messages:?}");
    assert!(messages[1].starts_with("LS033 6:13: warning: capture `n` is never read"), "{messages:?}");
}

#[test]
fn what_other_users_of_a_file_may_use_is_no_warning() {
    let capture = "steps:\n- {capture: n, sleep: 1s}\n";
    let head = "params: {p: 1s}\nvms: {a: {}}\n";
    let folder = Folder::new(&[
        ("used.yaml", capture),
        ("user.yaml", "vms: {a: {}}\nsteps: [{use: {file: used.yaml}}, {quit: a}]\n"),
        ("open.yaml", &format!("{head}hooks: {{h: []}}\n{capture}- hook: h\n- quit: a\n")),
        ("ignores.yaml", "extends: open.yaml\n"),
        (
            "reads.yaml",
            "extends: open.yaml\nhooks: {h: [{set: {x: '{{run.captures.n}}'}}, {set: {y: '{{run.captures.x}}{{p}}'}}]}\n",
        ),
        ("closed.yaml", &format!("{head}{capture}- quit: a\n")),
    ]);
    let all = |names: &[&str]| lines(&folder.load(names).diagnostics);
    assert_eq!(all(&["user.yaml"]), [] as [&str; 0]);
    // The template of two files, one of which reads its capture and uses its parameter.
    assert_eq!(all(&["open.yaml"]), [] as [&str; 0]);
    assert_eq!(all(&["open.yaml", "ignores.yaml", "reads.yaml"])[1..], [] as [&str; 0]);
    // Without a hook, no other file can use them.
    let messages = all(&["closed.yaml"]).join("; ");
    assert!(messages.contains("parameter `p`") && messages.contains("capture `n`"), "{messages}");
}

#[test]
fn a_failover_without_a_migration_is_a_warning() {
    said("- wait: {vm: c, checkpoints: 1}", "there are no checkpoints");
    clean("- migrate: {from: a, to: c}\n- failover: {survivor: c, fence: false}");
}

#[test]
fn in_a_case_that_must_fail_an_impossible_step_is_a_warning() {
    let text = "must_fail: {match: x}\nvms: {a: {}}\nsteps: [{quit: a}, {wait: {vm: a, ticks: 1}}]\n";
    assert!(lines(&loaded(text).1)[0].contains("warning: VM `a` has already ended"));
}

/// The messages for a file on a QEMU with the schema of [`schema::tests`].
fn on_qemu(text: &str) -> Vec<String> {
    let (cases, mut diagnostics) = loaded(text);
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(false));
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let binary = Arc::new(Binary {
        capabilities: set(&["x-colo", "return-path"]),
        devices: set(&["virtio-net-pci", "e1000"]),
        schema: Arc::new(schema::tests::sample()),
        ..Binary::made_up("9.1.0")
    });
    for case in &cases {
        let binaries: BTreeMap<_, _> = case.vms.keys().map(|vm| (vm.clone(), Arc::clone(&binary))).collect();
        against_binaries(case, &binaries, &mut diagnostics);
    }
    lines(&diagnostics)
}

#[test]
fn a_feature_that_a_qemu_lacks_is_reported_at_its_place() {
    let step = |step: &str| on_qemu(&format!("vms: {{a: {{}}}}\nsteps:\n- {step}\n")).join("\n");
    for (text, whole) in [
        (
            "qmp: {vm: a, execute: quary-status}",
            "LS050 3:25: QEMU 9.1.0 has no QMP command `quary-status`; did you mean `query-status`?",
        ),
        (
            "qmp: {vm: a, execute: query-status, arguments: {x: 1}}",
            "LS051 3:51: `query-status` has no argument `x` (QEMU 9.1.0); it has no arguments",
        ),
        ("qmp: {vm: a, execute: yank, arguments: {instances: []}, oob: true}", ""),
        (
            "capabilities: {vm: a, on: [return-path, x-coloo]}",
            "LS050 3:43: QEMU 9.1.0 has no migration capability `x-coloo`; did you mean `x-colo`?",
        ),
        ("{qmp: {vm: a, execute: no-such}, expect_error: x}", ""),
    ] {
        assert_eq!(step(text), whole);
    }
    for (text, start) in [
        ("qmp: {vm: a, execute: yank, arguments: {}}", "LS051 3:31: `yank` needs the argument"),
        ("parameters: {vm: a, set: {max-bandwith: 1}}", "LS050 3:29: QEMU 9.1.0 has no migration parameter"),
    ] {
        assert!(step(text).starts_with(start), "{}", step(text));
    }
    for (text, part) in [
        ("qmp: {vm: a, execute: stop, oob: true}", "does not run `stop` out of band; remove"),
        ("parameters: {vm: a, set: {max-bandwidth: 1M}}", "LS051 3:44: `max-bandwidth` takes a whole number"),
        ("wait: {vm: a, event: STOPP}", "has no event `STOPP`; did you mean `STOP`?"),
        ("wait: {vm: a, event: MIGRATION, data: {state: x}}", "LS051 3:42: `MIGRATION` has no member"),
        ("wait: {vm: a, status: pausd}", "has no run state `pausd`; did you mean `paused`?"),
        ("check: {vm: a, query: query-status, is_not: {runing: true}}", "did you mean `running`?"),
    ] {
        assert!(step(text).contains(part), "{}", step(text));
    }
}

#[test]
fn the_options_of_vms_are_checked_against_their_qemu() {
    let vm =
        |options: &str| on_qemu(&format!("vms: {{a: {{{options}}}}}\nsteps: [{{quit: a}}]\n")).join("\n");
    assert_eq!(vm("machine: 'q35,smm=off', devices: [{driver: virtio-net}]"), "");
    for (options, part) in [
        ("machine: q36", "LS050 1:20: QEMU 9.1.0 has no machine type `q36`; did you mean `q35`?"),
        ("devices: [{driver: e100}]", "has no device `e100`; did you mean `e1000`?"),
        ("blockdevs: [{driver: file, filname: x}]", "LS051 1:38: `blockdev-add` with `driver: file` has no"),
        ("objects: [{qom-type: rng}]", "`object-add` needs the argument `id`"),
    ] {
        assert!(vm(options).contains(part), "{}", vm(options));
    }
}
