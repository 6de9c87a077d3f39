//! All scenarios that ship, on every QEMU there is.

mod common;

use common::{Home, qemus, skipped};
use lockstep_vm::event::Verdict;

/// The failovers that QEMU's own test has, and that must work from 11.0 on.
const FAILOVERS: [&str; 8] = [
    "colo/plain/primary_failover",
    "colo/plain/primary_failover_checkpoint",
    "colo/plain/secondary_failover",
    "colo/plain/secondary_failover_checkpoint",
    "colo/multifd/primary_failover",
    "colo/multifd/primary_failover_checkpoint",
    "colo/multifd/secondary_failover",
    "colo/multifd/secondary_failover_checkpoint",
];

#[test]
fn every_shipped_scenario_does_on_every_qemu_what_it_is_to_do() {
    if qemus().is_empty() {
        return skipped::<()>("there is no qemu-system-x86_64 on the PATH or below .qemu")
            .unwrap_or_default();
    }
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    for qemu in qemus() {
        let home = Home::new();
        // Known issues show by a deadline that passes, so patience has its price.
        let ran = home.run_on(qemu, &[scenarios, "-j", "2", "--slow", "2"]).expect(0);
        let summary = ran.stdout.lines().last().unwrap_or_default();
        eprintln!("QEMU {}: {summary}", qemu.version);
        let told = home.told();
        let listed = home.run(&["list", scenarios]).expect(0).stdout;
        let verdicts = told.verdicts();
        let names: Vec<&str> = verdicts.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, listed.lines().collect::<Vec<_>>(), "every case has a verdict");
        for (name, verdict, reason) in &verdicts {
            match verdict {
                Verdict::Pass => {}
                Verdict::Skip | Verdict::Xfail => {
                    let reason = reason.as_deref().unwrap_or_default();
                    assert!(!reason.is_empty(), "{name}: {verdict} without a reason");
                    eprintln!("  {verdict:5} {name}: {reason}");
                    assert!(
                        !name.starts_with("controls/oracles"),
                        "what waits and checks notice, any QEMU shows"
                    );
                }
                Verdict::Fail | Verdict::Error | Verdict::Flaky => {
                    panic!("{name} on QEMU {}: {reason:?}", qemu.version)
                }
            }
        }
        if qemu.version.major >= 11 {
            for name in FAILOVERS {
                // A secondary that takes over in a checkpoint may lose a race of QEMU's.
                let may_lose = name.ends_with("/secondary_failover_checkpoint");
                let verdict = told.case(name).verdict();
                assert!(
                    verdict == Verdict::Pass || may_lose && verdict == Verdict::Xfail,
                    "{name}: {verdict}"
                );
            }
            let controls = verdicts.iter().filter(|(name, ..)| told.case(name).file().contains("/controls/"));
            let unproven: Vec<_> =
                controls.clone().filter(|(_, verdict, _)| *verdict != Verdict::Pass).collect();
            assert!(controls.count() > 10 && unproven.is_empty(), "{unproven:?}");
        }
        home.assert_nothing_is_left();
    }
}
