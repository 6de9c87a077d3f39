//! A run that was cut off and is continued: `run --resume`.

mod common;
#[path = "support/whole.rs"]
mod whole;

use std::collections::BTreeMap;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, Qemu, Ran, VM, names, qemu, signal, wait_until};
use lockstep_vm::event::{Event, Verdict, What};
use rustix::process::Signal;
use whole::wrong;

/// Four cases: the first fails, the third waits for the file `go`.
fn four() -> String {
    format!(
        "name: 'case/{{{{n}}}}/{{{{x}}}}'\n\
         matrix: {{n: [1, 2, 3, 4], x: {{random: {{count: 1, from: 1, to: 1000000000}}}}}}\n\
         vms: {{vm: {VM}}}\n\
         steps:\n\
         - wait: {{vm: vm, ticks: 1}}\n\
         - exec: {{sh: \"test {{{{n}}}} != 1\"}}\n\
         - exec: {{sh: \"if test {{{{n}}}} = 3 && ! test -e $HERE/go; then touch $HERE/reached; sleep 1000; fi\"}}\n  \
         timeout: 1h\n"
    )
}

/// Starts a run, and ends it in its third case.
fn cut_off(home: &Home, qemu: &Qemu, arguments: &[&str], by: Signal) -> Ran {
    let path = qemu.path.display().to_string();
    let child = home.spawn(home.lockstep(&[&["run", "--accel", "tcg", "--qemu", &path], arguments].concat()));
    wait_until("the third case", || home.path("reached").exists().then_some(()), String::new);
    signal(&child, by);
    let ran = home.ended(child);
    std::fs::remove_file(home.path("reached")).unwrap();
    ran
}

fn events_of(home: &Home) -> Vec<Event> {
    home.results().events
}

/// The test cases of junit.xml without times, and their results.
fn tests(home: &Home) -> Vec<String> {
    let text = home.read("reports/junit.xml");
    let shown = |test: &str| {
        let tag = test.split('>').next().unwrap_or_default();
        let name = tag.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let failure = test.split("<failure").nth(1).and_then(|rest| rest.split('>').next());
        let properties = test.split("</properties>").next().unwrap_or_default();
        let properties: Vec<&str> =
            properties.split("<property ").skip(1).filter(|text| !text.contains("\"metric.")).collect();
        format!("{name} {failure:?} {properties:?}")
    };
    text.split("<testcase ").skip(1).map(shown).collect()
}

fn a_killed_run_is_continued_with_nothing_lost_and_nothing_twice() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("four.yaml", &four());
    let run = ["four.yaml", "--repeat", "2"];
    let ran = cut_off(&home, qemu, &run, Signal::KILL);
    assert_eq!(ran.signal, Some(Signal::KILL.as_raw()));
    home.assert_nothing_is_left();
    let first = events_of(&home);
    let done = |event: &&Event| event.case.is_none_or(|number| number < 2);
    assert!(first.iter().any(|event| !done(&event)), "a case was cut off");
    assert!(!wrong(&first, 0..8).is_empty());
    let kept: Vec<Event> = first.iter().filter(done).cloned().collect();
    let failed = names(&home.path("reports/case/1"));

    // The runner is interrupted, then killed again; the cases that it was in have no verdict.
    let resume = [&run[..], &["--resume", "reports"]].concat();
    assert_eq!(cut_off(&home, qemu, &resume, Signal::INT).code, Some(130));
    cut_off(&home, qemu, &resume, Signal::KILL);
    home.write("go", "");
    let ran = home.run_on(qemu, &resume).expect(1);
    assert!(ran.stdout.contains("8 cases"), "{}", ran.stdout);
    let events = events_of(&home);
    assert_eq!(wrong(&events, 0..8), [""; 0]);
    assert_eq!(events[..kept.len()], kept, "the earlier part stays as it is");
    assert_eq!(names(&home.path("reports/case/1")), failed);
    let verdicts: Vec<Verdict> = home.results().events.iter().filter_map(ended).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Fail).count(), 2);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Pass).count(), 6);
    assert!(home.read("reports/index.html").contains("<td>8 in "), "the page has all cases");
    let known: BTreeMap<String, BTreeMap<String, f64>> =
        serde_json::from_str(&home.read("reports/durations.json")).unwrap();
    assert_eq!(known["four.yaml"].len(), 4);

    // The checks see a case that is lost, and one that ran twice.
    let lost: Vec<Event> = events.iter().filter(|event| event.case != Some(5)).cloned().collect();
    assert_eq!(wrong(&lost, 0..8), ["case 5 started 0 times and ended 0 times"]);
    let mut twice = events.clone();
    twice.extend(events.iter().filter(|event| event.case == Some(4)).cloned());
    assert!(wrong(&twice, 0..8).contains(&"case 4 started 2 times and ended 2 times".to_owned()));

    // A run that has finished.
    let text = home.read("reports/events.jsonl");
    let ran = home.run_on(qemu, &resume).expect(1);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("report: reports/index.html\n", "note: nothing is left to run: the run in reports has finished\n")
    );
    assert_eq!(home.read("reports/events.jsonl"), text);

    // A run that was not cut off has the same test cases.
    let continued = tests(&home);
    let What::RunStarted { seed: Some(seed), .. } = events[0].what else { panic!("{:?}", events[0]) };
    home.run_on(qemu, &[&run[..], &["--seed", &seed.to_string()]].concat()).expect(1);
    assert_eq!(tests(&home), continued);
    assert_eq!(continued.len(), 8);
    assert_eq!(continued.iter().filter(|test| test.contains(" Some(")).count(), 2, "{continued:#?}");
    home.assert_nothing_is_left();
}

fn ended(event: &Event) -> Option<Verdict> {
    match &event.what {
        What::CaseEnded(end) => Some(end.verdict),
        _ => None,
    }
}

fn parallel_cases_that_were_cut_off_run_again() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("four.yaml", &four());
    let run = ["four.yaml", "--repeat", "3", "-j", "2", "--shard", "1/2", "--keep", "always"];
    let mine = [0, 2, 4, 6, 8, 10];
    cut_off(&home, qemu, &run, Signal::KILL);
    home.write("go", "");
    let resume = [&run[..], &["--resume", "reports"]].concat();
    home.run_on(qemu, &resume).expect(1);
    assert_eq!(wrong(&events_of(&home), mine), [""; 0]);
    // The end of the file may be cut off, and so may be what the reports were made from.
    let text = home.read("reports/events.jsonl");
    let cut = text.rfind("\"case_ended\"").unwrap();
    home.write("reports/events.jsonl", &text[..cut]);
    std::fs::remove_file(home.path("reports/junit.xml")).unwrap();
    home.run_on(qemu, &resume).expect(1);
    assert_eq!(wrong(&events_of(&home), mine), [""; 0]);
    assert_eq!(tests(&home).len(), 6);
    home.assert_nothing_is_left();
}

fn a_run_that_goes_on_is_left_alone() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("four.yaml", &four());
    let path = qemu.path.display().to_string();
    let run = ["run", "--accel", "tcg", "--qemu", &path, "four.yaml"];
    let mut child = home.spawn(home.lockstep(&run));
    wait_until("the third case", || home.path("reports/case").exists().then_some(()), String::new);
    let busy = |ran: &Ran, cannot: &str| {
        assert_eq!(ran.stderr, format!("error: {cannot}: another run is writing events.jsonl\n"));
    };
    let ran = home.run(&[&run[..], &["--resume", "reports"]].concat()).expect(2);
    busy(&ran, "--resume: cannot continue the run in reports");
    busy(&home.run(&run).expect(2), "cannot remove the artifacts of an earlier run from reports");
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    home.write("go", "");
    home.run(&[&run[..], &["--resume", "reports"]].concat()).expect(1);
    assert_eq!(wrong(&events_of(&home), 0..4), [""; 0]);
    home.assert_nothing_is_left();
}

fn a_different_run_is_not_continued() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("four.yaml", &four());
    cut_off(&home, qemu, &["four.yaml", "--seed", "7"], Signal::KILL);
    let text = home.read("reports/events.jsonl");
    let wrong = |arguments: &[&str], message: &str| {
        let ran = home.run_on(qemu, &[arguments, &["--resume", "reports"]].concat()).expect(2);
        assert!(ran.stderr.starts_with(&format!("error: {message}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert_eq!((home.read("reports/events.jsonl"), ran.stdout.as_str()), (text.clone(), ""));
    };
    let options = "--resume: the options of the earlier run and of this one differ: ";
    wrong(&["four.yaml", "--seed", "8"], options);
    wrong(&["four.yaml", "-D", "n=1"], options);
    wrong(&["four.yaml", "--qemu", "other=/usr/bin/true"], options);
    let cases = "--resume: the numbers of cases, all rounds counted, of the earlier run and of this one differ: 4, and ";
    wrong(&["four.yaml", "--repeat", "2"], &format!("{cases}8"));
    wrong(&["four.yaml", "--case", "case/[12]/*"], &format!("{cases}2"));
    wrong(&["four.yaml", "--shard", "1/2"], "--resume: the parts of --shard of the earlier run");
    wrong(&["four.yaml", "--repeat", "1m"], "--resume needs a known number of rounds");
    home.write("other.yaml", &four().replace("case/", "other/"));
    let differ = "--resume: the cases or parameters of the earlier run and of this one differ";
    wrong(&["other.yaml"], differ);
    home.write("four.yaml", &four().replace("4], x", "5], x"));
    wrong(&["four.yaml"], differ);

    home.write("four.yaml", &four());
    let other = text.replacen("\"version\":\"", "\"version\":\"0", 1);
    assert_ne!(other, text);
    home.write("other/events.jsonl", &other);
    let ran = home.run_on(qemu, &["four.yaml", "--resume", "other"]).expect(2);
    assert!(ran.stderr.starts_with("error: --resume: the QEMUs of the earlier run"), "{}", ran.stderr);
    let ran = home.run_on(qemu, &["four.yaml", "--resume", "nowhere"]).expect(2);
    assert!(ran.stderr.starts_with("error: --resume: cannot read nowhere/events.jsonl"), "{}", ran.stderr);
    home.write("nowhere/events.jsonl", "");
    let ran = home.run_on(qemu, &["four.yaml", "--resume", "nowhere"]).expect(2);
    assert!(ran.stderr.contains("nowhere/events.jsonl is empty"), "{}", ran.stderr);
    home.run(&["run", "four.yaml", "--resume", "reports", "--watch"]).expect(2);
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_killed_run_is_continued_with_nothing_lost_and_nothing_twice, Qemu(7)),
            once!(parallel_cases_that_were_cut_off_run_again, Qemu(7)),
            once!(a_run_that_goes_on_is_left_alone, Qemu(7)),
            once!(a_different_run_is_not_continued, Qemu(7)),
        ],
    )
}
