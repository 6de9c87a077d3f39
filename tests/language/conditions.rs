//! Waits and checks.

use lockstep_vm::event::Verdict::{Fail, Pass};

use super::run;

/// Each condition, and waits whose deadline expires.
const WAITS: &str = r#"
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
"#;

pub(super) fn a_wait_passes_when_its_condition_holds_or_reports_what_it_saw() {
    run(
        &[
            ("met", WAITS, Pass, ""),
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

/// Checks that hold; the last one fails because the guest's memory is overwritten.
const CHECKS: &str = r#"
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
"#;

pub(super) fn a_check_passes_or_reports_the_actual_value() {
    run(
        &[
            ("hold", CHECKS, Pass, ""),
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

pub(super) fn a_guest_that_finds_wrong_memory_fails_the_case() {
    let (home, results) = run(
        &[(
            "overwritten",
            "timeout: 1h\nsteps:\n- wait: {vm: a, ticks: 1}\n- memory: {vm: a, write: {address: 1032K, size: 4, value: 4000000000}}\n\
             - wait: {vm: a, event: POWERDOWN}\n  timeout: 1h",
            Fail,
            "^VM `a`: .*page 258 ",
        )],
        &[],
    );
    let case = results.case("overwritten");
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

pub(super) fn a_guest_continues_after_a_failed_pmemsave() {
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
