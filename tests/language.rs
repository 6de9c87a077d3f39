//! Each action and each kind of wait and check does what the reference says, and fails when it must.

mod common;

use std::process::{ExitCode, Stdio};

use common::harness::{self, once};
use common::{Case, Home, Results, VM, qemu, wait_until};
use lockstep_vm::event::{StepOutcome, Verdict, What};

/// Writes each case to its own file, with one small VM `a` unless it defines its own.
fn write(home: &Home, cases: &[(&str, &str)]) {
    for (name, text) in cases {
        let steps = if format!("\n{text}").contains("\nsteps:\n") { "" } else { "steps:\n" };
        let vms = if text.contains("vms:") { String::new() } else { format!("vms: {{a: {VM}}}\n") };
        home.write(&format!("cases/{name}.yaml"), &format!("{vms}{steps}{text}\n"));
    }
}

/// Runs the cases and compares the verdict and the reason of each with the expected ones.
fn run(cases: &[(&str, &str, Verdict, &str)], options: &[&str]) -> (Home, Results) {
    let qemu = qemu(7);
    let home = Home::new();
    write(&home, &cases.iter().map(|(name, text, ..)| (*name, *text)).collect::<Vec<_>>());
    let ran = home.run_on(qemu, &[&["cases", "-j", "2"], options].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let told = home.results();
    let mut wrong = Vec::new();
    for (name, _, verdict, expected) in cases {
        let case = told.case(name);
        let reason = case.reason().unwrap_or_default();
        let fits = regex::Regex::new(&format!("(?s){expected}")).unwrap().is_match(&reason);
        if case.verdict() != *verdict || !fits || (expected.is_empty() && !reason.is_empty()) {
            wrong.push(format!(
                "{name} is to be {verdict}, with /{expected}/; it is {}: {reason}\n{:?}",
                case.verdict(),
                case.steps()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{ran:?}", wrong.join("\n"));
    let bad = cases.iter().any(|(_, _, verdict, _)| verdict.is_bad());
    assert_eq!(ran.code, Some(i32::from(bad)));
    home.assert_nothing_is_left();
    (home, told)
}

fn outcomes(case: &Case<'_>) -> Vec<StepOutcome> {
    case.steps().iter().map(|step| step.outcome).collect()
}

use StepOutcome::{Done, Failed, Skipped};
use Verdict::{Error, Fail, Pass, Skip, Xfail};

fn what_a_step_finds_is_there_for_the_steps_after_it() {
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
  capture: told
- exec: {run: [test, "{{run.captures.told.stdout}}", "=", "{{run.captures.text}}\n"]}
- check: {equal: ["{{run.captures.told.exit}}", 0]}
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

fn a_host_process_counts_by_how_it_ends() {
    let ran = run(
        &[
            (
                "ends_well",
                r#"
- exec: {run: [sh, -c, "cat; echo oops >&2; exit 4"], stdin: "in\n", exit: 4, env: {ONE: 1}}
  capture: it
- check: {equal: ["{{run.captures.it.stdout}}", "in\n"]}
- check: {equal: ["{{run.captures.it.stderr}}", "oops\n"]}
- check: {equal: ["{{run.captures.it.exit}}", 4]}
- exec: {sh: 'test "$ONE" = 1', env: {ONE: 1}}
- exec: {sh: "test \"$PWD\" = {{case.dir}}"}
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
                "missing_behind",
                "- exec: {background: b, run: [no-such-program]}",
                Error,
                "^cannot start `no-such-program`",
            ),
            (
                "background_fails",
                "- exec: {background: b, sh: 'exit 1'}\n- wait: {process: b}",
                Fail,
                "^process `b`: expected exit status 0, got 1",
            ),
            (
                "too_long",
                "- exec: {sh: 'echo begun >&2; sleep 1000'}\n  timeout: 1s",
                Fail,
                "did not end within 1.0 s.*still running, saying:\n    begun",
            ),
            (
                "background_too_long",
                "- exec: {background: b, sh: 'sleep 1000'}\n- wait: {process: b}\n  timeout: 500ms",
                Fail,
                "^waited .* for process `b` to end; saw still running",
            ),
        ],
        &[],
    );
    drop(ran);
}

fn a_step_that_must_fail_fails_as_it_says_or_fails_the_case() {
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

fn when_decides_whether_a_step_runs() {
    let (_, told) = run(
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
    assert_eq!(outcomes(&told.case("when")), [Done, Skipped, Done]);
}

fn vms_are_started_stopped_and_ended_as_the_steps_say() {
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

fn a_death_that_nobody_asked_for_ends_the_case_at_once_and_is_the_cause() {
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
    let (_, told) = run(&cases, &[]);
    for (name, ..) in cases {
        let case = told.case(name);
        let exited = case.events.iter().position(|what| {
            matches!(what, What::VmExited { vm, how, expected } if vm == "b" && how == "signal KILL" && !expected)
        });
        let failed =
            case.events.iter().position(|what| matches!(what, What::StepEnded { outcome: Failed, .. }));
        assert!(exited.unwrap() < failed.unwrap(), "{name}");
    }
}

fn waits_are_met_by_what_they_name_and_say_what_they_saw_instead() {
    run(
        &[
            (
                "met",
                r#"
- wait: {vm: a, ticks: 3}
- qmp: {vm: a, execute: stop}
- qmp: {vm: a, execute: cont}
- qmp: {vm: a, execute: stop}
- wait: {vm: a, status: paused}
- wait: {vm: a, event: RESUME}
- wait: {vm: a, event: STOP}
- wait: {vm: a, event: STOP}
  timeout: 300ms
  expect_error: "0 of 1"
- wait: {vm: a, ticks: 1}
  timeout: 300ms
  expect_error: "1 new tick of `a` can no longer come: the vCPUs of `a` are stopped, run state `paused`"
- qmp: {vm: a, execute: cont}
- wait: {vm: a, status: [running, paused]}
- wait: {vm: a, query: query-status, until: {running: true}}
  capture: reply
- check: {equal: ["{{run.captures.reply.status}}", running]}
- wait: {vm: a, serial: "tick [\\d ]+\n"}
- qmp: {vm: a, execute: stop}
- wait: {vm: a, event: RESUME, fresh: true}
  timeout: 300ms
  expect_error: "for a fresh event RESUME"
- wait: {vm: a, serial: "ready", fresh: false}
  timeout: 300ms
  expect_error: "matching /ready/"
- exec: {background: late, sh: "exit 0"}
- wait: {process: late}
- qmp: {vm: a, execute: quit}
- wait: {vm: a, event: SHUTDOWN, data: {guest: false, reason: host-qmp-quit}}
- wait: {vm: a, exit: 0}
"#,
                Pass,
                "",
            ),
            (
                "counted",
                "- qmp: {vm: a, execute: stop}\n- qmp: {vm: a, execute: cont}\n- wait: {vm: a, event: STOP, count: 2}\n  timeout: 300ms",
                Fail,
                "^waited .* for event STOP 2 times of `a`; saw 1 of 2; its events: .*STOP.*RESUME",
            ),
            (
                "other_data",
                "- qmp: {vm: a, execute: system_reset}\n- wait: {vm: a, event: RESET, data: {guest: true}}\n  timeout: 300ms",
                Fail,
                "^waited .* for event RESET with .*guest.* of `a`; saw 0 of 1; its events: RESET",
            ),
            (
                "other_status",
                "- wait: {vm: a, status: paused}\n  timeout: 300ms",
                Fail,
                "for run state paused of `a`; saw running",
            ),
            (
                "other_reply",
                "- wait: {vm: a, query: query-status, until: {status: paused}}\n  timeout: 300ms",
                Fail,
                "for query-status to contain .*paused.* of `a`; saw .*running",
            ),
            (
                "refused",
                "- wait: {vm: a, query: qom-list, arguments: {path: /none}, until: []}",
                Fail,
                "`qom-list` was refused",
            ),
        ],
        &[],
    );
}

fn checks_hold_or_say_what_is_there_instead() {
    run(
        &[
            (
                "hold",
                r#"
- wait: {vm: a, ticks: 1}
- check: {vm: a, query: query-status, is: {running: true}, is_not: {status: paused}}
- check: {vm: a, memory: consistent}
- wait: {vm: a, ticks: 1}
- check: {vm: a, no_event: POWERDOWN, for: 100ms}
- check: {metric: boot, below: 2m, above: 0}
- check: {equal: [{x: 1}, {x: 1}, {x: 1}]}
- check: {vm: a, stderr: {allow: []}}
- qmp: {vm: a, execute: stop}
- check: {vm: a, memory: consistent}
- wait: {vm: a, status: paused}
- memory: {vm: a, read: {address: 1M, size: 4}}
  capture: before
- memory: {vm: a, write: {address: 448K, size: 8, value: 81985529216486895}}
- memory: {vm: a, read: {address: 448K}}
  capture: it
- check: {equal: ["{{run.captures.it}}", 81985529216486895]}
- memory: {vm: a, read: {address: 458752, size: 2}}
  capture: low
- check: {equal: ["{{run.captures.low}}", 52719]}
- memory: {vm: a, write: {page: still, size: 4, value: 4000000000}}
- check: {vm: a, memory: consistent}
  expect_error: "the memory of `a` is inconsistent: 1 of 352 pages is wrong: page .* has changed: it holds 0xee6b2800"
"#,
                Pass,
                "",
            ),
            (
                "is",
                "- check: {vm: a, query: query-status, is: {status: paused}}",
                Fail,
                "does not contain .*paused.*running",
            ),
            (
                "is_not",
                "- check: {vm: a, query: query-status, is_not: {running: true}}",
                Fail,
                "^query-status of `a` contains",
            ),
            (
                "event_before",
                "- qmp: {vm: a, execute: stop}\n- wait: {vm: a, status: paused}\n- check: {vm: a, no_event: STOP}",
                Fail,
                "^`a` emitted STOP, expected no such event",
            ),
            (
                "event_later",
                "- exec: {background: x, exit: 0, sh: 'kill -TERM {{run.vm.a.pid}}'}\n- check: {vm: a, no_event: SHUTDOWN, for: 5m}\n  timeout: 10m",
                Fail,
                "^(`a` emitted SHUTDOWN|VM `a` died)",
            ),
            (
                "metric",
                "- wait: {vm: a, ticks: 1}\n- check: {metric: boot, above: 1h}",
                Fail,
                "^metric `boot` is .*, not above 3600",
            ),
            ("no_metric", "- check: {metric: failover, below: 1s}", Fail, "^metric `failover` has no value"),
            (
                "stderr",
                "vms: {a: {memory: 32M, args: [-d, cpu_reset]}}\nsteps:\n- check: {vm: a, stderr: {allow: []}}",
                Fail,
                "^the standard error of `a` has unexpected lines:\nCPU Reset",
            ),
        ],
        &[],
    );
}

fn a_guest_whose_memory_is_overwritten_ends_the_case_by_its_own_report() {
    let (home, told) = run(
        &[(
            "overwritten",
            "timeout: 1h\nsteps:\n- wait: {vm: a, ticks: 1}\n- memory: {vm: a, write: {address: 1032K, size: 4, value: 4000000000}}\n\
             - wait: {vm: a, event: POWERDOWN}\n  timeout: 1h",
            Fail,
            "^VM `a`: .*page 258 ",
        )],
        &[],
    );
    let case = told.case("overwritten");
    // The guest may report it before the step that writes has ended; no other step is to blame, and none runs into
    // its deadline.
    let place = case.place().unwrap();
    assert!(
        ["cases/overwritten.yaml:5:3", "cases/overwritten.yaml:6:3"].contains(&place.as_str()),
        "{place}"
    );
    let junit = home.read("reports/junit.xml");
    let document = roxmltree::Document::parse(&junit).unwrap();
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!(failure.attribute("message"), case.reason().as_deref());
    assert!(failure.text().unwrap().contains("bad 0000000258 "), "the evidence has what the guest printed");
}

fn a_guest_whose_memory_could_not_be_saved_goes_on() {
    run(
        &[(
            "pmemsave",
            // QEMU cannot write its file where there is a directory.
            "- wait: {vm: a, ticks: 1}\n- exec: {run: [mkdir, a.ram]}\n\
             - check: {vm: a, memory: consistent}\n  expect_error: '`pmemsave` was refused: .*a.ram'\n\
             - check: {vm: a, query: query-status, is: {running: true}}\n- wait: {vm: a, ticks: 2}",
            Pass,
            "",
        )],
        &[],
    );
}

fn finally_runs_whatever_happened_and_its_failure_counts() {
    let finally = "\nfinally:\n- exec: {sh: \"touch {{env.HERE}}/{{case.name}}.done\"}";
    let with = |steps: &str| format!("{steps}{finally}");
    let fails = with("- exec: {sh: exit 1}\n- exec: {sh: \"touch {{env.HERE}}/never\"}");
    let passes = with("- exec: {sh: exit 0}");
    let dies = with("- exec: {sh: \"kill -KILL {{run.vm.a.pid}}\"}\n- wait: {vm: a, event: POWERDOWN}");
    let used_up = format!("timeout: 1s\nsteps:\n{}", with("- exec: {sh: sleep 3600}\n  timeout: 1h"));
    let (home, told) = run(
        &[
            ("fails", &fails, Fail, "got 1"),
            ("passes", &passes, Pass, ""),
            ("dies", &dies, Fail, "^VM `a` died: signal KILL"),
            ("used_up", &used_up, Fail, "the case's timeout of 1s expired"),
            ("only_finally_fails", "- exec: {sh: exit 0}\nfinally:\n- exec: {sh: exit 5}", Fail, "got 5"),
            ("both_fail", "- exec: {sh: exit 4}\nfinally:\n- exec: {sh: exit 5}", Fail, "got 4"),
        ],
        &[],
    );
    for name in ["fails", "passes", "dies", "used_up"] {
        assert!(home.path(&format!("{name}.done")).exists(), "{name}");
        assert!(told.case(name).steps().last().unwrap().finally);
    }
    assert!(!home.path("never").exists(), "a step after the one that failed has run");
}

fn hooks_used_files_and_loops_stand_for_their_steps() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write(
        "steps.yaml",
        "params: {word: {required: true}}\nsteps:\n- exec: {sh: \"echo {{word}} >> {{env.HERE}}/log\"}\n",
    );
    home.write(
        "template.yaml",
        &format!(
            "params: {{x: 1}}\nvms: {{a: {VM}}}\nhooks: {{one: [], two: []}}\nsteps:\n- hook: one\n\
             - exec: {{sh: \"echo template {{{{x}}}} >> {{{{env.HERE}}}}/log\"}}\n- hook: two\n"
        ),
    );
    home.write(
        "case.yaml",
        r#"
extends: template.yaml
with: {x: 2}
hooks:
  one:
  - exec: {sh: "echo hook >> {{env.HERE}}/log"}
  two:
  - use: {file: steps.yaml, with: {word: used}}
  - repeat: {times: 2, steps: [{exec: {sh: "echo times >> {{env.HERE}}/log"}}]}
  - repeat: {over: [p, q], as: item, steps: [{exec: {sh: "echo over {{item}} >> {{env.HERE}}/log"}}]}
  - set: {rounds: 0}
  - timeout: 2m
    repeat:
      until: {vm: a, status: paused}
      steps:
      - exec: {sh: "printf $(({{run.captures.rounds}} + 1))"}
        capture: round
      - set: {rounds: "{{run.captures.round.stdout}}"}
      - exec: {sh: "echo until >> {{env.HERE}}/log; test {{run.captures.rounds}} -lt 3 || printf yes"}
        capture: done
      - when: "{{eq run.captures.done.stdout 'yes'}}"
        qmp: {vm: a, execute: stop}
"#,
    );
    let ran = home.run_on(qemu, &["case.yaml"]).expect(0);
    assert!(ran.stdout.contains("1 passed"));
    assert_eq!(
        home.read("log"),
        "hook\ntemplate 2\nused\ntimes\ntimes\nover p\nover q\nuntil\nuntil\nuntil\n"
    );
}

fn a_loop_looks_once_a_round_and_ends_at_its_deadline() {
    let (_, told) = run(
        &[
            (
                "event",
                "- timeout: 2m\n  repeat:\n    until: {vm: a, event: STOP, count: 3}\n    steps:\n    \
                 - qmp: {vm: a, execute: stop}\n    - qmp: {vm: a, execute: cont}",
                Pass,
                "",
            ),
            (
                "never",
                "- timeout: 1s\n  repeat:\n    until: {vm: a, status: paused}\n    steps:\n    - qmp: {vm: a, execute: query-name}",
                Fail,
                "^waited 1.* for run state paused of `a`; saw running",
            ),
            (
                "never_an_event",
                "- timeout: 1s\n  repeat:\n    until: {vm: a, event: POWERDOWN}\n    steps:\n    - qmp: {vm: a, execute: query-name}",
                Fail,
                "for event POWERDOWN of `a`; saw 0 of 1",
            ),
            (
                "dies",
                "- exec: {background: k, exit: 0, sh: \"kill -KILL {{run.vm.a.pid}}\"}\n- timeout: 1h\n  repeat:\n    \
                 until: {vm: a, event: POWERDOWN}\n    steps:\n    - exec: {sh: 'true'}",
                Fail,
                "^VM `a` died: signal KILL",
            ),
            (
                "ends",
                "- exec: {background: k, exit: 0, sh: \"kill -TERM {{run.vm.a.pid}}\"}\n- timeout: 2m\n  repeat:\n    \
                 until: {vm: a, exit: 0}\n    steps:\n    - exec: {sh: 'while kill -0 {{run.vm.a.pid}}; do sleep 0.05; done'}",
                Pass,
                "",
            ),
        ],
        &[],
    );
    assert_eq!(outcomes(&told.case("event")).len(), 6, "three rounds, none too many");
    assert!(told.case("never_an_event").steps().len() > 3, "more than one round");
}

fn deadlines_are_those_of_the_step_and_the_case_times_slow() {
    let cases = [
        ("step", "- exec: {sh: sleep 1}\n  timeout: 100ms", Pass, ""),
        ("case", "timeout: 100ms\nsteps:\n- exec: {sh: sleep 1}", Pass, ""),
        (
            "both",
            "timeout: 30ms\nsteps:\n- exec: {sh: sleep 3600}\n  timeout: 1h",
            Fail,
            "the case's timeout of 30ms expired",
        ),
    ];
    run(&cases, &["--slow", "100"]);
    let cases = [
        (
            "step",
            "- wait: {vm: a, event: POWERDOWN}\n  timeout: 300ms",
            Fail,
            "^waited .* for event POWERDOWN",
        ),
        (
            "case",
            "timeout: 8s\nsteps:\n- wait: {vm: a, event: POWERDOWN}",
            Fail,
            "the case's timeout of 8s expired",
        ),
    ];
    run(&cases, &[]);
}

fn a_known_issue_and_a_negative_control_excuse_their_own_failure_only() {
    let fails = "- exec: {sh: exit 3}";
    let passes = "- exec: {sh: exit 0}";
    let known = "known_issue: {reason: gitlab 42, match: got 3}\nsteps:\n";
    let race = "known_issue: {reason: gitlab 43, match: got 3, at_most: 5%}\nsteps:\n";
    let often = "known_issue: {reason: gitlab 44, match: got 3, attempts: 3}\nsteps:\n";
    let placed = "known_issue: {reason: gitlab 45, match: got 3, step: here}\nsteps:\n";
    let third = "- exec: {sh: 'echo >>$HERE/third; test $(wc -l <$HERE/third) -lt 3 || exit 3'}";
    let once = "- exec: {sh: 'test -e $HERE/once || { touch $HERE/once; exit 3; }'}";
    let control = "must_fail: {match: got 3}\nsteps:\n";
    let other = "- exec: {sh: exit 4}";
    let texts: Vec<(&str, String, Verdict, &str)> = vec![
        ("known", format!("{known}{fails}"), Xfail, "^gitlab 42$"),
        ("known_passes", format!("{known}{passes}"), Fail, "did not occur .gitlab 42."),
        ("known_other", format!("{known}{other}"), Fail, "got 4"),
        (
            "known_elsewhere",
            format!("known_issue: {{when: false, reason: r, match: x}}\nsteps:\n{passes}"),
            Pass,
            "",
        ),
        ("race_lost_once", format!("{race}{once}"), Xfail, "^gitlab 43$"),
        ("race_lost", format!("{race}{fails}"), Fail, "got 3.* .a known issue is excused once"),
        ("often", format!("{often}{third}"), Xfail, "^gitlab 44$"),
        ("often_never", format!("{often}{passes}"), Fail, "did not occur in 3 attempts .gitlab 44."),
        ("placed", format!("{placed}- block: [{{name: here, exec: {{sh: exit 3}}}}]"), Xfail, "^gitlab 45$"),
        (
            "placed_in_a_group",
            format!("{placed}- {{name: here, repeat: {{times: 2, steps: [{{exec: {{sh: exit 3}}}}]}}}}"),
            Xfail,
            "^gitlab 45$",
        ),
        (
            "placed_in_until",
            format!(
                "{placed}- {{name: here, repeat: {{until: {{vm: a, status: paused}}, steps: [{{exec: {{sh: exit 3}}}}]}}}}"
            ),
            Xfail,
            "^gitlab 45$",
        ),
        ("placed_elsewhere", format!("{placed}{fails}\n- {{name: here, sleep: 1ms}}"), Fail, "got 3"),
        ("race_won", format!("{race}{passes}"), Pass, ""),
        ("race_other", format!("{race}{other}"), Fail, "got 4"),
        ("control", format!("{control}{fails}"), Pass, "^failed as expected"),
        ("no_control", format!("must_fail: {{when: false, match: got 3}}\nsteps:\n{passes}"), Pass, ""),
        (
            "no_control_fails",
            format!("must_fail: {{when: false, match: got 3}}\nsteps:\n{fails}"),
            Fail,
            "got 3",
        ),
        (
            "control_passes",
            format!("{control}{passes}"),
            Fail,
            "^expected a failure matching /got 3/, but the case passed",
        ),
        ("control_other", format!("{control}{other}"), Fail, "^expected a failure matching .*, got: .*got 4"),
        (
            "old",
            format!("requires: {{qemu: \">=1000.0\"}}\nsteps:\n{fails}"),
            Skip,
            "^needs QEMU >=1000.0, this is \\d",
        ),
        (
            "command",
            format!("requires: {{commands: [no-such]}}\nsteps:\n{fails}"),
            Skip,
            "^needs the QMP command `no-such`, which QEMU",
        ),
        (
            "there",
            format!("requires: {{qemu: \">=5\", capabilities: [events], machines: [q35]}}\nsteps:\n{passes}"),
            Pass,
            "",
        ),
    ];
    let cases: Vec<_> =
        texts.iter().map(|(name, text, verdict, reason)| (*name, text.as_str(), *verdict, *reason)).collect();
    let (home, told) = run(&cases, &[]);
    for name in ["old", "command"] {
        let spawned = told.case(name).events.iter().any(|what| matches!(what, What::VmSpawned { .. }));
        assert!(!spawned, "{name}: a VM was started for nothing");
    }
    let junit = home.read("reports/junit.xml");
    let document = roxmltree::Document::parse(&junit).unwrap();
    let skipped: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("skipped"))
        .filter_map(|node| node.parent_element()?.attribute("name"))
        .collect();
    let xfailed = ["known", "often", "placed", "placed_in_a_group", "placed_in_until", "race_lost_once"];
    let mut expected = [&xfailed[..], &["command", "old"]].concat();
    expected.sort_unstable();
    assert_eq!(skipped, expected);
}

fn fail_fast_ends_the_run_with_the_first_bad_case() {
    let qemu = qemu(7);
    let home = Home::new();
    write(
        &home,
        &[("1", "- exec: {sh: exit 0}"), ("2", "- exec: {sh: exit 1}"), ("3", "- exec: {sh: exit 0}")],
    );
    home.run_on(qemu, &["cases", "--fail-fast"]).expect(1);
    assert_eq!(home.results().cases(), ["1", "2"]);
    home.run_on(qemu, &["cases"]).expect(1);
    assert_eq!(home.results().cases(), ["1", "2", "3"]);
}

fn two_jobs_run_two_cases_at_the_same_time() {
    let qemu = qemu(7);
    let home = Home::new();
    // Each waits for the other one.
    let meet = |own: &str, other: &str| {
        format!(
            "- exec: {{sh: \"cd {{{{env.HERE}}}}; touch {own}; until test -e {other}; do sleep 0.05; done\"}}\n  timeout: 10m"
        )
    };
    let (one, other) = (meet("x", "y"), meet("y", "x"));
    write(&home, &[("1", &one), ("2", &other)]);
    home.run_on(qemu, &["cases", "-j", "2"]).expect(0);
    assert_eq!(home.results().cases(), ["1", "2"]);
}

fn artifacts_are_kept_as_the_option_says_and_the_command_line_really_starts() {
    let qemu = qemu(7);
    let home = Home::new();
    let pass = "name: deep/x\nsteps:\n- wait: {vm: a, ticks: 2}";
    write(
        &home,
        &[("pass", pass), ("fail", "name: deep\nsteps:\n- wait: {vm: a, ticks: 1}\n- exec: {sh: exit 1}")],
    );
    for (keep, kept) in [("never", [false, false]), ("on-failure", [true, false]), ("always", [true, true])] {
        let reports = home.path("reports");
        let _ = std::fs::remove_dir_all(&reports);
        home.run_on(qemu, &["cases", "--keep", keep]).expect(1);
        let told = home.results();
        let artifacts = ["deep", "deep/x"].map(|name| told.case(name).artifacts().is_some());
        let there = ["deep", "deep/x"].map(|name| reports.join(name).join("scenario.yaml").exists());
        assert_eq!((artifacts, there), (kept, kept), "{keep}");
    }
    let folder = home.path("reports/deep/x");
    let files: Vec<String> = common::names(&folder).into_iter().collect();
    assert_eq!(
        files,
        ["a.command.sh", "a.qmp.jsonl", "a.serial.log", "a.stderr.log", "a.ticker.img", "scenario.yaml"]
    );
    let serial = home.read("reports/deep/x/a.serial.log");
    assert!(serial.starts_with("ready ") && serial.contains("\ntick "), "{serial}");
    for line in home.read("reports/deep/x/a.qmp.jsonl").lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(home.run(&["list", "reports/deep/x/scenario.yaml"]).expect(0).stdout, "deep/x\n");

    let mut parse = home.command("sh");
    parse.args(["-n", "reports/deep/x/a.command.sh"]);
    home.finish(parse).expect(0);
    let mut start = home.command("sh");
    start.arg("a.command.sh").current_dir(&folder).stdout(Stdio::null());
    let child = home.spawn(start);
    // The socket exists as soon as QEMU listens; a client that connects then gets a reply.
    let monitor = folder.join("a.qmp");
    let connect = || std::os::unix::net::UnixStream::connect(&monitor).ok();
    let mut monitor = wait_until("the monitor", connect, || home.read("tmp.stderr"));
    std::io::Write::write_all(
        &mut monitor,
        b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"quit\"}\n",
    )
    .unwrap();
    home.ended(child).expect(0);
}

fn a_guest_moves_to_a_vm_that_waits_for_it() {
    let vms = format!("vms: {{a: {VM}, b: {{like: a, incoming: defer}}}}\nsteps:\n");
    let end = "\n- wait: {vm: [a, b], migration: completed}\n- wait: {vm: a, status: postmigrate}\n- wait: {vm: b, status: running}\n\
               - wait: {vm: b, ticks: 2}\n- check: {vm: b, progress: kept}\n- check: {vm: b, memory: consistent}\n- quit: [a, b]";
    let begin = format!("{vms}- wait: {{vm: a, ticks: 1}}\n- migrate: ");
    let tcp = format!(
        "{begin}{{from: a, to: b}}\n- exec: {{sh: \"test {{{{run.vm.b.address}}}} != tcp:127.0.0.1:0\"}}{end}"
    );
    let unix = format!("{begin}{{from: a, to: b, listen: \"unix:{{{{case.dir}}}}/m\"}}{end}");
    let uri = format!(
        "vms: {{a: {VM}, b: {{like: a, incoming: \"unix:{{{{case.dir}}}}/n\"}}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n- migrate: {{from: a, to: b}}{end}"
    );
    let nobody = format!("{begin}{{from: a, uri: \"unix:/no/such/socket\"}}\n  expect_error: '.'");
    let failed = format!(
        "{begin}{{from: a, uri: \"exec:exit 1\"}}\n- wait: {{vm: a, migration: completed}}\n  timeout: 10m"
    );
    // It may fail before or after the step that starts it has ended.
    let again = "\n- repeat: {times: 20, steps: [{migrate: {from: a, uri: \"exec:exit 1\"}}, {wait: {vm: a, migration: failed}}]}";
    let is_to_fail = format!(
        "{begin}{{from: a, uri: \"exec:exit 1\"}}\n- wait: {{vm: a, migration: failed}}{again}\n- wait: {{vm: a, ticks: 1}}"
    );
    let killed = format!(
        "{begin}{{from: a, to: b}}\n- signal: {{vm: b, send: KILL}}\n- wait: {{vm: a, migration: [failed, completed]}}\n- wait: {{vm: b, exit: {{signal: KILL}}}}"
    );
    run(
        &[
            ("tcp", &tcp, Pass, ""),
            ("unix", &unix, Pass, ""),
            ("uri", &uri, Pass, ""),
            ("failed", &failed, Fail, "^the migration (failed, according to VM `a`|of `a` is failed)"),
            ("is_to_fail", &is_to_fail, Pass, ""),
            ("killed", &killed, Pass, ""),
            (
                "nobody",
                &nobody.replace(
                    "\n  expect_error: '.'",
                    "\n- wait: {vm: a, migration: completed}\n  timeout: 10m",
                ),
                Fail,
                "fail|refused",
            ),
        ],
        &[],
    );
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(what_a_step_finds_is_there_for_the_steps_after_it, Qemu(7)),
            once!(a_host_process_counts_by_how_it_ends, Qemu(7)),
            once!(a_step_that_must_fail_fails_as_it_says_or_fails_the_case, Qemu(7)),
            once!(when_decides_whether_a_step_runs, Qemu(7)),
            once!(vms_are_started_stopped_and_ended_as_the_steps_say, Qemu(7)),
            once!(a_death_that_nobody_asked_for_ends_the_case_at_once_and_is_the_cause, Qemu(7)),
            once!(waits_are_met_by_what_they_name_and_say_what_they_saw_instead, Qemu(7)),
            once!(checks_hold_or_say_what_is_there_instead, Qemu(7)),
            once!(a_guest_whose_memory_is_overwritten_ends_the_case_by_its_own_report, Qemu(7)),
            once!(a_guest_whose_memory_could_not_be_saved_goes_on, Qemu(7)),
            once!(finally_runs_whatever_happened_and_its_failure_counts, Qemu(7)),
            once!(hooks_used_files_and_loops_stand_for_their_steps, Qemu(7)),
            once!(a_loop_looks_once_a_round_and_ends_at_its_deadline, Qemu(7)),
            once!(deadlines_are_those_of_the_step_and_the_case_times_slow, Qemu(7)),
            once!(a_known_issue_and_a_negative_control_excuse_their_own_failure_only, Qemu(7)),
            once!(fail_fast_ends_the_run_with_the_first_bad_case, Qemu(7)),
            once!(two_jobs_run_two_cases_at_the_same_time, Qemu(7)),
            once!(artifacts_are_kept_as_the_option_says_and_the_command_line_really_starts, Qemu(7)),
            once!(a_guest_moves_to_a_vm_that_waits_for_it, Qemu(7)),
        ],
    )
}
