//! Each action and each kind of wait and check does what the reference says, and fails when it must.

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
fn run(cases: &[(&str, &str, Verdict, &str)], options: &[&str]) -> (Home, Results) {
    let qemu = qemu(7);
    let home = Home::new();
    write(&home, &cases.iter().map(|(name, text, ..)| (*name, *text)).collect::<Vec<_>>());
    let ran = home.run_on(qemu, &[&["cases", "-j", "2"], options].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let told = home.results();
    let mut wrong = Vec::new();
    for (name, _, verdict, expected) in cases {
        let case = told.case(name);
        let reason = case.reason().unwrap_or_default();
        let fits = regex::Regex::new(&format!("(?s){expected}")).unwrap().is_match(&reason);
        if case.verdict() != *verdict || !fits || (expected.is_empty() && !reason.is_empty()) {
            wrong.push(format!(
                "{name} is to be {verdict}, with /{expected}/; it is {}: {reason}\n{:?}",
                case.verdict(),
                case.steps()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{ran:?}", wrong.join("\n"));
    let bad = cases.iter().any(|(_, _, verdict, _)| verdict.is_bad());
    assert_eq!(ran.code, Some(i32::from(bad)));
    home.assert_nothing_is_left();
    (home, told)
}

fn outcomes(case: &Case<'_>) -> Vec<StepOutcome> {
    case.steps().iter().map(|step| step.outcome).collect()
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(steps::what_a_step_finds_is_there_for_the_steps_after_it, Qemu(7)),
            once!(steps::a_host_process_counts_by_how_it_ends, Qemu(7)),
            once!(steps::a_step_that_must_fail_fails_as_it_says_or_fails_the_case, Qemu(7)),
            once!(steps::when_decides_whether_a_step_runs, Qemu(7)),
            once!(steps::vms_are_started_stopped_and_ended_as_the_steps_say, Qemu(7)),
            once!(steps::a_death_that_nobody_asked_for_ends_the_case_at_once_and_is_the_cause, Qemu(7)),
            once!(conditions::waits_are_met_by_what_they_name_and_say_what_they_saw_instead, Qemu(7)),
            once!(conditions::checks_hold_or_say_what_is_there_instead, Qemu(7)),
            once!(conditions::a_guest_whose_memory_is_overwritten_ends_the_case_by_its_own_report, Qemu(7)),
            once!(conditions::a_guest_whose_memory_could_not_be_saved_goes_on, Qemu(7)),
            once!(flow::finally_runs_whatever_happened_and_its_failure_counts, Qemu(7)),
            once!(flow::hooks_used_files_and_loops_stand_for_their_steps, Qemu(7)),
            once!(flow::a_loop_looks_once_a_round_and_ends_at_its_deadline, Qemu(7)),
            once!(flow::deadlines_are_those_of_the_step_and_the_case_times_slow, Qemu(7)),
            once!(flow::a_known_issue_and_a_negative_control_excuse_their_own_failure_only, Qemu(7)),
            once!(flow::fail_fast_ends_the_run_with_the_first_bad_case, Qemu(7)),
            once!(flow::two_jobs_run_two_cases_at_the_same_time, Qemu(7)),
            once!(flow::artifacts_are_kept_as_the_option_says_and_the_command_line_really_starts, Qemu(7)),
            once!(flow::a_guest_moves_to_a_vm_that_waits_for_it, Qemu(7)),
        ],
    )
}
