//! The actions for migrations, each in its own scenarios in `tests/words`: with a QEMU that supports them, and with
//! controls that pass only if their fault is detected.

mod common;
#[path = "words/wakes.rs"]
mod wakes;

use std::process::ExitCode;

use common::harness::{self, each, once};
use common::{Home, Qemu, guests, qemus};
use lockstep_vm::event::{StepOutcome, Verdict};
use wakes::a_wait_for_a_migration_is_woken_by_events_and_works_without_them;

/// Runs the cases of a file; on the newest QEMU one of them must pass.
fn holds(qemu: &Qemu, file: &str) {
    let path = format!("{}/tests/words/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let home = Home::new();
    let ran =
        home.run_on(qemu, &[&path, "-j", "2", "--slow", "2", "--guests", &guests().display().to_string()]);
    assert_eq!(ran.code, Some(0), "QEMU {}:\n{}{}", qemu.version, ran.stdout, ran.stderr);
    let told = home.results();
    let passed = told.verdicts().iter().filter(|case| case.1 == lockstep_vm::event::Verdict::Pass).count();
    let newest = qemus().first() == Some(qemu);
    assert!(!newest || passed > 0, "no cases run on QEMU {}: {}", qemu.version, ran.stdout);
}

fn a_migration_uses_a_passed_descriptor(qemu: &Qemu) {
    holds(qemu, "fd");
    holds(qemu, "fd-control");
}

fn an_error_reply_of_the_human_monitor_fails_the_step(qemu: &Qemu) {
    holds(qemu, "hmp");
    holds(qemu, "hmp-control");
}

fn a_guest_is_restored_from_a_program_and_a_missing_stream_fails_the_wait(qemu: &Qemu) {
    holds(qemu, "exec");
    holds(qemu, "exec-control");
    holds(qemu, "exec-progress-control");
}

fn a_message_has_the_cause_once_and_what_decides_it(qemu: &Qemu) {
    holds(qemu, "messages-control");
}

fn keep_always_keeps_the_output_of_host_processes() {
    let qemu = common::qemu(7);
    let home = Home::new();
    let text = "name: kept\nvms: {vm: {}}\nsteps:\n\
        - exec: {sh: 'echo behind; exec sleep 1000', background: one, ready: behind}\n\
        - exec: {sh: 'echo to-out; echo to-err >&2'}\n\
        - exec: {sh: 'exit 3', exit: 3}\n\
        - exec: {sh: 'mkdir sub; echo line >traffic.log; echo more >sub/a.log'}\n\
        - wait: {vm: vm, ticks: 1}\n\
        artifacts: [traffic.log, 'sub/*.log', absent.log]\n";
    let file = home.write("kept.yaml", text);
    home.run_on(qemu, &[&file.display().to_string(), "--keep", "always"]).expect(0);
    let told = home.results();
    let folder = home.path("").join(told.case("kept").artifacts().unwrap());
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!((read("files/traffic.log"), read("files/sub/a.log")), ("line\n".into(), "more\n".into()));
    let events = home.read("reports/events.jsonl");
    assert!(events.contains("no file `absent.log`"), "{events}");
    let kept = read("exec.log");
    for part in [
        "== exec one in the background: still running\n-- standard output\nbehind\n",
        "exit status 0\n-- standard output\nto-out\n\n-- standard error\nto-err\n",
        "== exec exit 3: exit status 3\n",
    ] {
        assert!(kept.contains(part), "{part:?} is missing in {kept}");
    }
}

fn a_migration_has_its_metrics_even_if_no_step_queries_it() {
    let qemu = common::qemu(7);
    holds(qemu, "metrics");
    let home = Home::new();
    let text = "name: unasked\nvms: {source: {}, destination: {incoming: defer}}\nsteps:\n\
        - migrate: {from: source, to: destination}\n\
        - wait: {vm: source, event: MIGRATION, data: {status: completed}}\n\
        - wait: {vm: destination, ticks: 1}\n";
    let file = home.write("unasked.yaml", text);
    home.run_on(qemu, &[&file.display().to_string()]).expect(0);
    let events = home.read("reports/events.jsonl");
    let of =
        |metric: &str| events.lines().filter(|line| line.contains(&format!("\"name\":\"{metric}\""))).count();
    assert_eq!(
        (of("migration_total_time"), of("migration_downtime"), of("migration_gap")),
        (1, 1, 1),
        "{events}"
    );
}

fn migrate_accepts_a_destination_that_already_listens(qemu: &Qemu) {
    holds(qemu, "migrate");
    holds(qemu, "listening");
}

fn an_accepted_failed_migration_has_no_further_effect(qemu: &Qemu) {
    holds(qemu, "accepted");
    holds(qemu, "accepted-control");
}

fn a_background_process_may_end_if_the_scenario_allows_it(qemu: &Qemu) {
    holds(qemu, "background");
}

fn a_guest_failure_fails_the_case_unless_it_is_expected(qemu: &Qemu) {
    holds(qemu, "health");
    holds(qemu, "health-control");
    holds(qemu, "reset-control");
}

fn a_command_of_the_guest_agent_has_its_effect_and_its_errors() {
    let qemu = common::qemu(7);
    holds(qemu, "agent");
    holds(qemu, "agent-control");
}

fn a_command_runs_in_the_guest_wherever_it_is() {
    let qemu = common::qemu(7);
    holds(qemu, "guest");
}

fn a_redis_server_keeps_its_word_or_the_history_shows_it(qemu: &Qemu) {
    holds(qemu, "redis");
    holds(qemu, "redis-control");
}

fn a_postgresql_server_keeps_its_word_or_the_history_shows_it() {
    let qemu = common::qemu(7);
    holds(qemu, "postgres");
    holds(qemu, "postgres-control");
}

fn a_command_runs_on_the_survivor_of_a_failover() {
    let qemu = common::qemu(11);
    holds(qemu, "guest-colo");
    holds(qemu, "guest-colo-control");
}

fn an_ssh_connection_survives_a_failover() {
    holds(common::qemu(11), "ssh-colo");
}

fn a_file_is_copied_into_a_guest_and_out_of_it(qemu: &Qemu) {
    holds(qemu, "copy");
}

fn a_command_runs_in_the_guest_by_its_ssh_server() {
    let qemu = common::qemu(7);
    ["ssh", "ssh-lan", "ssh-moves"].iter().for_each(|file| holds(qemu, file));
}

fn what_keeps_ssh_out_of_a_guest_is_named() {
    let qemu = common::qemu(7);
    holds(qemu, "ssh-control");
    holds(qemu, "ssh-key-control");
}

fn a_text_is_typed_on_the_serial_port() {
    let qemu = common::qemu(7);
    holds(qemu, "serial");
}

fn an_image_of_ones_own_boots_with_its_disk_and_is_entered() {
    let qemu = common::qemu(7);
    let home = Home::new();
    std::fs::create_dir(home.path("images")).unwrap();
    for file in ["vmlinuz", "initrd-agent.gz"] {
        std::os::unix::fs::symlink(guests().join(file), home.path("images").join(file)).unwrap();
    }
    let own = home.path("images/own.raw");
    let content = [&b"my own disk\n"[..], &vec![0; 1 << 20]].concat();
    std::fs::write(&own, &content).unwrap();
    for file in ["image.yaml", "image-control.yaml"] {
        let text = format!("{}/tests/words/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(text, home.path(file)).unwrap();
        let ran = home.run_on(qemu, &[file, "-j", "2", "--slow", "2"]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let told = home.results();
        let passed = |case: &(String, Verdict, Option<String>)| case.1 == Verdict::Pass;
        assert!(told.verdicts().iter().all(passed), "{}", ran.stdout);
    }
    assert_eq!(std::fs::read(&own).unwrap(), content, "the image is as it was");
    home.assert_nothing_is_left();
}

fn progress_is_compared_in_colo_and_after_a_failover_by_qmp() {
    let qemu = common::qemu(11);
    holds(qemu, "colo-progress");
    holds(qemu, "colo-progress-control");
}

fn the_next_step_handles_the_exit_of_a_vm_with_an_incoming_uri(qemu: &Qemu) {
    holds(qemu, "restored");
    holds(qemu, "restored-control");
}

fn an_impossible_wait_fails_at_once(qemu: &Qemu) {
    holds(qemu, "over");
    holds(qemu, "over-control");
    holds(qemu, "stopped-control");
}

fn a_recorded_number_is_a_metric_of_the_case(qemu: &Qemu) {
    holds(qemu, "record");
}

fn a_wait_for_the_host_retries_until_its_deadline(qemu: &Qemu) {
    holds(qemu, "host");
    holds(qemu, "host-control");
}

fn a_job_that_ends_with_an_error_fails_its_wait_at_once(qemu: &Qemu) {
    holds(qemu, "job");
    holds(qemu, "job-control");
}

fn branches_run_at_the_same_time_and_the_first_failure_ends_the_others(qemu: &Qemu) {
    holds(qemu, "parallel");
    holds(qemu, "parallel-control");
}

fn a_step_of_another_branch_that_is_cut_off_is_reported_as_cancelled() {
    let qemu = common::qemu(7);
    let home = Home::new();
    let text = "name: cut\nvms: {vm: {}}\nsteps:\n\
        - parallel:\n    \
            waits: [wait: {vm: vm, event: SUSPEND}]\n    \
            wrong: [wait: {vm: vm, ticks: 1}, check: {equal: [1, 2]}]\n";
    let file = home.write("cut.yaml", text);
    home.run_on(qemu, &[&file.display().to_string()]).expect(1);
    let told = home.results();
    let mut steps: Vec<_> =
        told.case("cut").steps().into_iter().map(|step| (step.title, step.outcome)).collect();
    steps.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("waits: wait vm: event SUSPEND", StepOutcome::Cancelled),
        ("wrong: check equal 1 = 2", StepOutcome::Failed),
        ("wrong: wait vm: 1 new tick", StepOutcome::Done),
    ];
    assert_eq!(steps, expected.map(|(title, outcome)| (title.to_owned(), outcome)));
}

fn a_used_file_gets_values_that_are_known_in_the_run(qemu: &Qemu) {
    holds(qemu, "with");
}

fn the_steps_of_a_loop_with_until_can_use_the_number_of_the_round(qemu: &Qemu) {
    holds(qemu, "until-index");
    holds(qemu, "until-index-control");
}

fn a_destination_listens_at_the_address_of_the_main_channel(qemu: &Qemu) {
    holds(qemu, "channels");
}

fn arguments_as_one_text_are_split_as_a_shell_does(qemu: &Qemu) {
    holds(qemu, "args");
}

fn tls_accepts_the_credentials_of_the_case_only(qemu: &Qemu) {
    holds(qemu, "tls");
    holds(qemu, "tls-control");
}

fn a_file_is_checked_for_its_size_and_its_bytes(qemu: &Qemu) {
    holds(qemu, "file");
    holds(qemu, "file-control");
}

fn requirements_are_probed_and_a_missing_one_skips_the_case(qemu: &Qemu) {
    holds(qemu, "requires");
}

fn a_skip_names_the_missing_feature_of_the_host() {
    let qemu = common::qemu(7);
    let home = Home::new();
    let path = format!("{}/tests/words/requires-control.yaml", env!("CARGO_MANIFEST_DIR"));
    let ran = home.run_on(qemu, &[&path, "-j", "2"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let reason = |case: &str| {
        let told = home.results();
        let (_, verdict, reason) =
            told.verdicts().into_iter().find(|(name, ..)| name.ends_with(case)).unwrap();
        assert_eq!(verdict, lockstep_vm::event::Verdict::Skip, "{case}");
        reason.unwrap_or_default()
    };
    assert!(reason("parameter").contains("needs the migration parameter `no-such-parameter`"));
    assert!(reason("word").contains("needs `middle-out` for the migration parameter `multifd-compression`"));
    assert!(reason("accel").contains("needs accelerator kvm, but VM `vm` would use tcg"));
    assert!(
        reason("properties").contains("needs `-accel kvm,dirty-ring-size=4096`, but `--accel tcg` was given")
    );
}

fn waits_for_guest_memory_pass_and_a_forbidden_status_fails_at_once(qemu: &Qemu) {
    holds(qemu, "wait");
    holds(qemu, "wait-control");
}

fn a_sleeping_guest_migrates_and_keeps_its_count_on_wakeup(qemu: &Qemu) {
    holds(qemu, "suspend");
    holds(qemu, "suspend-control");
}

fn exits_makes_the_vcpu_exit_after_each_page(qemu: &Qemu) {
    holds(qemu, "exits");
}

fn a_qemu_in_the_place_of_another_is_connected_to_again_and_a_late_one_too(qemu: &Qemu) {
    holds(qemu, "connect");
    holds(qemu, "connect-control");
}

fn a_qemu_of_another_architecture_is_refused() {
    let qemu = common::qemu(7);
    let home = Home::new();
    let file =
        home.write("arch.yaml", "name: arch\nvms: {vm: {arch: i386}}\nsteps: [{wait: {vm: vm, ticks: 1}}]\n");
    let ran = home.run_on(qemu, &[&file.display().to_string()]).expect(2);
    let path = qemu.path.display();
    let said = format!("VM `vm` has `arch: i386`, but the QEMU at `{path}` emulates x86_64");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    // The same architecture, given explicitly.
    let text = "name: arch\nvms: {vm: {arch: x86_64}}\nsteps: [{wait: {vm: vm, ticks: 1}}]\n";
    let home = Home::new();
    let file = home.write("arch.yaml", text);
    home.run_on(qemu, &[&file.display().to_string()]).expect(0);
}

fn an_alias_is_the_newest_machine_type_that_two_qemus_have_in_common() {
    let (new, old) = (qemus().first().unwrap(), qemus().last().unwrap());
    let root = env!("CARGO_MANIFEST_DIR");
    let named = |name: &str, qemu: &common::Qemu| format!("{name}={}", qemu.path.display());
    let both = ["--accel", "tcg", "--slow", "2", "--qemu", &named("old", old), "--qemu", &named("new", new)];
    let passes = |file: &str, options: &[&str]| {
        let home = Home::new();
        let ran = home.run(&[&["run", &format!("{root}/{file}")], &both[..], options].concat());
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let told = home.results();
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
    assert!(ran.stdout.contains("needs the QEMU `old`: pass `--qemu old=PATH`"), "{}", ran.stdout);
}

fn an_ended_vm_is_started_again_besides_a_running_one(qemu: &Qemu) {
    holds(qemu, "restart");
    holds(qemu, "restart-control");
}

fn one_cell_is_a_negative_control_and_another_has_another_guest(qemu: &Qemu) {
    holds(qemu, "cells");
}

fn a_users_image_is_booted_through_an_overlay_or_as_a_copy_and_not_written() {
    // A copy needs no other image, an overlay one.
    boots_a_users_image("backing", 1);
    boots_a_users_image("copy", 0);
}

fn boots_a_users_image(key: &str, depth: u32) {
    let qemu = common::qemu(7);
    let home = Home::new();
    let image = include_bytes!("../guests/ticker/bootsect.bin");
    let own = home.write("images/own.raw", "");
    std::fs::write(&own, image).unwrap();
    let disks = format!("disks: {{top: {{{key}: images/own.raw}}}}\n");
    let text = "name: own\nvms:\n  vm:\n    machine: pc\n    memory: 64M\n    guest: none\n    DISKS    \
        blockdevs: [{driver: qcow2, node-name: d, file: {driver: file, filename: '{{self.disk.top}}'}}]\n    \
        devices: [{driver: ide-hd, drive: d, bootindex: 0, share-rw: true}]\nsteps:\n\
        - wait: {vm: vm, serial: '^tick [0-9]+ [^r]*$'}\n\
        - check: {vm: vm, query: query-named-block-nodes, is: [{node-name: d, backing_file_depth: DEPTH}]}\n\
        - hmp: {vm: vm, command: 'qemu-io d \"write -P 7 0 8k\"'}\n\
        - exec: {sh: \"od -A n -v -t u1 '{{run.vm.vm.disk.top}}' | grep -q '7   7   7   7'\"}\n";
    let text = text.replace("DISKS", &disks).replace("DEPTH", &depth.to_string());
    let file = home.write("own.yaml", &text).display().to_string();
    home.run_on(qemu, &[&file, "--slow", "2"]).expect(0);
    assert_eq!(std::fs::read(&own).unwrap(), image, "the image is as it was");
}

fn an_unavailable_feature_is_reported_at_its_step(qemu: &Qemu) {
    holds(qemu, "refused");
}

fn a_vm_has_the_shape_of_the_file(qemu: &Qemu) {
    holds(qemu, "shape");
    holds(qemu, "shape-control");
}

fn a_vm_adds_to_the_lists_that_it_inherits(qemu: &Qemu) {
    holds(qemu, "lists");
    holds(qemu, "lists-control");
}

fn source_and_destination_share_an_image() {
    let qemu = common::qemu(7);
    holds(qemu, "share");
    holds(qemu, "share-control");
}

fn a_guest_boots_through_uefi_and_migrates() {
    let qemu = common::qemu(7);
    holds(qemu, "../../scenarios/guests/ovmf");
    holds(qemu, "../../scenarios/controls/guests/ovmf");
}

fn the_linux_guest_drives_each_network_card_or_reports_it() {
    let qemu = common::qemu(7);
    holds(qemu, "cards");
    holds(qemu, "cards-control");
}

fn a_vm_that_takes_no_frames_does_not_hold_up_its_network() {
    let qemu = common::qemu(7);
    holds(qemu, "network");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(a_migration_uses_a_passed_descriptor),
            each!(an_error_reply_of_the_human_monitor_fails_the_step),
            each!(a_message_has_the_cause_once_and_what_decides_it),
            each!(a_guest_is_restored_from_a_program_and_a_missing_stream_fails_the_wait),
            once!(keep_always_keeps_the_output_of_host_processes, Qemu(7)),
            once!(a_qemu_of_another_architecture_is_refused, Qemu(7)),
            each!(migrate_accepts_a_destination_that_already_listens),
            each!(a_job_that_ends_with_an_error_fails_its_wait_at_once),
            once!(a_migration_has_its_metrics_even_if_no_step_queries_it, Qemu(7)),
            each!(a_wait_for_a_migration_is_woken_by_events_and_works_without_them),
            each!(a_recorded_number_is_a_metric_of_the_case),
            each!(a_wait_for_the_host_retries_until_its_deadline),
            each!(branches_run_at_the_same_time_and_the_first_failure_ends_the_others),
            once!(a_step_of_another_branch_that_is_cut_off_is_reported_as_cancelled, Qemu(7)),
            each!(a_used_file_gets_values_that_are_known_in_the_run),
            each!(the_steps_of_a_loop_with_until_can_use_the_number_of_the_round),
            each!(a_destination_listens_at_the_address_of_the_main_channel),
            each!(arguments_as_one_text_are_split_as_a_shell_does),
            each!(tls_accepts_the_credentials_of_the_case_only),
            each!(a_file_is_checked_for_its_size_and_its_bytes),
            each!(requirements_are_probed_and_a_missing_one_skips_the_case),
            once!(a_skip_names_the_missing_feature_of_the_host, Qemu(7)),
            each!(waits_for_guest_memory_pass_and_a_forbidden_status_fails_at_once),
            each!(a_sleeping_guest_migrates_and_keeps_its_count_on_wakeup),
            each!(exits_makes_the_vcpu_exit_after_each_page),
            each!(a_qemu_in_the_place_of_another_is_connected_to_again_and_a_late_one_too),
            once!(an_alias_is_the_newest_machine_type_that_two_qemus_have_in_common, TwoQemus),
            each!(an_ended_vm_is_started_again_besides_a_running_one),
            each!(one_cell_is_a_negative_control_and_another_has_another_guest),
            each!(an_accepted_failed_migration_has_no_further_effect),
            each!(a_background_process_may_end_if_the_scenario_allows_it),
            each!(a_guest_failure_fails_the_case_unless_it_is_expected, Guest),
            once!(a_command_of_the_guest_agent_has_its_effect_and_its_errors, Qemu(7), Guest),
            once!(a_command_runs_in_the_guest_wherever_it_is, Qemu(7), Guest),
            once!(a_command_runs_on_the_survivor_of_a_failover, Qemu(11), Guest),
            each!(a_redis_server_keeps_its_word_or_the_history_shows_it, Redis),
            once!(a_postgresql_server_keeps_its_word_or_the_history_shows_it, Qemu(7), Postgres),
            each!(a_file_is_copied_into_a_guest_and_out_of_it, Guest),
            once!(a_command_runs_in_the_guest_by_its_ssh_server, Qemu(7), Debian),
            once!(what_keeps_ssh_out_of_a_guest_is_named, Qemu(7), Debian),
            once!(an_ssh_connection_survives_a_failover, Qemu(11), Debian),
            once!(a_text_is_typed_on_the_serial_port, Qemu(7), Guest),
            once!(an_image_of_ones_own_boots_with_its_disk_and_is_entered, Qemu(7), Guest, QemuImg),
            each!(the_next_step_handles_the_exit_of_a_vm_with_an_incoming_uri),
            each!(an_impossible_wait_fails_at_once),
            once!(progress_is_compared_in_colo_and_after_a_failover_by_qmp, Qemu(11)),
            once!(a_users_image_is_booted_through_an_overlay_or_as_a_copy_and_not_written, Qemu(7), QemuImg),
            each!(an_unavailable_feature_is_reported_at_its_step),
            each!(a_vm_has_the_shape_of_the_file),
            each!(a_vm_adds_to_the_lists_that_it_inherits),
            once!(source_and_destination_share_an_image, Qemu(7), Guest, QemuImg),
            once!(a_guest_boots_through_uefi_and_migrates, Qemu(7), Guest, Ovmf),
            once!(the_linux_guest_drives_each_network_card_or_reports_it, Qemu(7), Guest),
            once!(a_vm_that_takes_no_frames_does_not_hold_up_its_network, Qemu(7), Guest),
        ],
    )
}
