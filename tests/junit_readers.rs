//! Other programs read our JUnit file: counts, verdicts, times, messages, reasons.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::harness::{self, once};
use common::{Home, qemu};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = ".tools/python/bin/python";
const NODE: &str = ".tools/node";

/// Every verdict, and a message with characters that XML cannot represent.
const CASES: &str = r#"
name: "verdict/{{what}}"
matrix: {what: [pass, fail, error, skip, xfail, xpass, flaky, race, twice]}
requires: {qemu: "{{choose (eq what 'skip') '>=99' '>=1'}}"}
known_issue:
  - {when: "{{eq what 'xfail'}}", reason: "a known one: <5> & more", match: "got 3"}
  - {when: "{{or (eq what 'race') (eq what 'twice')}}", reason: "a race", match: "got 7", at_most: 5%}
  - {when: "{{eq what 'xpass'}}", reason: "one that is gone", match: "never seen"}
vms: {vm: {memory: 32M, guest: none}}
steps:
  - qmp: {vm: vm, execute: query-status}
  - {when: "{{eq what 'fail'}}", exec: {sh: "printf 'red \\033[31m, nul \\0, bad \\377, end ]]> <&>\"'; exit 4"}}
  - {when: "{{eq what 'error'}}", exec: {run: [/there/is/none]}}
  - {when: "{{eq what 'xfail'}}", exec: {sh: "exit 3"}}
  - {when: "{{eq what 'race'}}", exec: {sh: "test -e $HERE/race || { touch $HERE/race; exit 7; }"}}
  - {when: "{{eq what 'twice'}}", exec: {sh: "exit 7"}}
  - {when: "{{eq what 'flaky'}}", exec: {sh: "test -e $HERE/again || { touch $HERE/again; exit 5; }"}}
"#;

/// A run of them, and its JUnit file.
fn ran() -> (Home, PathBuf) {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("verdicts.yaml", CASES);
    let ran = home.run_on(qemu, &["verdicts.yaml", "--retries", "1"]).expect(1);
    // The race occurs in both cases, which at 5 % is beyond chance.
    assert!(ran.stdout.contains("a known issue occurs too often: in 2 of 2 cases"), "{}", ran.stdout);
    let file = home.path("reports/junit.xml");
    (home, file)
}

/// The output of a reader.
fn read(mut reader: Command) -> Value {
    let output = reader.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_cases(home: &Home, told: &Value) {
    let cases = told["cases"].as_array().unwrap();
    let expected = [
        ("pass", "passed", None),
        ("fail", "failure", Some("got 4")),
        ("error", "error", Some("/there/is/none")),
        ("skip", "skipped", Some("needs QEMU >=99")),
        ("xfail", "skipped", Some("a known one: <5> & more")),
        ("xpass", "failure", Some("one that is gone")),
        ("flaky", "failure", Some("got 5")),
        ("race", "skipped", Some("a race")),
        ("twice", "failure", Some("got 7")),
    ];
    // The rate of a known issue is a case of its own.
    const RATE: &str = "rate of a known issue #1";
    let rate = cases.iter().find(|case| case["name"] == RATE).unwrap();
    assert_eq!(rate["status"], "failure", "{rate:#}");
    assert!(rate.to_string().contains("occurs too often: in 2 of 2 cases"), "{rate:#}");
    let names = cases.iter().map(|case| case["name"].as_str().unwrap());
    let mut names: Vec<&str> = names.filter(|name| *name != RATE).collect();
    names.sort_unstable();
    let mut wanted = expected.map(|(what, ..)| format!("verdict/{what}"));
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (what, status, said) in expected {
        let case = cases.iter().find(|case| case["name"] == format!("verdict/{what}").as_str()).unwrap();
        assert_eq!(case["status"], status, "{case:#}");
        let texts: Vec<&str> = case["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        if let Some(said) = said {
            assert!(texts.iter().any(|text| text.contains(said)), "`{said}` is not in {texts:?}");
        }
        let took = home.results().case(&format!("verdict/{what}")).seconds();
        assert!((case["seconds"].as_f64().unwrap() - took).abs() < 0.01, "{what} took {took} s: {case:#}");
    }
    // Characters that XML cannot represent are shown, not lost, and the rest is unchanged.
    let text = told.to_string();
    assert!(text.contains("end ]]> <&>"), "{text}");
}

fn junitparser_reads_the_verdicts() {
    let (home, file) = ran();
    let python = Path::new(ROOT).join(PYTHON);
    let mut reader = Command::new(&python);
    reader.arg(format!("{ROOT}/tests/readers/junitparser_reads.py")).arg(file);
    let told = read(reader);
    assert_cases(&home, &told);
    assert_eq!(told["counts"], serde_json::json!({"tests": 10, "failures": 5, "errors": 1, "skipped": 3}));
    let pass = told["cases"].as_array().unwrap().iter().find(|case| case["name"] == "verdict/pass").unwrap();
    assert!(pass["output"].as_str().unwrap().contains("vm: query-status"), "{pass:#}");
}

fn xunit_viewer_reads_the_verdicts() {
    let (home, file) = ran();
    let node = Path::new(ROOT).join(NODE);
    let mut reader = Command::new("node");
    reader.arg(format!("{ROOT}/tests/readers/xunit_viewer_reads.mjs")).arg(&node).arg(file);
    let told = read(reader);
    assert_cases(&home, &told);
}

fn a_report_is_valid_by_its_schema() {
    let (home, whole) = ran();
    let events = home.read("reports/events.jsonl");
    let lines: Vec<&str> = events.split_inclusive('\n').collect();
    let mut files = vec![whole];
    // One truncated in the middle of a case, and one without a case.
    for (name, kept) in [("cut", lines.len() / 2), ("none", 1)] {
        home.write(name, &lines[..kept].concat());
        let file = format!("{name}.xml");
        home.run(&["report", name, "-o", &file]).expect(0);
        files.push(home.path(&file));
    }
    for file in files {
        let mut xmllint = Command::new("xmllint");
        xmllint.arg("--noout").arg("--schema").arg(format!("{ROOT}/schemas/junit.xsd")).arg(file);
        let output = xmllint.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_report_is_valid_by_its_schema, Qemu(7), Xmllint),
            once!(junitparser_reads_the_verdicts, Qemu(7), Reader(PYTHON)),
            once!(xunit_viewer_reads_the_verdicts, Qemu(7), Reader(NODE)),
        ],
    )
}
