//! Steps, host processes and the life of VMs.

use lockstep_vm::event::StepOutcome::{Done, Failed, Skipped};
use lockstep_vm::event::Verdict::{self, Error, Fail, Pass};
use lockstep_vm::event::What;

use super::{outcomes, run};
use crate::common::VM;

pub(super) fn a_later_step_reads_what_a_step_captured() {
    run(
        &[
            (
                "captures",
                r#"
- qmp: {vm: a, execute: query-status}
  capture: status
- check: {equal: ["{{run.captures.status.status}}", running]}
- set: {number: 7, list: [1, 2], text: "pid {{run.vm.a.pid}}"}
- check: {equal: ["{{run.captures.number}}", 7]}
- check: {equal: ["{{run.captures.list}}", [1, 2]]}
- exec: {sh: "echo pid {{run.vm.a.pid}}"}
  capture: output
- exec: {run: [test, "{{run.captures.output.stdout}}", "=", "{{run.captures.text}}\n"]}
- check: {equal: ["{{run.captures.output.exit}}", 0]}
- wait: {vm: a, ticks: 1}
  capture: tick
- exec: {sh: "test {{run.captures.tick.passes}} -gt 0 && test {{run.vm.a.accel}} = tcg"}
- wait: {vm: a, serial: "tick (\\d+)"}
  capture: line
- exec: {run: [sh, -c, "case $0 in 'tick '*) ;; *) exit 1;; esac", "{{run.captures.line}}"]}
- qmp: {vm: a, execute: device_del, arguments: {id: none}}
  expect_error: "Device 'none' not found"
  capture: refusal
- exec: {run: [sh, -c, "case $0 in *DeviceNotFound*) ;; *) exit 1;; esac", "{{run.captures.refusal}}"]}
"#,
                Pass,
                "",
            ),
            (
                "no_such_capture",
                "- set: {go: false}\n- when: \"{{run.captures.go}}\"\n  set: {none: 1}\n\
                 - exec: {sh: \"echo {{run.captures.none}}\"}",
                Error,
                "none",
            ),
            (
                "unequal",
                "- set: {x: 1}\n- check: {equal: [\"{{run.captures.x}}\", 2]}",
                Fail,
                "^1 is not equal to 2$",
            ),
        ],
        &[],
    );
}

pub(super) fn a_command_passes_only_with_the_expected_exit_status() {
    run(
        &[
            (
                "expected",
                r#"
- exec: {run: [sh, -c, "cat; echo oops >&2; exit 4"], stdin: "in\n", exit: 4, env: {ONE: 1}}
  capture: it
- check: {equal: ["{{run.captures.it.stdout}}", "in\n"]}
- check: {equal: ["{{run.captures.it.stderr}}", "oops\n"]}
- check: {equal: ["{{run.captures.it.exit}}", 4]}
- exec: {sh: 'test "$ONE" = 1', env: {ONE: 1}}
- exec: {sh: "test \"$PWD\" = {{case.dir}}"}
"#,
                Pass,
                "",
            ),
            (
                "wrong_status",
                "- exec: {sh: 'echo why >&2; exit 3'}",
                Fail,
                "expected exit status 0, got 3, saying:\n    why",
            ),
            (
                "both_streams",
                "- exec: {sh: 'echo first; echo second >&2; exit 3'}",
                Fail,
                "standard output:\n    first\n  and on its standard error:\n    second",
            ),
            ("no_failure", "- exec: {sh: 'true', exit: 1}", Fail, "expected exit status 1, got 0"),
            (
                "missing",
                "- exec: {run: [/no/such/program]}",
                Error,
                "^cannot start `/no/such/program`: No such file",
            ),
            (
                "too_long",
                "- exec: {sh: 'echo begun >&2; sleep 1000'}\n  timeout: 1s",
                Fail,
                "did not end within 1.0 s.*still running, saying:\n    begun",
            ),
        ],
        &[],
    );
}

pub(super) fn a_wait_for_a_background_process_passes_only_with_the_expected_exit() {
    run(
        &[
            (
                "expected",
                r#"
- exec: {background: b, sh: "until test -e go; do sleep 0.05; done; echo said; exit 3"}
- exec: {sh: "kill -0 {{run.process.b.pid}} && touch go"}
- wait: {process: b, exit: 3}
  capture: b
- check: {equal: ["{{run.captures.b.stdout}}", "said\n"]}
- exec: {background: killed, sh: "exec sleep 1000"}
- exec: {sh: "kill -KILL {{run.process.killed.pid}}"}
- wait: {process: killed, exit: {signal: KILL}}
"#,
                Pass,
                "",
            ),
            (
                "missing",
                "- exec: {background: b, run: [no-such-program]}",
                Error,
                "^cannot start `no-such-program`",
            ),
            (
                "fails",
                "- exec: {background: b, sh: 'exit 1'}\n- wait: {process: b}",
                Fail,
                "^process `b`: expected exit status 0, got 1",
            ),
            (
                "too_long",
                "- exec: {background: b, sh: 'sleep 1000'}\n- wait: {process: b}\n  timeout: 500ms",
                Fail,
                "^waited .* for process `b` to end; saw still running",
            ),
        ],
        &[],
    );
}

pub(super) fn expect_error_passes_only_with_the_expected_error() {
    let cases = [
        ("matches", "- qmp: {vm: a, execute: no-such-command}\n  expect_error: CommandNotFound", Pass, ""),
        (
            "matches_not",
            "- qmp: {vm: a, execute: no-such-command}\n  expect_error: DeviceNotFound",
            Fail,
            "^expected an error matching /DeviceNotFound/, got: a: .*CommandNotFound",
        ),
        (
            "succeeds",
            "- qmp: {vm: a, execute: stop}\n  expect_error: x",
            Fail,
            "expected an error matching /x/, but it succeeded$",
        ),
        (
            "refused",
            "- qmp: {vm: a, execute: device_del, arguments: {id: none}}",
            Fail,
            "^a: `device_del` was refused: .*DeviceNotFound",
        ),
        (
            "corrupt_memory_is_never_expected",
            "- wait: {vm: a, ticks: 1}\n- memory: {vm: a, write: {address: 1M, size: 4, value: 4000000000}}\n\
             - wait: {vm: a, event: POWERDOWN}\n  timeout: 10m\n  expect_error: '.'",
            Fail,
            "^VM `a`: .*page",
        ),
    ];
    run(&cases, &[]);
}

pub(super) fn when_decides_whether_a_step_runs() {
    let (_, results) = run(
        &[(
            "when",
            r#"
- when: false
  exec: {sh: exit 1}
- set: {no: false, yes: 1}
- when: "{{run.captures.no}}"
  exec: {sh: exit 1}
- when: "{{run.captures.yes}}"
  exec: {sh: "true"}
- when: "{{version '<1.0'}}"
  exec: {sh: exit 1}
"#,
            Pass,
            "",
        )],
        &[],
    );
    // Conditions known before the run remove the step entirely.
    assert_eq!(outcomes(&results.case("when")), [Done, Skipped, Done]);
}

pub(super) fn steps_start_stop_and_end_vms() {
    run(
        &[
            (
                "signals",
                r#"
- wait: {vm: a, ticks: 1}
- signal: {vm: a, send: STOP}
- qmp: {vm: a, execute: query-status}
  timeout: 500ms
  expect_error: no reply
- signal: {vm: a, send: CONT}
- wait: {vm: a, ticks: 1}
- signal: {vm: a, send: KILL}
- wait: {vm: a, exit: {signal: KILL}}
- start: a
- wait: {vm: a, ticks: 1}
- quit: a
- start: a
- signal: {vm: a, send: TERM}
- wait: {vm: a, exit: 0}
- signal: {vm: a, send: KILL}
  expect_error: "has already ended: exit status 0"
"#,
                Pass,
                "",
            ),
            (
                "late",
                r#"
vms:
  a: {memory: 32M, start: false}
  b: {like: a}
steps:
- wait: {vm: a, ticks: 1}
  expect_error: "VM `a` has not been started"
- start: [a, b]
- wait: {vm: [a, b], ticks: 1}
- start: a
  expect_error: is already running
- quit: [a, b]
"#,
                Pass,
                "",
            ),
        ],
        &[],
    );
}

pub(super) fn a_frozen_vm_or_a_wrong_exit_fails_the_step() {
    run(
        &[
            (
                "frozen",
                "- signal: {vm: a, send: STOP}\n- qmp: {vm: a, execute: query-status}\n  timeout: 500ms",
                Fail,
                "^a: `query-status` got no reply",
            ),
            (
                "frozen_quit",
                "- signal: {vm: a, send: STOP}\n- quit: a\n  timeout: 500ms",
                Fail,
                "^a: `quit` got no reply",
            ),
            (
                "other_exit",
                "- signal: {vm: a, send: TERM}\n- wait: {vm: a, exit: {signal: KILL}}",
                Fail,
                "^VM `a`: expected signal KILL, got exit status 0$",
            ),
            (
                "no_exit",
                "- wait: {vm: a, exit: any}\n  timeout: 500ms",
                Fail,
                "^waited .* for exit .any. of `a`; saw a running process",
            ),
        ],
        &[],
    );
}

pub(super) fn an_unexpected_exit_of_a_vm_ends_the_case_at_once() {
    let vms = format!("vms: {{a: {VM}, b: {VM}}}\nsteps:\n");
    let kill = "- exec: {background: k, exit: 0, sh: \"kill -KILL {{run.vm.b.pid}}\"}\n";
    // The wait is about the other VM and has an hour left; none of these reaches its deadline.
    let waits = [
        ("event", "wait: {vm: a, event: POWERDOWN}"),
        ("ticks", "wait: {vm: a, ticks: 1000000000}"),
        ("serial", "wait: {vm: a, serial: login}"),
        ("status", "wait: {vm: a, status: paused}"),
        ("query", "wait: {vm: a, query: query-name, until: {name: x}}"),
        ("process", "wait: {process: s}"),
        ("exec", "exec: {sh: sleep 3600}"),
        ("sleep", "sleep: 30m"),
    ];
    let cases: Vec<(String, String)> = waits
        .iter()
        .map(|(name, wait)| {
            let process = if *name == "process" { "- exec: {background: s, sh: sleep 3600}\n" } else { "" };
            (format!("death_{name}"), format!("timeout: 1h\n{vms}{process}{kill}- {wait}\n  timeout: 1h"))
        })
        .collect();
    let cases: Vec<(&str, &str, Verdict, &str)> = cases
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str(), Fail, "^VM `b` died: signal KILL"))
        .collect();
    let (_, results) = run(&cases, &[]);
    for (name, ..) in cases {
        let case = results.case(name);
        let exited = case.events.iter().position(|what| {
            matches!(what, What::VmExited { vm, how, expected } if vm == "b" && how == "signal KILL" && !expected)
        });
        let failed =
            case.events.iter().position(|what| matches!(what, What::StepEnded { outcome: Failed, .. }));
        assert!(exited.unwrap() < failed.unwrap(), "{name}");
    }
}
