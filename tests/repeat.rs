//! Repeated cases: rounds, retries and known issues.

mod common;

use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, VM, qemu};
use lockstep_vm::event::{Verdict, What};

/// A case that fails while there is no marker file, and leaves one.
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
    let told = home.results();
    let case = told.case("once");
    assert_eq!(case.verdict(), Verdict::Flaky);
    assert!(case.reason().unwrap().starts_with("passed on attempt 2; the first attempt failed: "));
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
        let events = home.results().events;
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

/// A case in which a race occurs in the attempts of these numbers, counted over all runs in a home.
fn struck(attempts: &str, at_most: &str) -> String {
    format!(
        "name: race\nknown_issue: {{reason: the pages are torn, match: got 7, step: the race, at_most: {at_most}}}\n\
         vms: {{vm: {VM}}}\nsteps:\n- name: the race\n\
         \x20 exec: {{sh: 'echo >>$HERE/attempts; case \" {attempts} \" in *\" $(wc -l <$HERE/attempts) \"*) exit 7;; esac'}}\n"
    )
}

/// The lines of a file.
fn lines(home: &Home, name: &str) -> usize {
    home.read(name).lines().count()
}

fn a_case_that_a_race_strikes_is_run_again_at_once_and_both_attempts_stand_in_the_reports() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("race.yaml", &struck("1", "5%"));
    let ran = home.run_on(qemu, &["race.yaml"]).expect(0);
    assert_eq!(lines(&home, "attempts"), 2);
    for told in [
        "NOTE   race: a known issue occurred; running the case again: the pages are torn",
        "1 xfailed: the pages are torn",
        "known issue: 1 of 1 case; at most 5% expected: the pages are torn",
    ] {
        assert!(ran.stdout.contains(told), "{told}\n{}", ran.stdout);
    }
    let told = home.results();
    let case = told.case("race");
    assert_eq!(case.verdict(), Verdict::Xfail);
    assert_eq!(case.reason().as_deref(), Some("the pages are torn"));
    assert!(case.artifacts().unwrap().ends_with("race/attempt-1"));
    assert!(home.path("reports/race/attempt-1/evidence.txt").exists());
    let ends: Vec<_> = case
        .events
        .iter()
        .filter_map(|what| match what {
            What::AttemptEnded { attempt, end, .. } => Some((*attempt, end.verdict, end.struck.as_deref())),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(1, Verdict::Xfail, Some("the pages are torn"))]);
    let junit = home.read("reports/junit.xml");
    assert!(junit.contains("earlier attempts:") && junit.contains("got 7"), "{junit}");
    assert!(home.read("reports/index.html").contains("at most 5% expected"));
    home.assert_nothing_is_left();
}

fn a_race_that_occurs_twice_in_a_row_fails_the_case() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("race.yaml", &struck("1 2", "25%"));
    home.run_on(qemu, &["race.yaml"]).expect(1);
    assert_eq!(lines(&home, "attempts"), 2);
    let told = home.results();
    let case = told.case("race");
    assert_eq!(case.verdict(), Verdict::Fail);
    let reason = case.reason().unwrap();
    assert!(reason.contains("got 7") && reason.contains("excused once"), "{reason}");
    assert!(case.artifacts().unwrap().ends_with("race/attempt-2"));
    assert!(home.path("reports/race/attempt-1/evidence.txt").exists());
    home.assert_nothing_is_left();
}

fn an_attempt_excused_by_a_race_is_neither_a_retry_nor_flaky() {
    let qemu = qemu(7);
    let home = Home::new();
    // Another failure in the second attempt, which `--retries` may retry; the race is not excused a second time.
    home.write(
        "race.yaml",
        &(struck("1 3", "5%") + "- exec: {sh: 'test $(wc -l <$HERE/attempts) -ne 2 || exit 5'}\n"),
    );
    home.run_on(qemu, &["race.yaml", "--retries", "1"]).expect(1);
    assert_eq!(lines(&home, "attempts"), 3);
    assert_eq!(home.results().case("race").verdict(), Verdict::Fail);

    std::fs::remove_file(home.path("attempts")).unwrap();
    home.write("race.yaml", &struck("1", "5%"));
    home.run_on(qemu, &["race.yaml", "--retries", "1"]).expect(0);
    assert_eq!(home.results().case("race").verdict(), Verdict::Xfail);
    home.assert_nothing_is_left();
}

fn rounds_and_comparisons_fail_if_a_race_exceeds_its_limit() {
    let qemu = qemu(7);
    let home = Home::new();
    let rounds = |attempts: &str, reports: &str| {
        let _ = std::fs::remove_file(home.path("attempts"));
        home.write("race.yaml", &struck(attempts, "5%"));
        home.run_on(qemu, &["race.yaml", "--repeat", "6", "--reports", reports])
    };
    // 1 of 6 is not unusual at 5 %; 3 of 6 are (0.2 %), although no round failed.
    let seldom = rounds("3", "seldom").expect(0);
    assert!(seldom.stdout.contains("known issue: 1 of 6 runs; at most 5% expected"), "{}", seldom.stdout);
    let often = rounds("1 3 5", "often").expect(1);
    assert!(often.stdout.contains("3 passed, 3 xfailed"), "{}", often.stdout);
    let told = "a known issue occurs too often: in 3 of 6 runs, expected at most 5% (the pages are torn)";
    assert!(often.stdout.contains(&format!("FAIL   {told}")), "{}", often.stdout);
    for report in ["often/junit.xml", "often/index.html"] {
        assert!(home.read(report).contains(told), "{report}");
    }
    assert!(!home.read("seldom/junit.xml").contains("known issues"));
    home.run(&["compare", "seldom", "seldom"]).expect(0);
    let worse = home.run(&["compare", "seldom", "often"]).expect(1);
    assert!(worse.stdout.contains(&format!("B: {told}")), "{}", worse.stdout);
    home.run(&["compare", "often", "seldom"]).expect(0);
    home.assert_nothing_is_left();
}

fn wrong_memory_on_each_attempt_or_several_passes_off_is_not_excused() {
    let qemu = qemu(7);
    let home = Home::new();
    // The last page of RAM is set back some passes while the guest is stopped, in every attempt, like a QEMU that
    // always loses it.
    let lost = |far: &str| {
        format!(
            "name: lost\nknown_issue:\n- reason: a page is lost\n  at_most: 5%\n  step: the guest runs on\n\
             \x20 match: \"^VM `vm`: the guest found its memory wrong: page 8191 .* \\\\({far} behind\\\\)\"\n\
             vms:\n  vm:\n    machine: pc,memory-backend=ram\n    memory: 32M\n    guest: {{ticker: {{dirty: 1M}}}}\n\
             \x20   objects: [{{qom-type: memory-backend-file, id: ram, mem-path: '{{{{case.dir}}}}/ram', size: 33554432, share: true}}]\n\
             steps:\n- wait: {{vm: vm, ticks: 1}}\n- qmp: {{vm: vm, execute: stop}}\n- exec: {{sh: cp ram before}}\n\
             - qmp: {{vm: vm, execute: cont}}\n- wait: {{vm: vm, ticks: 2}}\n- qmp: {{vm: vm, execute: stop}}\n\
             - exec: {{sh: dd if=before of=ram bs=4096 count=1 skip=8191 seek=8191 conv=notrunc status=none}}\n\
             - name: the guest runs on\n  block:\n  - qmp: {{vm: vm, execute: cont}}\n  - wait: {{vm: vm, ticks: 3}}\n"
        )
    };
    let attempts = || {
        home.results()
            .case("lost")
            .events
            .iter()
            .filter(|what| matches!(what, What::AttemptEnded { .. }))
            .count()
    };
    home.write("lost.yaml", &lost("[0-9]+"));
    home.run_on(qemu, &["lost.yaml"]).expect(1);
    assert_eq!((home.results().case("lost").verdict(), attempts()), (Verdict::Fail, 1));
    let reason = home.results().case("lost").reason().unwrap_or_default();
    assert!(
        reason.contains("page 8191 (address 0x1fff000) holds ") && reason.contains("excused once"),
        "{reason}"
    );

    home.write("lost.yaml", &lost("1"));
    home.run_on(qemu, &["lost.yaml"]).expect(1);
    assert_eq!((home.results().case("lost").verdict(), attempts()), (Verdict::Fail, 0));
    home.assert_nothing_is_left();
}

/// A guest is stopped and continued by two branches that run at the same time; in some rounds, counted over all runs
/// in a home, it is stopped last, and then does not run.
fn stopped_last(rounds: &str) -> String {
    let last = format!("echo \" {rounds} \" | grep -q \" $(wc -l <$HERE/rounds) \"");
    r"name: raced
vms: {vm: VM}
steps:
- wait: {vm: vm, ticks: 1}
- exec: {sh: 'echo >>$HERE/rounds; mkfifo go'}
- parallel:
    stop:
    - exec: {sh: 'if LAST; then read word <go; fi'}
    - qmp: {vm: vm, execute: stop}
    - exec: {sh: 'if ! LAST; then echo >go; fi'}
    cont:
    - exec: {sh: 'if ! LAST; then read word <go; fi'}
    - qmp: {vm: vm, execute: cont}
    - exec: {sh: 'if LAST; then echo >go; fi'}
- name: the guest runs
  check: {vm: vm, query: query-status, is: {running: true}}
"
    .replace("VM", VM)
    .replace("LAST", &last)
}

fn the_rounds_of_a_case_are_compared_and_the_race_is_named() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("raced.yaml", &stopped_last("2 5 6 9 11 14 15 19"));
    home.run_on(qemu, &["raced.yaml", "--repeat", "12", "--reports", "one"]).expect(1);
    home.run_on(qemu, &["raced.yaml", "--repeat", "8", "--reports", "other"]).expect(1);
    home.write("once.yaml", &fails_once());
    home.run_on(qemu, &["raced.yaml", "once.yaml", "--reports", "more"]).expect(1);

    let both = home.run(&["compare", "one", "other", "--case", "raced"]).expect(0).stdout;
    let lines: Vec<&str> = both.lines().collect();
    assert_eq!(lines[0], "raced: 8 failing and 12 passing rounds, aligned at the start");
    assert!(lines[1].starts_with("  1. in 8 of 8 failing and 0 of 12 passing rounds, "), "{both}");
    let raced = ["`cont` to `vm`", "RESUME of `vm`", "`stop` to `vm`", "STOP of `vm`"];
    assert!(raced.iter().any(|name| lines[1].contains(name)), "{both}");
    assert!(both.contains(" and A, round 2 (failed), in ms from the start\n"), "{both}");
    assert!(both.contains("\n  A, round 2 failed: "), "{both}");
    // The same run twice is one run, and its rounds count once.
    let one = home.run(&["compare", "one", "one/events.jsonl", "--case", "r?ced"]).expect(0).stdout;
    assert!(one.starts_with("raced: 5 failing and 7 passing rounds, "), "{one}");
    assert_eq!(one, home.run(&["compare", "one", "--case", "raced"]).expect(0).stdout);
    let json = home.run(&["compare", "one", "other", "--case", "raced", "--format", "json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"][0]["failing"], serde_json::json!([8, 8]));
    assert!(json["pair"]["marks"].as_array().is_some_and(|marks| marks.len() > 10), "{json}");
    let markdown = home.run(&["compare", "one", "--case", "raced", "--format", "markdown"]).expect(0).stdout;
    assert!(markdown.starts_with("## raced: ") && markdown.contains("\n1. in 5 of 5 "), "{markdown}");

    let wrong = |arguments: &[&str], message: &str| {
        let ran = home.run(&[&["compare"], arguments].concat()).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.trim_end()), ("", message));
    };
    wrong(&["one", "--case", "rcaed"], "error: one has no case `rcaed`; did you mean `raced`?");
    wrong(&["more", "one", "--case", "once"], "error: one has no case `once`; available: raced");
    wrong(&["more", "--case", "*"], "error: --case * selects 2 cases of more: raced, once; name one of them");
    wrong(
        &["one", "--case", "a["],
        "error: --case a[: not a valid pattern: unclosed character class; missing ']'",
    );
    wrong(
        &["more", "--case", "once"],
        "error: only one round of `once` ran to its end, and a comparison needs two: give another run, or repeat the \
         case with `lockstep run --repeat 20`",
    );
    wrong(
        &["one", "--case", "raced", "--align", "yank"],
        "error: no round of `raced` can be aligned at the yank; the marks are: the start",
    );
    wrong(
        &["nowhere", "--case", "raced"],
        "error: cannot read nowhere: No such file or directory (os error 2)",
    );
    home.run(&["compare", "one"]).expect(2);
    home.assert_nothing_is_left();
}

/// In the place of QEMU's `migration-test`, as far as `benches/upstream` uses it: GLib's `-l`, `-p` and `-s`, with TAP.
/// A case named `broken` fails.
const STAND_IN: &str = r#"#!/bin/sh
cases="bad_dest broken/none new/case precopy/tcp/plain precopy/tcp/plain/switchover-ack"
case $1 in -l) for case in $cases; do echo "/x86_64/migration/$case"; done; exit ;; esac
selected= skipped= number=0
while [ $# -gt 0 ]; do
    case $1 in -p) selected=$2; shift ;; -s) skipped="$skipped $2 "; shift ;; esac
    shift
done
test -x "$QTEST_QEMU_BINARY" || exit 1
echo "TAP version 14"
for case in $cases; do
    path=/x86_64/migration/$case
    case $path in "$selected" | "$selected"/*) ;; *) continue ;; esac
    number=$((number + 1)) ok=ok
    case $case in BROKEN) ok="not ok" ;; esac
    case $skipped in *" $path "*) echo "ok $number $path # SKIP" ;; *) echo "$ok $number $path" ;; esac
done
echo "1..$number"
"#;

fn the_cases_of_qemus_own_test_are_timed_in_turn_with_those_of_the_same_name() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let program = |name: &str, text: &str| {
        let path = home.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    std::fs::create_dir_all(home.path("build/tests/qtest")).unwrap();
    program("build/qemu-system-x86_64", &format!("#!/bin/sh\nexec {} \"$@\"\n", qemu(7).path.display()));
    let run = |broken: &str, patterns: &[&str]| {
        program("build/tests/qtest/migration-test", &STAND_IN.replace("BROKEN", broken));
        let mut command = home.command(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/upstream"));
        command.env("LOCKSTEP", env!("CARGO_BIN_EXE_lockstep")).env("LOCKSTEP_ROUNDS", "1");
        home.finish({
            command.env("LOCKSTEP_QEMU_BUILD", home.path("build")).args(patterns);
            command
        })
    };
    let ran = run("none", &["bad_dest", "*tcp/plain"]).expect(0);
    let row = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{}", ran.stdout)).split_whitespace().collect::<Vec<_>>()
    };
    for name in ["bad_dest", "precopy/tcp/plain"] {
        let row = row(name);
        assert!(row.len() == 6 && row[5].parse::<f64>().is_ok(), "{row:?}");
    }
    assert!(ran.stdout.contains("\n2 compared, the sum "), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nonly in migration-test: new/case\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nonly in Lockstep: analyze-script\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("only in Lockstep: bad_dest"), "{}", ran.stdout);

    let ran = run("bad_dest", &["bad_dest"]).expect(1);
    assert!(ran.stdout.contains("bad_dest: failed with upstream:\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nno case was compared\n"), "{}", ran.stdout);
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
            once!(
                a_case_that_a_race_strikes_is_run_again_at_once_and_both_attempts_stand_in_the_reports,
                Qemu(7)
            ),
            once!(a_race_that_occurs_twice_in_a_row_fails_the_case, Qemu(7)),
            once!(an_attempt_excused_by_a_race_is_neither_a_retry_nor_flaky, Qemu(7)),
            once!(the_rounds_of_a_case_are_compared_and_the_race_is_named, Qemu(7)),
            once!(rounds_and_comparisons_fail_if_a_race_exceeds_its_limit, Qemu(7)),
            once!(wrong_memory_on_each_attempt_or_several_passes_off_is_not_excused, Qemu(7)),
            once!(the_cases_of_qemus_own_test_are_timed_in_turn_with_those_of_the_same_name, Qemu(7)),
        ],
    )
}
