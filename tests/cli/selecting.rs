//! Which cases `run`, `check` and `list` select, and how `list` prints them.

use serde_json::{Value, json};

use super::common::{Home, VM, qemu};

/// Of its cases, `grid/left/2` fails.
const GRID: &str = r#"
name: grid/{{side}}/{{x}}
description: |
  Some fail.

  Others do not.
tags: [small, "x{{x}}"]
matrix:
  side: [left, right]
  x: [1, 2]
vms: {a: VM}
steps:
- wait: {vm: a, ticks: 1}
- check: {value: "{{x}}", below: 2}
  when: "{{eq side \"left\"}}"
"#;

/// Cases of two axes, some of which fail.
fn home() -> Home {
    let home = Home::new();
    home.write("grid.yaml", &GRID.replace("VM", VM));
    home.write("one.yaml", &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    home
}

pub(crate) fn list_prints_an_object_per_line_for_programs() {
    let home = home();
    let text = home.run(&["list", "grid.yaml", "one.yaml", "--format", "json"]).expect(0).stdout;
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 5);
    assert_eq!(
        cases[1],
        json!({
            "name": "grid/left/2", "file": "grid.yaml", "line": 2, "column": 7, "tags": ["small", "x2"],
            "axes": {"side": "left", "x": 2}, "description": "Some fail.\n\nOthers do not.\n",
        })
    );
    assert_eq!(cases[4]["axes"], json!({}));
    // Mistakes are objects too, and keep out of the list.
    home.write("wrong.yaml", "vms: {a: {}}\nsteps:\n- wait: {vm: b, ticks: 1}\n");
    let wrong = home.run(&["list", "wrong.yaml", "--format", "json"]).expect(2);
    assert_eq!(wrong.stdout, "");
    assert_eq!(serde_json::from_str::<Value>(&wrong.stderr).unwrap()["line"], 3);
}

pub(crate) fn a_case_is_selected_by_one_of_several_words() {
    let home = home();
    let list = |arguments: &[&str]| {
        home.run(&[&["list", "grid.yaml", "one.yaml"], arguments].concat()).expect(0).stdout
    };
    let left = "grid/left/1\ngrid/left/2\n";
    assert_eq!(list(&["--case", "grid/{left,up}/*"]), left);
    assert_eq!(list(&["--case", "{grid/{left,up},none}/{1,2}"]), left);
    assert_eq!(list(&["--case", "*left*,one"]), format!("{left}one\n"));
    assert_eq!(list(&["--case", "*/[12]", "--case", "o?e", "--tag", "!small"]), "one\n");
    let open = home.run(&["list", "grid.yaml", "--case", "grid/{left,right"]).expect(2);
    assert_eq!(
        open.stderr,
        "error: --case grid/{left,right: not a valid pattern: unclosed alternate group; missing '}' (maybe escape \
         '{' with '[{]'?)\n"
    );
}

pub(crate) fn the_failed_cases_of_a_run_are_selected_with_their_files() {
    let qemu = qemu(5);
    let home = home();
    home.run_on(qemu, &["grid.yaml", "one.yaml"]).expect(1);
    // Nothing else has to be named, and the tags of the project do not matter.
    home.write("lockstep.toml", "scenarios = \"one.yaml\"\ntags = [\"!small\"]\n");
    for arguments in [
        &["--last-failed"][..],
        &["--failed-in", "reports"],
        &["--failed-in", "reports/events.jsonl", "--reports", "none"],
    ] {
        let list = home.run(&[&["list"], arguments].concat()).expect(0);
        assert_eq!((list.stdout.as_str(), list.stderr.as_str()), ("grid/left/2\n", ""), "{arguments:?}");
    }
    assert_eq!(home.run(&["check", "--last-failed"]).expect(0).stdout, "1 case: no errors found\n");
    let none = home.run(&["run", "one.yaml", "--last-failed"]).expect(2);
    assert_eq!(
        none.stderr,
        "error: --case, --tag and the failed cases select none of 1 cases; available: one …\n"
    );
    // The cases are read before the reports are written again.
    home.run_on(qemu, &["--last-failed"]).expect(1);
    assert_eq!(home.results().cases(), ["grid/left/2"]);
    // A run that was killed: its open case counts as failed.
    let events = home.read("reports/events.jsonl");
    let started: Vec<&str> = events.lines().take_while(|line| !line.contains("case_ended")).collect();
    home.write("killed/events.jsonl", &(started.join("\n") + "\n"));
    let killed = home.run(&["list", "--failed-in", "killed"]).expect(0);
    assert_eq!(
        (killed.stdout.as_str(), killed.stderr.as_str()),
        ("grid/left/2\n", "note: killed: the run did not finish\n")
    );
    home.assert_nothing_is_left();
}

pub(crate) fn a_run_without_failures_or_without_events_selects_nothing() {
    let home = home();
    let none = home.run(&["run", "one.yaml", "--last-failed"]).expect(2);
    assert_eq!(
        none.stderr,
        "error: --last-failed: cannot read reports: No such file or directory (os error 2)\n"
    );
    home.write("other/events.jsonl", "{}\n");
    let wrong = home.run(&["list", "--failed-in", "other"]).expect(2);
    assert!(wrong.stderr.starts_with("error: --failed-in: other/events.jsonl"), "{}", wrong.stderr);
    assert!(!home.path("reports").exists());
}
