//! Other programs read our JUnit file: counts, verdicts, times, messages, reasons.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::harness::{self, once};
use common::{Home, qemu};
use lockstep_vm::event::What;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = ".tools/python/bin/python";
const NODE: &str = ".tools/node";

/// The scenario, from the top of the repository.
const FILE: &str = "cases/all.verdicts.yaml";

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
    home.write(".git/HEAD", "");
    home.write(FILE, CASES);
    let file = format!("./cases/../{FILE}");
    let ran = home.run_on(qemu, &[&file, "--retries", "1", "--seed", "7"]).expect(1);
    // The race occurs in both cases, which at 5 % is beyond chance.
    assert!(ran.stdout.contains("a known issue occurs too often: in 2 of 2 cases"), "{}", ran.stdout);
    let file = home.path("reports/junit.xml");
    (home, file)
}

/// What a reader makes of the file.
struct Told {
    home: Home,
    all: Value,
}

/// What a reader reads in the file: `script` is in `tests/readers`, with `folder` as its first argument.
fn told(program: &str, script: &str, folder: Option<&str>) -> Told {
    let (home, file) = ran();
    let mut reader = Command::new(program);
    reader.arg(format!("{ROOT}/tests/readers/{script}")).args(folder).arg(file);
    let output = reader.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Told { home, all: serde_json::from_slice(&output.stdout).unwrap() }
}

/// A status, and a text that the reader shows.
type Expected = [(&'static str, &'static str, Option<&'static str>); 9];

const EXPECTED: Expected = [
    ("pass", "passed", None),
    ("fail", "failure", Some("got 4")),
    ("error", "error", Some("/there/is/none")),
    ("skip", "skipped", Some("skipped: needs QEMU >=99")),
    ("xfail", "skipped", Some("known issue: a known one: <5> & more")),
    ("xpass", "failure", Some("one that is gone")),
    ("flaky", "passed", None),
    ("race", "skipped", Some("known issue: a race")),
    ("twice", "failure", Some("got 7")),
];

/// The cases for failures of the whole run: a known issue occurs too often; there is a flaky case.
const WHOLE_RUN: [(&str, &str); 2] =
    [("no flaky cases", "verdict/flaky"), ("rate of a known issue #1", "occurs too often: in 2 of 2 cases")];

impl Told {
    #[track_caller]
    fn case(&self, name: &str) -> &Value {
        let case = self.all["cases"].as_array().unwrap().iter().find(|case| case["name"] == name);
        case.unwrap_or_else(|| panic!("no `{name}` in {:#}", self.all))
    }

    fn verdict(&self, what: &str) -> &Value {
        self.case(&format!("verdict/{what}"))
    }

    /// Every case has its status, texts and time, and there are no others.
    #[track_caller]
    fn assert_statuses(&self, expected: &Expected) {
        for (name, said) in WHOLE_RUN {
            let case = self.case(name);
            assert_eq!(case["status"], "failure", "{case:#}");
            assert!(case["texts"].to_string().contains(said), "{case:#}");
        }
        assert_eq!(self.all["cases"].as_array().unwrap().len(), expected.len() + WHOLE_RUN.len());
        for (what, status, said) in *expected {
            let case = self.verdict(what);
            assert_eq!(case["status"], status, "{case:#}");
            let texts = strings(&case["texts"]);
            if let Some(said) = said {
                assert!(texts.iter().any(|text| text.contains(said)), "`{said}` is not in {texts:?}");
            }
            let took = self.home.results().case(&format!("verdict/{what}")).seconds();
            assert!(
                (case["seconds"].as_f64().unwrap() - took).abs() < 0.01,
                "{what} took {took} s: {case:#}"
            );
        }
        // Characters that XML cannot represent are shown, not lost, and the rest is unchanged.
        assert!(self.all.to_string().contains("end ]]> <&>"), "{:#}", self.all);
        let output = self.verdict("pass")["output"].as_str().unwrap();
        assert!(output.contains("vm: query-status"), "{output}");
    }

    /// The evidence of a failed case is listed first in its output, by paths from the top of the repository.
    #[track_caller]
    fn assert_attachments(&self) {
        let output = self.verdict("fail")["output"].as_str().unwrap();
        let files: Vec<&str> = output.lines().map_while(|line| line.strip_prefix("[[ATTACHMENT|")).collect();
        let files: Vec<&str> = files.iter().map(|file| file.strip_suffix("]]").unwrap()).collect();
        for attempt in ["attempt-1", "attempt-2"] {
            for name in ["evidence.txt", "vm.qmp.jsonl"] {
                let file = format!("reports/verdict/fail/{attempt}/{name}");
                assert!(files.contains(&file.as_str()), "{file} is not in {files:?}");
                assert!(self.home.path(&file).is_file(), "{file}");
            }
        }
        assert!(!self.verdict("pass")["output"].to_string().contains("ATTACHMENT"));
    }

    /// The attempts of the flaky case, and the further ones of the failed cases.
    #[track_caller]
    fn assert_attempts(&self) {
        for (what, key, said) in
            [("flaky", "flaky", "got 5"), ("fail", "reruns", "got 4"), ("error", "reruns", "/there/is/none")]
        {
            let attempts = self.verdict(what)[key].as_array().unwrap();
            assert_eq!(attempts.len(), 1, "{what}: {attempts:#?}");
            assert!(attempts[0]["message"].as_str().unwrap().contains(said), "{attempts:#?}");
            let trace = attempts[0]["trace"].as_str().unwrap();
            assert!(trace.contains(&format!("{FILE}:{}:", line_of(what))) && trace.contains(said), "{trace}");
            let output = attempts[0]["output"].as_str().unwrap();
            let number = if what == "flaky" { 1 } else { 2 };
            assert!(output.starts_with(&format!("attempt {number}: ")), "{output}");
            assert!(output.contains("vm: query-status"), "{output}");
        }
        for what in ["pass", "skip", "xfail", "race"] {
            assert_eq!(
                (&self.verdict(what)["flaky"], &self.verdict(what)["reruns"]),
                (&json!([]), &json!([]))
            );
        }
    }

    #[track_caller]
    fn assert_properties(&self) {
        let version = qemu(7).version.to_string();
        let run = &self.all["properties"];
        assert_eq!((&run["seed"], &run["qemu.default"]), (&json!("7"), &json!(version)), "{run:#}");
        assert_eq!(run["qemu.default.binary"], json!(qemu(7).path.display().to_string()), "{run:#}");
        let mut properties = self.verdict("fail")["properties"].clone();
        let waited = properties.as_object_mut().unwrap().remove("metric.runner_wait").unwrap();
        let seconds = waited.as_str().and_then(|text| text.strip_suffix(" s")?.parse::<f64>().ok());
        assert!(seconds.is_some_and(|seconds| (0.0..60.0).contains(&seconds)), "{waited}");
        assert_eq!(properties, json!({"axis.what": "fail", "vm.vm.qemu": version}));
        assert_eq!(self.verdict("skip")["properties"], json!({"axis.what": "skip"}));
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// The line of a case's own step; without one, that of the name.
fn line_of(what: &str) -> usize {
    let own = format!("  - {{when: \"{{{{eq what '{what}'}}}}\"");
    CASES.lines().position(|line| line.starts_with(&own) && line.contains("exec")).map_or(2, |at| at + 1)
}

/// A reader to which an error is a failure.
fn without_errors() -> Expected {
    let mut expected = EXPECTED;
    for (_, status, _) in expected.iter_mut().filter(|(_, status, _)| *status == "error") {
        *status = "failure";
    }
    expected
}

fn junitparser_reads_the_verdicts() {
    let told = told(&format!("{ROOT}/{PYTHON}"), "junitparser_reads.py", None);
    told.assert_statuses(&EXPECTED);
    told.assert_attachments();
    told.assert_attempts();
    told.assert_properties();
    assert_eq!(told.all["counts"], json!({"tests": 11, "failures": 5, "errors": 1, "skipped": 3}));
    // The time is that of the run.
    let events = told.home.results().events;
    let (first, last) = (&events.first().unwrap().what, events.last().unwrap());
    assert!((told.all["seconds"].as_f64().unwrap() - last.at).abs() < 0.01, "{}", last.at);
    let What::RunStarted { time, .. } = first else { panic!("{first:?}") };
    assert_eq!(told.all["timestamp"].as_str().unwrap()[..19], time[..19]);
    for (what, ..) in EXPECTED {
        let case = told.verdict(what);
        assert_eq!((&case["file"], &case["class"]), (&json!(FILE), &json!("cases.all_verdicts")));
        assert_eq!(case["line"], line_of(what), "{case:#}");
    }
}

fn junit2html_reads_the_verdicts() {
    let told = told(&format!("{ROOT}/{PYTHON}"), "junit2html_reads.py", None);
    told.assert_statuses(&without_errors());
    told.assert_attachments();
    told.assert_properties();
    assert_eq!(told.verdict("fail")["class"], "cases.all_verdicts");
    assert!(told.all["page"].as_str().unwrap().contains("known issue: a known one: &lt;5&gt; &amp; more"));
}

fn xunit_viewer_reads_the_verdicts() {
    let told = told("node", "xunit_viewer_reads.mjs", Some(&format!("{ROOT}/{NODE}")));
    told.assert_statuses(&EXPECTED);
    told.assert_attachments();
    told.assert_properties();
    for (what, ..) in EXPECTED {
        let case = told.verdict(what);
        assert_eq!((&case["visible"], &case["file"]), (&json!(true), &json!(FILE)), "{case:#}");
        assert_eq!(case["line"], line_of(what), "{case:#}");
    }
    let texts = strings(&told.verdict("flaky")["texts"]);
    assert!(texts.iter().any(|text| text.contains("got 5")), "{texts:?}");
}

fn junit_to_ctrf_reads_the_verdicts() {
    let told = told("node", "junit_to_ctrf_reads.mjs", Some(&format!("{ROOT}/{NODE}")));
    // It does not read why a case was skipped.
    let expected = without_errors().map(|(what, status, said)| {
        let said = said.filter(|_| status != "skipped");
        (what, status, said)
    });
    told.assert_statuses(&expected);
    told.assert_attachments();
    told.assert_attempts();
    let counts = json!({"tests": 11, "passed": 2, "failed": 6, "skipped": 3, "flaky": 1});
    assert_eq!(told.all["counts"], counts);
    assert_eq!(told.verdict("fail")["file"], FILE);
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
    for file in &files {
        validated(file).unwrap();
    }
    // The schema rejects what readers misread.
    let valid = std::fs::read_to_string(&files[0]).unwrap();
    for (part, wrong) in [
        ("file=\"cases/", "file=\"../cases/"),
        ("file=\"cases/", "file=\"cases/./"),
        ("file=\"cases/", "file=\"/cases/"),
        (" line=\"2\"", " line=\"0\""),
        ("flakyFailure", "rerunFailure"),
        ("rerunFailure", "flakyFailure"),
        ("<stackTrace>", "<trace>"),
        (" skipped=\"3\"", ""),
        ("type=\"runner\"", "type=\"exit\""),
    ] {
        assert!(valid.contains(part), "{part}");
        let closing = (part.replace('<', "</"), wrong.replace('<', "</"));
        home.write("wrong.xml", &valid.replace(part, wrong).replace(&closing.0, &closing.1));
        let said = validated(&home.path("wrong.xml")).expect_err(wrong);
        assert!(said.contains("Schemas validity error"), "{said}");
    }
}

fn attachments_are_below_the_workspace_of_jenkins() {
    let (home, _) = ran();
    let top = home.path("").canonicalize().unwrap();
    let name = top.file_name().unwrap().to_str().unwrap();
    for (workspace, lead) in
        [(top.parent().unwrap(), format!("{name}/")), (Path::new("/there/is/none"), String::new())]
    {
        let mut command = home.lockstep(&["report", "reports", "-o", "again.xml"]);
        command.env("WORKSPACE", workspace);
        home.finish(command).expect(0);
        let line = format!("[CDATA[[[ATTACHMENT|{lead}reports/verdict/fail/attempt-1/evidence.txt]]\n");
        assert!(home.read("again.xml").contains(&line), "{line} is not in {}", home.read("again.xml"));
    }
}

/// What `xmllint` says about a file that is not valid.
fn validated(file: &Path) -> Result<(), String> {
    let mut xmllint = Command::new("xmllint");
    xmllint.arg("--noout").arg("--schema").arg(format!("{ROOT}/schemas/junit.xsd")).arg(file);
    let output = xmllint.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_report_is_valid_by_its_schema, Qemu(7), Xmllint),
            once!(attachments_are_below_the_workspace_of_jenkins, Qemu(7)),
            once!(junitparser_reads_the_verdicts, Qemu(7), Reader(PYTHON)),
            once!(junit2html_reads_the_verdicts, Qemu(7), Reader(".tools/python/bin/junit2html")),
            once!(xunit_viewer_reads_the_verdicts, Qemu(7), Reader(NODE)),
            once!(
                junit_to_ctrf_reads_the_verdicts,
                Qemu(7),
                Reader(".tools/node/node_modules/junit-to-ctrf")
            ),
        ],
    )
}
