//! Ports that other programs take.

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_vm::event::Verdict;

use super::run;
use crate::common::{Home, Results, qemu};

/// Runs a case, and listens on its reserved port before its QEMU does, in the first `times` attempts. The case writes
/// its port to a file, and continues when that is removed.
pub(super) fn run_with_taken_ports(times: usize) -> Results {
    let qemu = qemu(7);
    let home = Home::new();
    home.write(
        "case.yaml",
        "name: taken\nports: [nbd]\nvms: {vm: {guest: none, machine: q35}}\nsteps:\n\
         - exec: {sh: 'cd \"{{env.HERE}}\" && echo {{port.nbd}} > asked && mv asked port && while [ -e port ]; do sleep 0.05; done'}\n\
         - qmp: {vm: vm, execute: nbd-server-start, arguments: {addr: {type: inet, data: {host: 127.0.0.1, port: '{{text port.nbd}}'}}}}\n",
    );
    let path = qemu.path.display().to_string();
    let (asked, over) = (home.path("port"), AtomicBool::new(false));
    let taker = || {
        let mut taken = Vec::new();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            let Ok(port) = std::fs::read_to_string(&asked) else { continue };
            if taken.len() < times {
                taken.push(TcpListener::bind(("127.0.0.1", port.trim().parse().unwrap())).unwrap());
            }
            std::fs::remove_file(&asked).unwrap();
        }
    };
    let ran = std::thread::scope(|scope| {
        scope.spawn(taker);
        let run = home.lockstep(&["run", "case.yaml", "--accel", "tcg", "--qemu", &path]);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| home.finish(run)));
        over.store(true, Ordering::Relaxed);
        ran.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    });
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    home.assert_nothing_is_left();
    home.results()
}

pub(super) fn a_case_restarts_with_new_ports_if_another_program_took_one() {
    let results = run_with_taken_ports(2);
    let case = results.case("taken");
    assert_eq!((case.verdict(), case.reason()), (Verdict::Pass, None));
    let restarts = results.notes().iter().filter(|note| note.contains("reserved as `nbd`")).count();
    assert_eq!(restarts, 2, "{:?}", results.notes());
}

pub(super) fn a_case_fails_if_its_ports_are_taken_each_time() {
    let results = run_with_taken_ports(usize::MAX);
    let case = results.case("taken");
    assert_eq!(case.verdict(), Verdict::Fail);
    let reason = case.reason().unwrap_or_default();
    assert!(reason.contains("Address already in use"), "{reason}");
    assert_eq!(results.notes().iter().filter(|note| note.contains("another program took port")).count(), 3);
}

pub(super) fn a_case_that_uses_one_port_twice_does_not_restart() {
    let twice = "ports: [a]\nvms: {vm: {guest: none, machine: q35}, other: {like: vm}}\nsteps:\n\
                 - qmp: {vm: [vm, other], execute: nbd-server-start, arguments: {addr: {type: inet, data: {host: 127.0.0.1, port: '{{text port.a}}'}}}}\n";
    let (_, results) = run(&[("twice", twice, Verdict::Fail, "Address already in use")]);
    assert!(results.notes().is_empty(), "{:?}", results.notes());
}
