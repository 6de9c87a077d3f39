//! A new user's first steps: `new`, `check`, `run`, `docs`, `explain`.

mod common;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, Qemu, qemu};

/// Writes a new scenario, checks it, and runs it if a QEMU is given.
fn new(template: &str, qemu: Option<&Qemu>) {
    let home = Home::new();
    let file = format!("{template}.yaml");
    home.run(&["new", &file, "--template", template]).expect(0);
    home.run(&["check", &file]).expect(0);
    if let Some(qemu) = qemu {
        let ran = home.run_on(qemu, &[&file, "--slow", "4"]).expect(0);
        assert!(ran.stdout.contains("passed") && !ran.stdout.contains("skipped"), "{}", ran.stdout);
    }
}

fn a_new_scenario_has_no_errors() {
    ["blank", "precopy", "colo"].into_iter().for_each(|template| new(template, None));
}

fn the_first_line_names_a_schema_that_exists() {
    let home = Home::new();
    let said = home.run(&["new", "a/one.yaml"]).expect(2);
    assert!(said.stderr.contains("cannot write a/one.yaml"), "{said:?}");
    std::fs::create_dir_all(home.path("a/b/c")).unwrap();
    let said = home.run(&["new", "a/one"]).expect(0).stdout;
    assert!(said.starts_with("wrote a/one.yaml, and a/scenario.schema.json for editors; next: "), "{said}");
    let said = home.run(&["new", "a/b/c/two.yaml"]).expect(0).stdout;
    assert!(said.starts_with("wrote a/b/c/two.yaml; next: "), "{said}");
    for (file, schema) in
        [("a/one.yaml", "scenario.schema.json"), ("a/b/c/two.yaml", "../../scenario.schema.json")]
    {
        let first = format!("# yaml-language-server: $schema={schema}");
        assert_eq!(home.read(file).lines().next(), Some(first.as_str()));
    }
    assert_eq!(home.read("a/scenario.schema.json"), home.run(&["schema"]).expect(0).stdout);
}

fn a_new_migration_runs_without_changes() {
    ["blank", "precopy"].into_iter().for_each(|template| new(template, Some(qemu(0))));
}

fn a_new_colo_failover_runs_without_changes() {
    new("colo", Some(qemu(11)));
}

fn the_last_line_counts_the_errors_and_names_the_next_command() {
    let home = Home::new();
    home.write("a.yaml", "vms: {vm: }\nsteps:\n  - wait: {vm: vm, tick: 3}\n");
    let checked = home.run(&["check", "a.yaml"]).expect(2);
    assert_eq!(checked.stderr.lines().last(), Some("1 error in 1 file; for details: lockstep explain LS010"));
    let told = home.run(&["explain", "LS010"]).expect(0).stdout;
    assert!(told.contains("wait: {vm: vm, tick: 3}") && told.contains("wait: {vm: vm, ticks: 3}"), "{told}");
}

fn an_unknown_topic_or_code_is_an_error_with_help() {
    let home = Home::new();
    let missed = home.run(&["docs", "tikcs"]).expect(2);
    assert!(missed.stderr.contains("unknown topic `tikcs`; did you mean `ticks`?"), "{}", missed.stderr);
    let missed = home.run(&["explain", "LS999"]).expect(2);
    assert!(missed.stderr.contains("`lockstep explain` lists them"), "{}", missed.stderr);
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_new_scenario_has_no_errors),
            once!(the_first_line_names_a_schema_that_exists),
            once!(a_new_migration_runs_without_changes, Qemu(0)),
            once!(a_new_colo_failover_runs_without_changes, Qemu(11)),
            once!(the_last_line_counts_the_errors_and_names_the_next_command),
            once!(an_unknown_topic_or_code_is_an_error_with_help),
        ],
    )
}
