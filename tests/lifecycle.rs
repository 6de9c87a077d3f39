//! However a run ends, nothing is left behind: no process, no directory, no file outside of the reports.

mod common;

use std::process::{Child, ExitCode};

use common::harness::{self, once};
use common::{Home, Qemu, Ran, VM, names, qemu, signal, wait_until};
use lockstep_vm::event::{Verdict, What};
use rustix::process::{Pid, Signal};

/// A scenario with a process that has child processes, and with `last` as its last step.
fn home(last: &str) -> Home {
    let home = Home::new();
    home.write(
        "case.yaml",
        &format!(
            r#"
name: life/case
timeout: 1h
vms: {{a: {VM}, b: {VM}}}
steps:
- wait: {{vm: [a, b], ticks: 1}}
- exec: {{background: family, sh: "sleep 1000 & sleep 1000"}}
- exec: {{sh: "touch {{{{env.HERE}}}}/reached"}}
- {last}
"#
        ),
    );
    home
}

/// What may stay: the scenario, the directory for temporary files (empty), the reports, and what a test names.
fn assert_nothing_is_left(home: &Home, but: &[&str]) {
    home.assert_nothing_is_left();
    let mut expected: Vec<&str> = ["case.yaml", "reached", "reports", "tmp"].to_vec();
    expected.extend(but);
    expected.sort_unstable();
    assert_eq!(home.files().into_iter().collect::<Vec<_>>(), expected);
}

/// Starts a run and waits until it is in its last step.
fn started(home: &Home, qemu: &Qemu) -> Child {
    let path = qemu.path.display().to_string();
    let child = home.spawn(home.lockstep(&["run", "case.yaml", "--accel", "tcg", "--qemu", &path]));
    reached(home, "reached");
    let family = if home.read("case.yaml").contains("family") { 2 } else { 0 };
    let sleeping = || home.alive().iter().filter(|(_, line)| line == "sleep 1000 ").count() == family;
    wait_until("the family to sleep", || sleeping().then_some(()), || format!("{:?}", home.alive()));
    let alive = home.alive();
    assert_eq!(alive.iter().filter(|(_, line)| line.contains(" -chardev ")).count(), 2, "{alive:?}");
    child
}

fn reached(home: &Home, name: &str) {
    let said = || format!("{:?} and {}", home.alive(), home.read("tmp.stdout"));
    wait_until(name, || home.path(name).exists().then_some(()), said);
}

/// The reports mention the interrupt, and are complete.
fn assert_interrupted(home: &Home, by: &str) {
    let told = home.results();
    assert_eq!(told.case("life/case").verdict(), Verdict::Error);
    assert_eq!(told.case("life/case").reason().unwrap(), format!("interrupted by {by}"));
    assert!(matches!(told.events.last().unwrap().what, What::RunEnded { interrupted: true, .. }));
    let junit = home.read("reports/junit.xml");
    let document = roxmltree::Document::parse(&junit).unwrap();
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(case.attribute("name"), Some("life/case"));
    let error = case.children().find(|node| node.has_tag_name("error")).unwrap();
    assert_eq!(error.attribute("message"), Some(format!("interrupted by {by}").as_str()));
}

const FOR_EVER: &str = "wait: {vm: a, event: POWERDOWN}\n  timeout: 1h";

fn a_passed_case_leaves_nothing() {
    let qemu = qemu(5);
    let home = home("wait: {vm: a, ticks: 1}");
    home.run_on(qemu, &["case.yaml"]).expect(0);
    assert_nothing_is_left(&home, &[]);
    assert_eq!(
        names(&home.path("reports")).into_iter().collect::<Vec<_>>(),
        ["durations.json", "events.jsonl", "index.html", "junit.xml"]
    );
}

fn a_failed_case_leaves_only_its_artifacts() {
    let qemu = qemu(5);
    let home = home("check: {equal: [1, 2]}");
    home.run_on(qemu, &["case.yaml"]).expect(1);
    assert_nothing_is_left(&home, &[]);
    assert_eq!(
        names(&home.path("reports")).into_iter().collect::<Vec<_>>(),
        ["durations.json", "events.jsonl", "index.html", "junit.xml", "life"]
    );
}

fn a_case_with_frozen_qemus_leaves_nothing() {
    let qemu = qemu(5);
    let home = home("signal: {vm: [a, b], send: STOP}");
    home.run_on(qemu, &["case.yaml"]).expect(0);
    assert_nothing_is_left(&home, &[]);
}

fn a_signal_ends_the_run_cleanly_with_complete_reports() {
    let qemu = qemu(5);
    for (number, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")] {
        let home = home(&format!("{FOR_EVER}\nfinally:\n- exec: {{sh: \"touch {{{{env.HERE}}}}/finally\"}}"));
        let child = started(&home, qemu);
        signal(&child, number);
        let ran = home.ended(child).expect(130);
        assert!(ran.stdout.contains(&format!("interrupted by {name}")), "{ran:?}");
        assert_interrupted(&home, name);
        assert_nothing_is_left(&home, &["finally"]);
    }
}

fn a_signal_ends_a_loop_whose_steps_are_all_skipped() {
    let qemu = qemu(5);
    let home = home(
        "timeout: 1h\n  repeat:\n    until: {vm: a, status: paused}\n    steps:\n    - when: \"{{run.captures.no}}\"\n      \
         sleep: 1s",
    );
    let text = home.read("case.yaml").replace("steps:\n- wait", "steps:\n- set: {no: false}\n- wait");
    home.write("case.yaml", &text);
    let child = started(&home, qemu);
    signal(&child, Signal::INT);
    home.ended(child).expect(130);
    assert_interrupted(&home, "SIGINT");
    assert_nothing_is_left(&home, &[]);
}

fn a_signal_ends_parallel_cases_and_starts_no_others() {
    let qemu = qemu(5);
    let home = home(FOR_EVER);
    for name in ["second", "third"] {
        home.write(&format!("{name}.yaml"), &home.read("case.yaml").replace("life/case", name));
    }
    let path = qemu.path.display().to_string();
    let files = ["case.yaml", "second.yaml", "third.yaml"];
    let arguments = [&["run", "-j", "2", "--accel", "tcg", "--qemu", &path], &files[..]].concat();
    let child = home.spawn(home.lockstep(&arguments));
    let sleeping = || home.alive().iter().filter(|(_, line)| line == "sleep 1000 ").count() == 4;
    wait_until("two cases to run", || sleeping().then_some(()), || format!("{:?}", home.alive()));
    signal(&child, Signal::INT);
    home.ended(child).expect(130);
    assert_eq!(home.results().cases(), ["life/case", "second"]);
    assert!(home.results().verdicts().iter().all(|(_, verdict, _)| *verdict == Verdict::Error));
    home.assert_nothing_is_left();
}

fn a_second_signal_ends_the_run_at_once_and_leaves_nothing() {
    let qemu = qemu(5);
    let home = home(&format!(
        "{FOR_EVER}\nfinally:\n- exec: {{sh: \"touch {{{{env.HERE}}}}/finally; sleep 1000\"}}\n  timeout: 1h"
    ));
    let child = started(&home, qemu);
    signal(&child, Signal::INT);
    reached(&home, "finally");
    signal(&child, Signal::INT);
    home.ended(child).expect(130);
    assert_nothing_is_left(&home, &["finally"]);
}

fn nothing_outlives_a_runner_that_is_killed() {
    let qemu = qemu(5);
    let home = home(FOR_EVER);
    let child = started(&home, qemu);
    signal(&child, Signal::KILL);
    let ran: Ran = home.ended(child);
    assert_eq!(ran.signal, Some(Signal::KILL.as_raw()));
    assert_nothing_is_left(&home, &[]);
}

fn the_next_run_removes_remains_of_a_killed_runner_and_janitor() {
    let qemu = qemu(5);
    let home = Home::new();
    home.write(
        "case.yaml",
        &format!("vms: {{a: {VM}, b: {VM}}}\nsteps:\n- exec: {{sh: \"touch {{{{env.HERE}}}}/reached\"}}\n- {FOR_EVER}\n"),
    );
    home.write("short.yaml", &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    let child = started(&home, qemu);
    let janitor = home.alive().into_iter().find(|(_, line)| line.contains("lockstep-janitor")).unwrap().0;
    rustix::process::kill_process(Pid::from_raw(janitor).unwrap(), Signal::KILL).unwrap();
    signal(&child, Signal::KILL);
    home.ended(child);
    // The kernel has killed the QEMUs with the runner; the directory is still there.
    wait_until(
        "the QEMUs to end",
        || home.alive().is_empty().then_some(()),
        || format!("{:?}", home.alive()),
    );
    assert_eq!(names(&home.path("tmp")).len(), 1);
    home.run_on(qemu, &["short.yaml"]).expect(0);
    home.assert_nothing_is_left();
}

fn a_run_keeps_the_directory_of_another_active_run() {
    let qemu = qemu(5);
    let home = home(FOR_EVER);
    home.write("short.yaml", &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    let child = started(&home, qemu);
    let before = names(&home.path("tmp"));
    let path = qemu.path.display().to_string();
    let mut other =
        home.lockstep(&["run", "short.yaml", "--accel", "tcg", "--qemu", &path, "--reports", "other"]);
    assert!(other.output().unwrap().status.success());
    assert_eq!(names(&home.path("tmp")), before);
    signal(&child, Signal::INT);
    home.ended(child).expect(130);
    home.assert_nothing_is_left();
}

fn a_signal_ends_a_case_in_each_of_its_phases() {
    let qemu = qemu(11);
    let path = qemu.path.display().to_string();
    // What the last step waits for, and what of the case's processes shows that it has started.
    let phases = [
        ("a VM does not answer at its start", "- start: c\n  timeout: 1h", "addr.type=fd"),
        ("memory does not change", "- wait: {vm: a, memory: {address: 16M, equals: 1}}\n  timeout: 1h", ""),
        (
            "a migration is under way",
            "- parameters: {vm: a, set: {max-bandwidth: 100000}}\n- migrate: {from: a, to: b}\n\
             - wait: {vm: a, migration: completed}\n  timeout: 1h",
            "",
        ),
        ("another QEMU does not greet", "- connect: a\n  timeout: 1h", ""),
        ("a program runs", "- exec: {sh: \"sleep 1001\"}\n  timeout: 1h", "sleep 1001"),
        ("a socket gets no more", "- fd: {vm: b, name: s, socket: s}\n- sleep: 1h\n  timeout: 2h", ""),
    ];
    for (phase, last, shows) in phases {
        let home = Home::new();
        home.write(
            "case.yaml",
            &format!(
                r#"
name: life/case
timeout: 3h
vms:
  a: {VM}
  b: {{like: a, incoming: defer}}
  c:
    like: b
    start: false
    fds: {{cpr: {{listen: cpr.sock}}}}
    args: [-incoming, "cpr,addr.transport=socket,addr.type=fd,addr.str={{{{self.fd.cpr}}}}"]
credentials: {{shared: {{psk: {{}}}}}}
steps:
- wait: {{vm: a, ticks: 1}}
- exec: {{sh: "test -d {{{{credential.shared}}}} && touch {{{{env.HERE}}}}/reached"}}
{last}
"#
            ),
        );
        let child = home.spawn(home.lockstep(&["run", "case.yaml", "--accel", "tcg", "--qemu", &path]));
        reached(&home, "reached");
        let there = || home.alive().iter().any(|(_, line)| line.contains(shows)).then_some(());
        wait_until(phase, there, || format!("{:?} and {}", home.alive(), home.read("tmp.stdout")));
        signal(&child, Signal::INT);
        let ran = home.ended(child);
        assert_ne!(ran.code, Some(0), "{phase}: {}{}", ran.stdout, ran.stderr);
        assert_interrupted(&home, "SIGINT");
        home.assert_nothing_is_left();
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_passed_case_leaves_nothing, Qemu(5)),
            once!(a_failed_case_leaves_only_its_artifacts, Qemu(5)),
            once!(a_case_with_frozen_qemus_leaves_nothing, Qemu(5)),
            once!(a_signal_ends_the_run_cleanly_with_complete_reports, Qemu(5)),
            once!(a_signal_ends_a_loop_whose_steps_are_all_skipped, Qemu(5)),
            once!(a_signal_ends_parallel_cases_and_starts_no_others, Qemu(5)),
            once!(a_second_signal_ends_the_run_at_once_and_leaves_nothing, Qemu(5)),
            once!(nothing_outlives_a_runner_that_is_killed, Qemu(5)),
            once!(the_next_run_removes_remains_of_a_killed_runner_and_janitor, Qemu(5)),
            once!(a_run_keeps_the_directory_of_another_active_run, Qemu(5)),
            once!(a_signal_ends_a_case_in_each_of_its_phases, Qemu(11)),
        ],
    )
}
