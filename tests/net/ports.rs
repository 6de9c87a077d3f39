//! Ports that other programs take.

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_vm::event::Verdict;

use super::run;
use crate::common::{Home, Results, qemu};

/// A port reserved for a case that another program listens at before a QEMU does. `thefts` is how many times; the
/// runner asks for each port by creating a file, and continues when that is removed.
pub(super) fn a_case_whose_ports_are_stolen(thefts: usize) -> Results {
    let qemu = qemu(7);
    let home = Home::new();
    home.write(
        "case.yaml",
        "name: stolen\nports: [nbd]\nvms: {vm: {guest: none, machine: q35}}\nsteps:\n\
         - exec: {sh: 'cd \"{{env.HERE}}\" && echo {{port.nbd}} > asked && mv asked port && while [ -e port ]; do sleep 0.05; done'}\n\
         - qmp: {vm: vm, execute: nbd-server-start, arguments: {addr: {type: inet, data: {host: 127.0.0.1, port: '{{text port.nbd}}'}}}}\n",
    );
    let path = qemu.path.display().to_string();
    let (asked, over) = (home.path("port"), AtomicBool::new(false));
    let thief = || {
        let mut stolen = Vec::new();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            let Ok(port) = std::fs::read_to_string(&asked) else { continue };
            if stolen.len() < thefts {
                stolen.push(TcpListener::bind(("127.0.0.1", port.trim().parse().unwrap())).unwrap());
            }
            std::fs::remove_file(&asked).unwrap();
        }
    };
    let ran = std::thread::scope(|scope| {
        scope.spawn(thief);
        let run = home.lockstep(&["run", "case.yaml", "--accel", "tcg", "--qemu", &path]);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| home.finish(run)));
        over.store(true, Ordering::Relaxed);
        ran.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    });
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    home.assert_nothing_is_left();
    home.results()
}

pub(super) fn a_case_whose_port_another_program_took_is_begun_anew_with_another_one() {
    let told = a_case_whose_ports_are_stolen(2);
    let case = told.case("stolen");
    assert_eq!((case.verdict(), case.reason()), (Verdict::Pass, None));
    let begun = told.notes().iter().filter(|note| note.contains("reserved as `nbd`")).count();
    assert_eq!(begun, 2, "{:?}", told.notes());
}

pub(super) fn a_case_whose_ports_are_taken_again_and_again_fails_and_says_why() {
    let told = a_case_whose_ports_are_stolen(usize::MAX);
    let case = told.case("stolen");
    assert_eq!(case.verdict(), Verdict::Fail);
    let reason = case.reason().unwrap_or_default();
    assert!(reason.contains("Address already in use"), "{reason}");
    assert_eq!(told.notes().iter().filter(|note| note.contains("another program took port")).count(), 3);
}

pub(super) fn a_case_that_uses_a_port_twice_itself_is_not_begun_anew() {
    let twice = "ports: [a]\nvms: {vm: {guest: none, machine: q35}, other: {like: vm}}\nsteps:\n\
                 - qmp: {vm: [vm, other], execute: nbd-server-start, arguments: {addr: {type: inet, data: {host: 127.0.0.1, port: '{{text port.a}}'}}}}\n";
    let (_, told) = run(&[("twice", twice, Verdict::Fail, "Address already in use")]);
    assert!(told.notes().is_empty(), "{:?}", told.notes());
}
