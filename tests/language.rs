//! Each action and each kind of wait and check: passes as the reference says, and failures.

mod common;
#[path = "language/conditions.rs"]
mod conditions;
#[path = "language/flow.rs"]
mod flow;
#[path = "language/steps.rs"]
mod steps;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Case, Home, Results, VM, qemu};
use lockstep_vm::event::{StepOutcome, Verdict};

/// Writes each case to its own file, with one small VM `a` unless it defines its own.
fn write(home: &Home, cases: &[(&str, &str)]) {
    for (name, text) in cases {
        let steps = if format!("\n{text}").contains("\nsteps:\n") { "" } else { "steps:\n" };
        let vms = if text.contains("vms:") { String::new() } else { format!("vms: {{a: {VM}}}\n") };
        home.write(&format!("cases/{name}.yaml"), &format!("{vms}{steps}{text}\n"));
    }
}

/// Runs the cases and compares the verdict and the reason of each with the expected ones.
fn run<T: AsRef<str>>(cases: &[(&str, T, Verdict, &str)], options: &[&str]) -> (Home, Results) {
    let qemu = qemu(7);
    let home = Home::new();
    write(&home, &cases.iter().map(|(name, text, ..)| (*name, text.as_ref())).collect::<Vec<_>>());
    let ran = home.run_on(qemu, &[&["cases", "-j", "2"], options].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let results = home.results();
    let mut wrong = Vec::new();
    for (name, _, verdict, expected) in cases {
        let case = results.case(name);
        let reason = case.reason().unwrap_or_default();
        let fits = regex::Regex::new(&format!("(?s){expected}")).unwrap().is_match(&reason);
        if case.verdict() != *verdict || !fits || (expected.is_empty() && !reason.is_empty()) {
            wrong.push(format!(
                "{name}: expected {verdict} with /{expected}/, got {}: {reason}\n{:?}",
                case.verdict(),
                case.steps()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{ran:?}", wrong.join("\n"));
    let bad = cases.iter().any(|(_, _, verdict, _)| verdict.is_bad());
    assert_eq!(ran.code, Some(i32::from(bad)));
    home.assert_nothing_is_left();
    (home, results)
}

fn outcomes(case: &Case<'_>) -> Vec<StepOutcome> {
    case.steps().iter().map(|step| step.outcome).collect()
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(steps::a_later_step_reads_what_a_step_captured, Qemu(7)),
            once!(steps::a_command_passes_only_with_the_expected_exit_status, Qemu(7)),
            once!(steps::a_wait_for_a_background_process_passes_only_with_the_expected_exit, Qemu(7)),
            once!(steps::expect_error_passes_only_with_the_expected_error, Qemu(7)),
            once!(steps::when_decides_whether_a_step_runs, Qemu(7)),
            once!(steps::steps_start_stop_and_end_vms, Qemu(7)),
            once!(steps::a_frozen_vm_or_a_wrong_exit_fails_the_step, Qemu(7)),
            once!(steps::an_unexpected_exit_of_a_vm_ends_the_case_at_once, Qemu(7)),
            once!(conditions::a_wait_passes_when_its_condition_holds_or_reports_what_it_saw, Qemu(7)),
            once!(conditions::a_check_passes_or_reports_the_actual_value, Qemu(7)),
            once!(conditions::a_guest_that_finds_wrong_memory_fails_the_case, Qemu(7)),
            once!(conditions::a_guest_continues_after_a_failed_pmemsave, Qemu(7)),
            once!(flow::finally_always_runs_and_its_failure_fails_the_case, Qemu(7)),
            once!(flow::hooks_used_files_and_loops_expand_to_their_steps, Qemu(7)),
            once!(flow::a_loop_tests_its_condition_once_per_round_until_its_deadline, Qemu(7)),
            once!(flow::slow_multiplies_the_timeouts_of_steps_and_cases, Qemu(7)),
            once!(flow::a_known_issue_excuses_its_own_failure_only, Qemu(7)),
            once!(flow::a_known_issue_with_a_step_excuses_failures_of_that_step_only, Qemu(7)),
            once!(flow::a_negative_control_passes_only_with_the_expected_failure, Qemu(7)),
            once!(flow::a_case_whose_requirements_are_not_met_is_skipped_before_a_vm_starts, Qemu(7)),
            once!(flow::fail_fast_ends_the_run_with_the_first_bad_case, Qemu(7)),
            once!(flow::two_jobs_run_two_cases_at_the_same_time, Qemu(7)),
            once!(flow::an_exclusive_case_runs_alone, Qemu(7)),
            once!(flow::auto_runs_as_many_cases_at_once_as_fit, Qemu(7)),
            once!(flow::keep_selects_the_artifacts_and_their_command_line_starts_the_vm, Qemu(7)),
            once!(flow::a_guest_migrates_to_an_incoming_vm, Qemu(7)),
        ],
    )
}
