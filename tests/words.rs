//! Words of the language for migrations, each in scenarios of its own below `tests/words`: with a QEMU that does what
//! they say, and with controls that pass only where what they break is noticed.

mod common;

use common::{Home, qemus, skipped};

/// The folder of the Linux guest.
fn guests() -> String {
    let given = std::env::var("LOCKSTEP_GUESTS").unwrap_or_else(|_| ".guests".to_owned());
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(given).display().to_string()
}

/// Runs the cases of a file on every QEMU there is. Returns how many passed on the newest one.
fn holds(file: &str) {
    if qemus().is_empty() {
        return skipped::<()>("there is no qemu-system-x86_64 on the PATH or below .qemu")
            .unwrap_or_default();
    }
    let path = format!("{}/tests/words/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    for (number, qemu) in qemus().iter().enumerate() {
        let home = Home::new();
        let ran = home.run_on(qemu, &[&path, "-j", "2", "--slow", "2", "--guests", &guests()]);
        assert_eq!(ran.code, Some(0), "QEMU {}:\n{}{}", qemu.version, ran.stdout, ran.stderr);
        let told = home.told();
        let passed =
            told.verdicts().iter().filter(|case| case.1 == lockstep_vm::event::Verdict::Pass).count();
        assert!(number > 0 || passed > 0, "nothing was run on QEMU {}: {}", qemu.version, ran.stdout);
    }
}

#[test]
fn a_migration_goes_through_a_descriptor_that_was_passed_on() {
    holds("fd");
    holds("fd-control");
}

#[test]
fn migrate_knows_a_destination_that_listens_already() {
    holds("migrate");
    holds("listening");
}

#[test]
fn a_failed_migration_that_was_accepted_has_no_further_effect() {
    holds("accepted");
    holds("accepted-control");
}

#[test]
fn a_background_process_may_end_where_the_scenario_says_so() {
    holds("background");
}

#[test]
fn a_guest_in_trouble_fails_the_case_unless_that_is_expected() {
    if !std::path::Path::new(&guests()).join("vmlinuz").exists() {
        return skipped::<()>("there is no Linux guest; scripts/fetch-guest makes it").unwrap_or_default();
    }
    holds("health");
    holds("health-control");
}

#[test]
fn progress_is_compared_in_colo_and_after_a_takeover_by_plain_commands() {
    let Some(_) = common::qemu(11) else { return };
    holds("colo-progress");
    holds("colo-progress-control");
}

#[test]
fn the_end_of_a_vm_that_takes_in_a_state_as_it_starts_is_left_to_the_next_step() {
    holds("restored");
    holds("restored-control");
}

#[test]
fn a_wait_for_what_can_no_longer_come_fails_at_once() {
    holds("over");
    holds("over-control");
}

#[test]
fn tls_takes_the_credentials_of_the_case_and_refuses_others() {
    holds("tls");
    holds("tls-control");
}

#[test]
fn a_file_is_checked_for_its_size_and_its_bytes() {
    holds("file");
    holds("file-control");
}

#[test]
fn what_a_case_requires_is_tried_out_and_what_is_missing_is_its_skip() {
    holds("requires");
    let Some(qemu) = common::qemu(7) else { return };
    let home = Home::new();
    let path = format!("{}/tests/words/requires-control.yaml", env!("CARGO_MANIFEST_DIR"));
    let ran = home.run_on(qemu, &[&path, "-j", "2"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let reason = |case: &str| {
        let told = home.told();
        let (_, verdict, reason) =
            told.verdicts().into_iter().find(|(name, ..)| name.ends_with(case)).unwrap();
        assert_eq!(verdict, lockstep_vm::event::Verdict::Skip, "{case}");
        reason.unwrap_or_default()
    };
    assert!(reason("parameter").contains("needs the migration parameter `no-such-parameter`"));
    assert!(reason("word").contains("needs `middle-out` for the migration parameter `multifd-compression`"));
    assert!(reason("accel").contains("needs the accelerator kvm; VM `vm` would have tcg"));
    assert!(
        reason("properties").contains("needs `-accel kvm,dirty-ring-size=4096`, and `--accel tcg` was given")
    );
}

#[test]
fn guest_memory_is_waited_for_and_a_forbidden_status_fails_at_once() {
    holds("wait");
    holds("wait-control");
}

#[test]
fn a_guest_that_sleeps_is_migrated_and_goes_on_with_its_count_when_it_wakes_up() {
    holds("suspend");
    holds("suspend-control");
}

#[test]
fn a_guest_leaves_its_vcpu_after_each_page_where_it_is_to() {
    holds("exits");
}

#[test]
fn a_qemu_in_the_place_of_another_is_connected_to_again_and_one_that_waits_for_descriptors_later() {
    holds("connect");
    holds("connect-control");
}

#[test]
fn an_alias_is_the_newest_machine_type_that_two_qemus_have_in_common() {
    let (Some(new), Some(old)) = (qemus().first(), qemus().last()) else { return };
    if new.path == old.path {
        return skipped::<()>("there is only one QEMU").unwrap_or_default();
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let named = |name: &str, qemu: &common::Qemu| format!("{name}={}", qemu.path.display());
    let both = ["--accel", "tcg", "--slow", "2", "--qemu", &named("old", old), "--qemu", &named("new", new)];
    let passes = |file: &str, options: &[&str]| {
        let home = Home::new();
        let ran = home.run(&[&["run", &format!("{root}/{file}")], &both[..], options].concat());
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let told = home.told();
        let verdicts = told.verdicts();
        let passed = |case: &(String, lockstep_vm::event::Verdict, Option<String>)| {
            case.1 == lockstep_vm::event::Verdict::Pass
        };
        assert!(verdicts.iter().all(passed), "{verdicts:?}");
    };
    passes("scenarios/migration/cross-version.yaml", &["--case", "*precopy"]);
    // Debian's oldest one here knows types up to 7.2.
    if old.version.major == 7 {
        passes("tests/words/cross-control.yaml", &[]);
    }
    let home = Home::new();
    let file = format!("{root}/scenarios/migration/cross-version.yaml");
    let ran = home.run(&["run", "--accel", "tcg", "--qemu", &named("new", new), &file]).expect(0);
    assert!(
        ran.stdout.contains("needs the QEMU `old`, and no `--qemu old=PATH` was given"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_vm_that_has_ended_is_started_again_beside_a_live_one() {
    holds("restart");
    holds("restart-control");
}

#[test]
fn what_cannot_be_had_is_told_where_it_is_asked_for() {
    holds("refused");
}
