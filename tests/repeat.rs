//! Cases that are run again and again.

mod common;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, VM, qemu};
use lockstep_vm::event::{Verdict, What};

/// A case that fails as long as there is no mark, and leaves one.
fn fails_once() -> String {
    format!(
        "name: once\nvms: {{vm: {VM}}}\nsteps:\n\
         - exec: {{run: [sh, -c, 'test -e $HERE/mark || {{ touch $HERE/mark; exit 3; }}']}}\n"
    )
}

fn a_case_that_passes_when_it_is_tried_again_is_flaky_with_the_evidence_of_its_failure() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("once.yaml", &fails_once());
    let ran = home.run_on(qemu, &["once.yaml", "--retries", "2"]).expect(1);
    assert!(ran.stdout.contains("1 flaky") && !ran.stdout.contains("passed\n"), "{}", ran.stdout);
    let told = home.told();
    let case = told.case("once");
    assert_eq!(case.verdict(), Verdict::Flaky);
    assert!(case.reason().unwrap().starts_with("passed in attempt 2, failed in the first: "));
    assert!(case.artifacts().unwrap().ends_with("once/attempt-1"));
    assert!(home.path("reports/once/attempt-1/scenario.yaml").exists());
    let attempts = case.events.iter().filter(|what| matches!(what, What::AttemptEnded { .. })).count();
    assert_eq!(attempts, 1);

    std::fs::remove_file(home.path("mark")).unwrap();
    home.run_on(qemu, &["once.yaml", "--retries", "1", "--flaky", "pass"]).expect(0);
    home.assert_nothing_is_left();
}

fn a_run_until_failure_ends_with_the_first_round_that_fails() {
    let qemu = qemu(7);
    let home = Home::new();
    let third = format!(
        "name: third\nvms: {{vm: {VM}}}\nsteps:\n\
         - exec: {{run: [sh, -c, 'echo >> $HERE/rounds; test $(wc -l < $HERE/rounds) -lt 3']}}\n"
    );
    home.write("third.yaml", &third);
    home.run_on(qemu, &["third.yaml", "--until-failure"]).expect(1);
    let verdicts = |home: &Home| -> Vec<Verdict> {
        let events = home.told().events;
        let ends = events.iter().filter_map(|event| match &event.what {
            What::CaseEnded(end) => Some(end.verdict),
            _ => None,
        });
        ends.collect()
    };
    assert_eq!(verdicts(&home), [Verdict::Pass, Verdict::Pass, Verdict::Fail]);

    std::fs::remove_file(home.path("rounds")).unwrap();
    let ran = home.run_on(qemu, &["third.yaml", "--repeat", "2"]).expect(0);
    assert_eq!(verdicts(&home).len(), 2);
    assert!(ran.stdout.contains("third #2"), "{}", ran.stdout);
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(
                a_case_that_passes_when_it_is_tried_again_is_flaky_with_the_evidence_of_its_failure,
                Qemu(7)
            ),
            once!(a_run_until_failure_ends_with_the_first_round_that_fails, Qemu(7)),
        ],
    )
}
