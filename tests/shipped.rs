//! All shipped scenarios, on every available QEMU.

mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use common::harness::{self, Need, each, once};
use common::{Home, Qemu, guests, qemus};
use lockstep_vm::event::Verdict;

/// The failovers of QEMU's own test, which must work from 11.0 on.
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

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
/// Long random cases are excluded.
const NOT_FOR_LONG: [&str; 2] = ["--tag", "!soak"];
/// The time limit for the others on one QEMU; ten minutes on an idle machine.
const ALL_OF_THEM: Duration = Duration::from_secs(50 * 60);

/// One at a time: each has two jobs, and known issues show by a deadline that passes.
static TURN: Mutex<()> = Mutex::new(());

/// Whether a case is skipped for lack of KVM; another test runs these with it.
fn wants_kvm(reason: &str) -> bool {
    ["but `--accel tcg` was given", "needs accelerator kvm", "needs KVM"]
        .iter()
        .any(|part| reason.contains(part))
}

/// Lists the cases that cannot run on this machine at the end of `make test`: their number per reason.
fn left_out(qemu: &Qemu, skips: &[&str]) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in skips {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        let what = format!("{count} shipped cases on QEMU {}", qemu.version);
        match reason {
            _ if reason.contains("needs the Linux guest") => harness::left_out(Need::Guest, &what, reason),
            _ if reason.contains("needs `qemu-img`") => harness::left_out(Need::QemuImg, &what, reason),
            _ if wants_kvm(reason) => {}
            _ => harness::not_run(&what, reason),
        }
    }
}

/// What a run printed, without the lines about cases that are as expected: some hundred, before the few that matter.
fn failures(stdout: &str) -> String {
    let as_expected =
        |line: &&str| ["PASS ", "NOTE ", "SKIP ", "XFAIL "].iter().any(|word| line.starts_with(word));
    stdout.lines().filter(|line| !as_expected(line)).fold(String::new(), |text, line| text + line + "\n")
}

fn every_shipped_scenario_does_on_every_qemu_what_it_is_to_do(qemu: &Qemu) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let guests = guests();
    let has_guest = guests.join("vmlinuz").exists();
    let guests = guests.display().to_string();
    let home = Home::patient(ALL_OF_THEM);
    // Known issues show by a deadline that passes, so longer deadlines take longer.
    let options = ["-j", "2", "--slow", "2", "--guests", &guests];
    let ran = home.run_on(qemu, &[&[SCENARIOS], &NOT_FOR_LONG[..], &options].concat());
    assert_eq!(ran.code, Some(0), "QEMU {}:\n{}{}", qemu.version, failures(&ran.stdout), ran.stderr);
    let told = home.results();
    let with_kind = |(name, verdict, reason): (String, Verdict, Option<String>)| {
        let is_control = told.case(&name).file().contains("/controls/");
        (name, verdict, reason, is_control)
    };
    let verdicts: Vec<_> = told.verdicts().into_iter().map(with_kind).collect();
    let count = |wanted: Verdict| verdicts.iter().filter(|(_, verdict, ..)| *verdict == wanted).count();
    eprintln!(
        "QEMU {}: {} cases, {} passed, {} skipped",
        qemu.version,
        verdicts.len(),
        count(Verdict::Pass),
        count(Verdict::Skip)
    );
    let mut names: Vec<&str> = verdicts.iter().map(|(name, ..)| name.as_str()).collect();
    let listed = home.run(&[&["list", SCENARIOS], &NOT_FOR_LONG[..]].concat()).expect(0).stdout;
    let mut listed: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(names, listed, "every case has a verdict");
    for (name, verdict, reason, _) in &verdicts {
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
    if qemus().first() == Some(qemu) {
        let skips = verdicts.iter().filter(|(_, verdict, ..)| *verdict == Verdict::Skip);
        let skips: Vec<_> = skips.filter_map(|(.., reason, _)| reason.as_deref()).collect();
        left_out(qemu, &skips);
    }
    if qemu.version.major >= 11 {
        let of = |name: &str| {
            let found = verdicts.iter().find(|(case, ..)| case == name);
            found.unwrap_or_else(|| panic!("no case {name}")).1
        };
        let verdicts_of_eight = FAILOVERS.map(|name| (name, of(name)));
        // QEMU may lose a race, as declared in a known issue; hardly twice in eight.
        let lost = verdicts_of_eight.iter().filter(|(_, verdict)| *verdict == Verdict::Xfail).count();
        let sound = |verdict| matches!(verdict, Verdict::Pass | Verdict::Xfail);
        assert!(
            lost < 3 && verdicts_of_eight.iter().all(|(_, verdict)| sound(*verdict)),
            "{verdicts_of_eight:?}"
        );
        // None may be skipped, except for lack of the guest, of `qemu-img`, or of KVM (which has a test below).
        let lacks = |reason: &Option<String>| {
            let reason = reason.as_deref().unwrap_or_default();
            !has_guest && reason.contains("needs the Linux guest")
                || reason.contains("needs `qemu-img`")
                || wants_kvm(reason)
        };
        let controls = || verdicts.iter().filter(|(.., is_control)| *is_control);
        let unproven: Vec<_> = controls()
            .filter(|(_, verdict, reason, _)| {
                *verdict != Verdict::Pass && !(*verdict == Verdict::Skip && lacks(reason))
            })
            .collect();
        assert!(controls().count() > 50 && unproven.is_empty(), "{unproven:?}");
    }
    home.assert_nothing_is_left();
}

fn what_needs_kvm_does_what_it_is_to_do_where_there_is_kvm() {
    let qemu = common::qemu(0);
    let home = Home::new();
    let path = qemu.path.display().to_string();
    let options = ["--tag", "kvm", "--accel", "kvm", "--qemu", &path, "--slow", "2"];
    let ran = home.run(&[&["run", SCENARIOS], &options[..]].concat());
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let verdicts = home.results().verdicts();
    assert!(verdicts.len() >= 5, "{verdicts:?}");
    for (name, verdict, reason) in &verdicts {
        match verdict {
            Verdict::Pass => {}
            // Without KVM, without a dirty ring, or with a QEMU that lacks the feature.
            Verdict::Skip => harness::not_run(name, reason.as_deref().unwrap_or_default()),
            _ => panic!("{name}: {verdict}, {reason:?}"),
        }
    }
    home.assert_nothing_is_left();
}

fn a_guest_moves_from_each_qemu_to_the_next_one_and_back() {
    let home = Home::new();
    for pair in qemus().windows(2) {
        let [new, old] = pair else { unreachable!("windows of two") };
        let name = |name: &str, qemu: &common::Qemu| format!("{name}={}", qemu.path.display());
        let (old, new) = (name("old", old), name("new", new));
        let file = format!("{SCENARIOS}/migration/cross-version.yaml");
        let ran = home
            .run(&["run", &file, "--accel", "tcg", "--qemu", &old, "--qemu", &new, "-j", "2", "--slow", "2"]);
        let ran = ran.expect(0);
        for (case, verdict, reason) in home.results().verdicts() {
            assert_eq!(verdict, Verdict::Pass, "{case}: {reason:?}\n{}", ran.stdout);
        }
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(every_shipped_scenario_does_on_every_qemu_what_it_is_to_do),
            once!(what_needs_kvm_does_what_it_is_to_do_where_there_is_kvm, Qemu(0), Kvm),
            once!(a_guest_moves_from_each_qemu_to_the_next_one_and_back, TwoQemus),
        ],
    )
}
