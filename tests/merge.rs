//! `lockstep merge`: shards become one run.

mod common;
#[path = "support/junit.rs"]
mod junit;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, VM, qemu};
use junit::cases;
use lockstep_vm::event::{Event, Verdict, What};

/// Four cases, of which `grid/3` fails, and the reports of two shards and of an unsharded run.
fn home() -> Home {
    let qemu = qemu(5);
    let home = Home::new();
    home.write(
        "grid.yaml",
        &format!(
            "name: grid/{{{{x}}}}\nmatrix: {{x: [1, 2, 3, 4]}}\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n\
             - check: {{value: \"{{{{x}}}}\", below: 2}}\n  when: \"{{{{eq x 3}}}}\"\n"
        ),
    );
    for (shard, code) in [("1/2", 1), ("2/2", 0), ("1/1", 1)] {
        let reports = format!("shards/{}", shard.replace('/', "-"));
        home.run_on(qemu, &["grid.yaml", "--shard", shard, "--reports", &reports]).expect(code);
    }
    home
}

fn the_merged_run_is_that_of_one_machine() {
    let home = home();
    let ran = home.run(&["merge", "shards/2-2", "shards/1-2", "-o", "reports"]).expect(1);
    assert!(ran.stdout.starts_with("NOTE   shard 1 of 2 on "), "{}", ran.stdout);
    assert!(ran.stdout.contains(" (shards/1-2): 2 cases in "), "{}", ran.stdout);
    assert!(ran.stdout.contains(" by its clock\n"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(": 3 passed, 1 failed\n"), "{}", ran.stdout);
    let merged = home.results();
    assert_eq!(merged.cases(), ["grid/1", "grid/2", "grid/3", "grid/4"]);
    assert_eq!(merged.case("grid/3").verdict(), Verdict::Fail);
    assert_eq!(merged.case("grid/3").artifacts().unwrap(), std::path::Path::new("shards/1-2/grid/3"));
    let hosts = merged.events.iter().filter_map(|event| match &event.what {
        What::CaseStarted { host, .. } => host.clone(),
        _ => None,
    });
    assert_eq!(hosts.count(), 4);
    let whole = home.read("shards/1-1/junit.xml");
    assert_eq!(cases(&home.read("reports/junit.xml")), cases(&whole));
    let sums = |xml: &str| {
        let document = roxmltree::Document::parse(xml).unwrap();
        ["tests", "failures", "errors", "skipped"]
            .map(|name| document.root_element().attribute(name).map(str::to_owned))
    };
    assert_eq!(sums(&home.read("reports/junit.xml")), sums(&whole));
    assert!(home.read("reports/index.html").contains("<th>shard 2</th>"));
    assert!(home.read("reports/durations.json").contains("\"grid/4\": "));
    home.assert_nothing_is_left();
}

fn a_missing_shard_one_that_was_cut_off_and_a_case_that_ran_twice_are_named() {
    let home = home();
    let missing = home.run(&["merge", "shards/2-2", "-o", "reports"]).expect(1);
    assert!(missing.stdout.contains("NOTE   shard 1 of 2 is missing\n"), "{}", missing.stdout);
    assert!(
        missing.stdout.contains("the run did not finish: 2 of 4 cases did not run"),
        "{}",
        missing.stdout
    );
    // Of the second shard, what was written until its first case ended.
    let events = home.read("shards/2-2/events.jsonl");
    let until = events.find("case_ended").unwrap();
    let until = until + events[until..].find('\n').unwrap() + 1;
    home.write("cut/events.jsonl", &events[..until]);
    let cut = home.run(&["merge", "shards/1-2", "cut", "-o", "reports"]).expect(1);
    assert!(cut.stdout.contains(" (cut) was cut off\n"), "{}", cut.stdout);
    assert!(cut.stdout.contains("the run did not finish: 1 of 4 cases did not run"), "{}", cut.stdout);
    let twice = home.run(&["merge", "shards/1-2", "cut", "shards/2-2", "-o", "reports"]).expect(1);
    assert!(twice.stdout.contains("NOTE   grid/2 ran twice: pass in shard 2 of 2 "), "{}", twice.stdout);
    assert!(twice.stdout.ends_with(": 3 passed, 1 failed\n"), "{}", twice.stdout);
    home.assert_nothing_is_left();
}

fn what_cannot_be_merged_is_one_error_and_nothing_is_written() {
    let home = home();
    home.write("folder/x", "");
    let mut other: Vec<Event> = home
        .read("shards/2-2/events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let write = |name: &str, events: &[Event]| {
        let lines = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n");
        home.write(name, &lines.collect::<String>());
    };
    if let What::RunStarted { shard, .. } = &mut other[0].what {
        shard.as_mut().unwrap().partition = String::from("0");
        write("other/events.jsonl", &other);
    }
    if let What::RunStarted { shard, .. } = &mut other[0].what {
        *shard = None;
        write("whole/events.jsonl", &other);
    }
    for (runs, message) in [
        (&["folder"][..], "error: folder is not the reports directory of a run: it has no events.jsonl\n"),
        (&["none"], "error: none is not the reports directory of a run: it has no events.jsonl\n"),
        (&["whole"], "error: whole was run without --shard\n"),
        (&["shards/1-2", "shards/../shards/1-2"], "error: shards/../shards/1-2 is named twice\n"),
    ] {
        let ran = home.run(&[&["merge", "-o", "reports"], runs].concat()).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", message));
    }
    let ran = home.run(&["merge", "-o", "reports", "shards/1-2", "other"]).expect(2);
    assert!(
        ran.stderr.contains(" are not shards of the same run: their selections or durations differ\n"),
        "{ran:?}"
    );
    let ran = home.run(&["merge", "-o", "shards/1-2", "shards/1-2", "shards/2-2"]).expect(2);
    assert!(ran.stderr.contains("shards/1-2 is one of the shards"), "{ran:?}");
    assert!(!home.path("reports").exists());
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_merged_run_is_that_of_one_machine, Qemu(5)),
            once!(a_missing_shard_one_that_was_cut_off_and_a_case_that_ran_twice_are_named, Qemu(5)),
            once!(what_cannot_be_merged_is_one_error_and_nothing_is_written, Qemu(5)),
        ],
    )
}
