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
/// How long the cases take on QEMU 11.1, for their order.
const DURATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/durations.json");
/// Runs everything on every QEMU: `make shipped`.
const ALL: &str = "LOCKSTEP_TEST_ALL";
/// The time limit on one QEMU; the default selection takes ten minutes on an idle machine.
const TIME_LIMIT: Duration = Duration::from_secs(50 * 60);
const TIME_LIMIT_OF_ALL: Duration = Duration::from_secs(3 * 60 * 60);

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

/// A shipped case and its verdict.
#[derive(Debug)]
struct Outcome {
    case: String,
    verdict: Verdict,
    reason: String,
    is_control: bool,
}

fn each_shipped_scenario_has_the_expected_verdict_on_each_qemu(qemu: &Qemu) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runs_all = std::env::var_os(ALL).is_some();
    let home = Home::patient(if runs_all { TIME_LIMIT_OF_ALL } else { TIME_LIMIT });
    let words = selection(qemu, runs_all);
    let selection: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcomes = run_all(&home, qemu, &selection);
    let count = |wanted: Verdict| outcomes.iter().filter(|outcome| outcome.verdict == wanted).count();
    let (all, passed, skipped) = (outcomes.len(), count(Verdict::Pass), count(Verdict::Skip));
    eprintln!("QEMU {}: {all} cases, {passed} passed, {skipped} skipped", qemu.version);
    let mut names: Vec<&str> = outcomes.iter().map(|outcome| outcome.case.as_str()).collect();
    let listed = home.run(&[&["list"], &selection[..]].concat()).expect(0).stdout;
    let mut listed: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(names, listed, "every case has a verdict");
    outcomes.iter().for_each(assert_expected);
    if qemus().first() == Some(qemu) {
        let skips = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Skip);
        left_out(qemu, &skips.map(|outcome| outcome.reason.as_str()).collect::<Vec<_>>());
    }
    if qemu.version.major >= 11 {
        assert_failovers_pass(&outcomes);
        assert_controls_pass(&outcomes);
    }
    home.assert_nothing_is_left();
}

/// What runs on a QEMU. By default, without the cases tagged `soak`; and on the older QEMUs without the controls and the
/// guests of one's own, which prove the checks of Lockstep and its words, and are the same there. Each of the older QEMUs
/// has a part of the rest.
fn selection(qemu: &Qemu, runs_all: bool) -> Vec<String> {
    let mut words = ["--durations", DURATIONS].map(str::to_owned).to_vec();
    let number = qemus().iter().position(|one| one == qemu).unwrap();
    if runs_all || number == 0 {
        words.push(SCENARIOS.to_owned());
    } else {
        words.extend(["colo", "migration", "templates"].map(|name| format!("{SCENARIOS}/{name}")));
        let folders = std::fs::read_dir(SCENARIOS).unwrap().map(Result::unwrap);
        let folders = folders.filter(|entry| entry.path().is_dir()).count();
        assert_eq!(folders, 5, "another folder of scenarios: should it run on the older QEMUs?");
        words.extend(["--shard".to_owned(), format!("{number}/{}", qemus().len() - 1)]);
    }
    if !runs_all {
        words.extend(["--tag", "!soak"].map(str::to_owned));
    }
    words
}

/// Runs the selected scenarios.
fn run_all(home: &Home, qemu: &Qemu, selection: &[&str]) -> Vec<Outcome> {
    let guests = guests().display().to_string();
    // Known issues show by a deadline that passes, so longer deadlines take longer.
    let options = ["-j", "3", "--slow", "2", "--guests", &guests];
    let ran = home.run_on(qemu, &[selection, &options].concat());
    assert_eq!(ran.code, Some(0), "QEMU {}:\n{}{}", qemu.version, failures(&ran.stdout), ran.stderr);
    let results = home.results();
    let outcome = |(case, verdict, reason): (String, Verdict, Option<String>)| {
        let is_control = results.case(&case).file().contains("/controls/");
        Outcome { case, verdict, reason: reason.unwrap_or_default(), is_control }
    };
    results.verdicts().into_iter().map(outcome).collect()
}

/// A case passes, or it is skipped or fails as expected for a reason that it states.
fn assert_expected(Outcome { case, verdict, reason, .. }: &Outcome) {
    match verdict {
        Verdict::Pass => {}
        Verdict::Skip | Verdict::Xfail => {
            assert!(!reason.is_empty(), "{case}: {verdict} without a reason");
            eprintln!("  {verdict:5} {case}: {reason}");
            assert!(!case.starts_with("controls/oracles"), "{case} must run on any QEMU");
        }
        Verdict::Fail | Verdict::Error | Verdict::Flaky => panic!("{case}: {verdict}: {reason}"),
    }
}

/// QEMU may lose a race, as declared in a known issue; hardly twice in eight.
fn assert_failovers_pass(outcomes: &[Outcome]) {
    let verdicts = FAILOVERS.map(|name| {
        let found = outcomes.iter().find(|outcome| outcome.case == name);
        (name, found.unwrap_or_else(|| panic!("no case {name}")).verdict)
    });
    let lost = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Xfail).count();
    let sound = |verdict| matches!(verdict, Verdict::Pass | Verdict::Xfail);
    assert!(lost < 3 && verdicts.iter().all(|(_, verdict)| sound(*verdict)), "{verdicts:?}");
}

/// No control may be skipped, except for lack of a guest, of `qemu-img`, or of KVM (which has a test below).
fn assert_controls_pass(outcomes: &[Outcome]) {
    let has_guest = guests().join("vmlinuz").exists();
    let lacks = |reason: &str| {
        !has_guest && reason.contains("needs the Linux guest")
            || !guests().join("debian/disk.img").exists() && reason.contains("/debian/")
            || reason.contains("needs `qemu-img`")
            || wants_kvm(reason)
    };
    let controls: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_control).collect();
    let proven = |Outcome { verdict, reason, .. }: &Outcome| {
        *verdict == Verdict::Pass || *verdict == Verdict::Skip && lacks(reason)
    };
    let unproven: Vec<_> = controls.iter().filter(|outcome| !proven(outcome)).collect();
    assert!(controls.len() > 50 && unproven.is_empty(), "{unproven:?}");
}

fn each_scenario_that_needs_kvm_passes_with_kvm() {
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

fn a_guest_migrates_between_consecutive_qemu_versions_and_back() {
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
            each!(each_shipped_scenario_has_the_expected_verdict_on_each_qemu),
            once!(each_scenario_that_needs_kvm_passes_with_kvm, Qemu(0), Kvm),
            once!(a_guest_migrates_between_consecutive_qemu_versions_and_back, TwoQemus),
        ],
    )
}
