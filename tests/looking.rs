//! Interactive use: dry runs, and pauses before a step and before a failed case is torn down.

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode, Stdio};

use common::harness::{self, once};
use common::{Home, Qemu, VM, qemu, wait_until};

fn home(steps: &str) -> Home {
    let home = Home::new();
    home.write("case.yaml", &format!("name: look/case\nvms: {{a: {VM}}}\nsteps:\n{steps}"));
    home
}

/// A run whose standard input we control.
fn asked(home: &Home, qemu: &Qemu, option: &str) -> Child {
    let path = qemu.path.display().to_string();
    let mut command = home.lockstep(&["run", "case.yaml", "--accel", "tcg", "--qemu", &path, option]);
    command.stdin(Stdio::piped());
    home.spawn(command)
}

fn prompts(home: &Home, what: &str, count: usize) {
    let seen = || home.read("tmp.stderr");
    wait_until(what, || (seen().matches(what).count() >= count).then_some(()), seen);
}

fn a_dry_run_lists_what_would_run_and_starts_nothing() {
    let qemu = qemu(7);
    let home = home("- exec: {sh: \"touch {{env.HERE}}/started\"}\n- wait: {vm: a, ticks: 1}\n");
    home.write(
        "skipped.yaml",
        &format!("name: look/skipped\nrequires: {{qemu: \">=1000\"}}\nvms: {{a: {VM}}}\nsteps: []\n"),
    );
    let ran = home.run_on(qemu, &["case.yaml", "skipped.yaml", "--dry-run"]).expect(0);
    let version = &qemu.version;
    assert!(ran.stdout.starts_with("run   look/case\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("a: QEMU {version}, ")), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(&format!("skip  look/skipped: needs QEMU >=1000, this is {version}")),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("1 of 2 would run, 1 at a time\n"), "{}", ran.stdout);
    assert!(!home.path("started").exists() && !home.path("reports").exists());
    home.assert_nothing_is_left();
}

fn a_failed_case_pauses_with_a_monitor_until_enter_is_pressed() {
    let qemu = qemu(7);
    let home =
        home("- wait: {vm: a, ticks: 1}\n- check: {vm: a, query: query-status, is: {status: paused}}\n");
    let mut child = asked(&home, qemu, "--pause-on-failure");
    prompts(&home, "Press Enter to stop the VMs", 1);
    let told = home.read("tmp.stderr");
    assert!(told.contains("query-status of `a` does not contain"), "{told}");
    let socket = told.lines().find_map(|line| line.trim().strip_prefix("monitor  nc -U ")).unwrap();
    // Still alive, and others can connect to it.
    let mut monitor = UnixStream::connect(socket).unwrap();
    monitor.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut greeting = [0; 8];
    std::io::Read::read_exact(&mut monitor, &mut greeting).unwrap();
    assert_eq!(&greeting, b"{\"QMP\": ");
    drop(monitor);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    home.ended(child).expect(1);
    home.assert_nothing_is_left();
}

fn step_mode_pauses_between_steps_and_stops_the_deadlines() {
    let qemu = qemu(7);
    let home = home(
        "- wait: {vm: a, ticks: 1}\n- exec: {sh: \"touch {{env.HERE}}/second\"}\n- wait: {vm: a, ticks: 1}\n",
    );
    // Shorter than the pause.
    let text = home.read("case.yaml").replace("name: look/case", "name: look/case\ntimeout: 5s");
    home.write("case.yaml", &text);
    let mut child = asked(&home, qemu, "--step");
    let mut enter = child.stdin.take().unwrap();
    prompts(&home, "press Enter to continue", 1);
    // Time itself is tested: the pause is longer than the case's timeout.
    std::thread::sleep(std::time::Duration::from_secs(6));
    enter.write_all(b"\n").unwrap();
    prompts(&home, "press Enter to continue", 2);
    assert!(!home.path("second").exists(), "it went on without being asked to");
    enter.write_all(b"\n").unwrap();
    prompts(&home, "press Enter to continue", 3);
    assert!(home.path("second").exists());
    drop(enter);
    home.ended(child).expect(0);
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_dry_run_lists_what_would_run_and_starts_nothing, Qemu(7)),
            once!(a_failed_case_pauses_with_a_monitor_until_enter_is_pressed, Qemu(7)),
            once!(step_mode_pauses_between_steps_and_stops_the_deadlines, Qemu(7)),
        ],
    )
}
