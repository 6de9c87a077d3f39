//! `lockstep audit`: each sabotage with a case that notices it and one that does not (`tests/audit`), and the runner itself
//! with a monitor that is garbled.

mod common;
#[path = "audit/garbled.rs"]
mod garbled;

use std::collections::BTreeSet;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, Ran, qemu};
use serde_json::Value;

fn folder() -> String {
    format!("{}/tests/audit", env!("CARGO_MANIFEST_DIR"))
}

/// Audits files in a home.
fn audited(home: &Home, arguments: &[&str]) -> Ran {
    let path = qemu(11).path.display().to_string();
    let own = ["audit", "--accel", "tcg", "--qemu", &path, "--seed", "1", "-j", "2", "-q", "--slow", "2"];
    let mut command = home.lockstep(&[&own, arguments].concat());
    command.env("AUDIT_SERVE", format!("{}/support/serve.py", folder()));
    home.finish(command)
}

/// The trials of a case, each as what came of it.
fn trials<'a>(audit: &'a Value, case: &str) -> Vec<&'a Value> {
    let cases = audit["cases"].as_array().unwrap();
    let case = cases.iter().find(|own| own["name"] == case).unwrap_or_else(|| panic!("no case {case}"));
    assert_eq!(case["refused"], Value::Null, "{case:#}");
    case["trials"].as_array().unwrap().iter().collect()
}

fn is(trial: &Value, noticed: &[&str]) -> bool {
    noticed.iter().any(|word| trial["noticed"] == *word)
}

/// Runs the two cases of a sabotage at all of its sites.
fn holds(name: &str) {
    let home = Home::new();
    let file = format!("{}/{name}.yaml", folder());
    let ran = audited(&home, &[&file, "--only", name, "--sites", "20", "--format", "json"]);
    let audit: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{name}: {ran:?}"));
    let noticed = trials(&audit, &format!("{name}/noticed"));
    assert!(noticed.iter().any(|trial| is(trial, &["caught", "late"])), "{name}: {noticed:#?}");
    assert!(!noticed.iter().any(|trial| is(trial, &["unnoticed"])), "{name}: {noticed:#?}");
    let unnoticed = trials(&audit, &format!("{name}/unnoticed"));
    assert!(unnoticed.iter().any(|trial| is(trial, &["unnoticed"])), "{name}: {unnoticed:#?}");
    home.assert_nothing_is_left();
}

/// Tests the sabotages of these kinds: one that does not depend on the moment, or with `LOCKSTEP_TEST_ALL` (`make
/// audit-sabotages`) all of them.
fn hold(kinds: &[&str], one: &str) {
    match std::env::var_os("LOCKSTEP_TEST_ALL") {
        Some(_) => of(kinds).iter().for_each(|name| holds(name)),
        None => holds(one),
    }
}

/// The names of the sabotages of these kinds.
fn of(kinds: &[&str]) -> Vec<String> {
    let listed = Home::new().run(&["audit", "--only", "list"]).expect(0).stdout;
    let words = listed.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
    let own = words.filter(|words| kinds.is_empty() || kinds.contains(&words[0]));
    own.map(|words| words[1].to_owned()).collect()
}

fn sabotages_of_machines_are_noticed_or_not() {
    hold(&["machine"], "kill");
}

fn sabotages_of_memory_are_noticed_or_not() {
    hold(&["memory"], "memory-first");
}

fn sabotages_of_replies_are_noticed_or_not() {
    hold(&["replies"], "reply-error");
}

fn sabotages_of_commands_are_noticed_or_not() {
    hold(&["commands"], "migrate-ignored");
}

fn sabotages_of_links_and_clients_are_noticed_or_not() {
    hold(&["links", "clients"], "link-cut");
}

fn sabotages_of_disks_and_serial_ports_are_noticed_or_not() {
    hold(&["disks", "serial"], "serial-silent");
}

fn each_sabotage_has_a_file_and_a_test() {
    let names: BTreeSet<String> = of(&[]).into_iter().collect();
    let files = std::fs::read_dir(folder()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        name.strip_suffix(".yaml").map(str::to_owned)
    });
    assert_eq!(names, files.collect());
    assert!(names.len() >= 40, "{}", names.len());
    for name in names {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/audit/sabotage")
            .join(name.replace('-', "_") + ".rs");
        assert!(source.exists(), "{}", source.display());
    }
}

fn each_hint_is_a_step_of_the_language() {
    let home = Home::new();
    let vm = "{memory: 64M, disks: {image: {size: 4M}}}";
    let listed = home.run(&["audit", "--only", "hints"]).expect(0).stdout;
    assert!(listed.lines().count() >= 40, "{listed}");
    for hint in listed.lines() {
        let text = format!(
            "name: hint\nports: [p]\nlinks: {{migration: {{}}}}\nvms: {{vm: {vm}, other: {{incoming: defer}}}}\nsteps:\n\
             - client: {{name: user, connect: \"127.0.0.1:{{{{port.p}}}}\", speaks: redis, does: append}}\n\
             - migrate: {{from: vm, to: other, link: migration}}\n- {hint}\n"
        );
        let file = home.write("hint.yaml", &text);
        let ran = home.run(&["check", &file.display().to_string()]);
        assert_eq!(ran.code, Some(0), "{hint}\n{}{}", ran.stdout, ran.stderr);
    }
}

const STRONG: &str = "- wait: {vm: vm, ticks: 1}\n- qmp: {vm: vm, execute: query-version}\n\
    - wait: {vm: vm, ticks: 2}\n- check: {vm: vm, no_event: RESET}\n- check: {vm: vm, memory: consistent}\n";
const WEAK: &str = "- wait: {vm: vm, ticks: 1}\n- qmp: {vm: vm, execute: stop}\n- sleep: 10ms\n";

fn scenario(home: &Home, name: &str, steps: &str) -> String {
    let text = format!("name: {name}\nvms: {{vm: {}}}\nsteps:\n{steps}", common::VM);
    home.write(&format!("{name}.yaml"), &text).display().to_string()
}

fn a_scenario_that_checks_scores_high_and_one_that_does_not_scores_low() {
    let home = Home::new();
    let only = ["--only", "memory,reset", "--sites", "20"];
    let (strong, weak) = (scenario(&home, "strong", STRONG), scenario(&home, "weak", WEAK));
    let ran = audited(&home, &[&only[..], &[&strong, "--min", "95"]].concat()).expect(0);
    assert!(ran.stdout.contains("score 100%"), "{}", ran.stdout);
    let ran = audited(&home, &[&only[..], &[&weak, "--min", "95"]].concat()).expect(1);
    assert!(ran.stdout.contains("check: {vm: vm, memory: consistent}"), "{}", ran.stdout);
    let score = ran.stdout.split("\nscore ").nth(1).and_then(|rest| rest.split('%').next());
    let score: u32 = score.unwrap().parse().unwrap();
    assert!(score <= 20, "{}", ran.stdout);
    for name in ["audit.html", "audit.xml", "audit.json", "audit.jsonl"] {
        assert!(home.path("reports").join(name).exists(), "{name}");
    }
    home.assert_nothing_is_left();
}

fn cases_that_do_not_pass_are_not_audited() {
    let home = Home::new();
    let control = scenario(&home, "control", "- wait: {vm: vm, ticks: 1}\nmust_fail: {match: never}\n");
    let fails = scenario(&home, "fails", "- check: {vm: vm, query: query-status, is: {status: paused}}\n");
    let ran = audited(&home, &[&control, &fails, "--only", "stop"]).expect(2);
    for part in ["negative control", "it does not pass without a sabotage"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let ran = audited(&home, &[&fails, "--only", "stopp"]).expect(2);
    assert!(ran.stderr.contains("did you mean `stop`"), "{}", ran.stderr);
}

fn an_audit_that_was_cut_off_is_continued() {
    let home = Home::new();
    let file = scenario(&home, "one", STRONG);
    audited(&home, &[&file, "--only", "memory"]).expect(0);
    let all = home.read("reports/audit.jsonl");
    let count = all.lines().count();
    // As after `kill -9`: two whole results, and a part of a third.
    let mut cut: String = all.lines().take(3).map(|line| format!("{line}\n")).collect();
    cut.push_str(&all.lines().nth(3).unwrap()[..40]);
    home.write("reports/audit.jsonl", &cut);
    let ran = home.run(&["audit", "--resume", "reports"]).expect(0);
    assert!(ran.stdout.contains("score 100%"), "{}", ran.stdout);
    let continued = home.read("reports/audit.jsonl");
    let whole = continued.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert_eq!(whole, count, "{continued}");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(sabotages_of_machines_are_noticed_or_not, Qemu(11)),
            once!(sabotages_of_memory_are_noticed_or_not, Qemu(11)),
            once!(sabotages_of_replies_are_noticed_or_not, Qemu(11)),
            once!(sabotages_of_commands_are_noticed_or_not, Qemu(11)),
            once!(sabotages_of_links_and_clients_are_noticed_or_not, Qemu(11)),
            once!(sabotages_of_disks_and_serial_ports_are_noticed_or_not, Qemu(11), QemuImg),
            once!(each_sabotage_has_a_file_and_a_test),
            once!(each_hint_is_a_step_of_the_language),
            once!(a_scenario_that_checks_scores_high_and_one_that_does_not_scores_low, Qemu(11)),
            once!(cases_that_do_not_pass_are_not_audited, Qemu(11)),
            once!(an_audit_that_was_cut_off_is_continued, Qemu(11)),
            once!(garbled::a_garbled_monitor_ends_each_case_and_leaves_nothing, Qemu(11)),
        ],
    )
}
