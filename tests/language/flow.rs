//! Hooks, loops, deadlines, known issues and the options of a run.

use std::process::Stdio;

use lockstep_vm::event::Verdict::{Fail, Pass, Skip, Xfail};
use lockstep_vm::event::{Event, What};

use super::{outcomes, run, write};
use crate::common::{self, Home, Results, VM, qemu, wait_until};

pub(super) fn finally_always_runs_and_its_failure_fails_the_case() {
    let finally = "\nfinally:\n- exec: {sh: \"touch {{env.HERE}}/{{case.name}}.done\"}";
    let with = |steps: &str| format!("{steps}{finally}");
    let fails = with("- exec: {sh: exit 1}\n- exec: {sh: \"touch {{env.HERE}}/never\"}");
    let passes = with("- exec: {sh: exit 0}");
    let dies = with("- exec: {sh: \"kill -KILL {{run.vm.a.pid}}\"}\n- wait: {vm: a, event: POWERDOWN}");
    let used_up = format!("timeout: 1s\nsteps:\n{}", with("- exec: {sh: sleep 3600}\n  timeout: 1h"));
    let (home, results) = run(
        &[
            ("fails", fails.as_str(), Fail, "got 1"),
            ("passes", passes.as_str(), Pass, ""),
            ("dies", dies.as_str(), Fail, "^VM `a` died: signal KILL"),
            ("used_up", used_up.as_str(), Fail, "the case's timeout of 1s expired"),
            ("only_finally_fails", "- exec: {sh: exit 0}\nfinally:\n- exec: {sh: exit 5}", Fail, "got 5"),
            ("both_fail", "- exec: {sh: exit 4}\nfinally:\n- exec: {sh: exit 5}", Fail, "got 4"),
        ],
        &[],
    );
    for name in ["fails", "passes", "dies", "used_up"] {
        assert!(home.path(&format!("{name}.done")).exists(), "{name}");
        assert!(results.case(name).steps().last().unwrap().finally);
    }
    assert!(!home.path("never").exists(), "a step after the one that failed has run");
}

pub(super) fn hooks_used_files_and_loops_expand_to_their_steps() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write(
        "steps.yaml",
        "params: {word: {required: true}}\nsteps:\n- exec: {sh: \"echo {{word}} >> {{env.HERE}}/log\"}\n",
    );
    home.write(
        "template.yaml",
        &format!(
            "params: {{x: 1}}\nvms: {{a: {VM}}}\nhooks: {{one: [], two: []}}\nsteps:\n- hook: one\n\
             - exec: {{sh: \"echo template {{{{x}}}} >> {{{{env.HERE}}}}/log\"}}\n- hook: two\n"
        ),
    );
    home.write(
        "case.yaml",
        r#"
extends: template.yaml
with: {x: 2}
hooks:
  one:
  - exec: {sh: "echo hook >> {{env.HERE}}/log"}
  two:
  - use: {file: steps.yaml, with: {word: used}}
  - repeat: {times: 2, steps: [{exec: {sh: "echo times >> {{env.HERE}}/log"}}]}
  - repeat: {over: [p, q], as: item, steps: [{exec: {sh: "echo over {{item}} >> {{env.HERE}}/log"}}]}
  - set: {rounds: 0}
  - timeout: 2m
    repeat:
      until: {vm: a, status: paused}
      steps:
      - exec: {sh: "printf $(({{run.captures.rounds}} + 1))"}
        capture: round
      - set: {rounds: "{{run.captures.round.stdout}}"}
      - exec: {sh: "echo until >> {{env.HERE}}/log; test {{run.captures.rounds}} -lt 3 || printf yes"}
        capture: done
      - when: "{{eq run.captures.done.stdout 'yes'}}"
        qmp: {vm: a, execute: stop}
"#,
    );
    let ran = home.run_on(qemu, &["case.yaml"]).expect(0);
    assert!(ran.stdout.contains("1 passed"));
    assert_eq!(
        home.read("log"),
        "hook\ntemplate 2\nused\ntimes\ntimes\nover p\nover q\nuntil\nuntil\nuntil\n"
    );
}

pub(super) fn a_loop_tests_its_condition_once_per_round_until_its_deadline() {
    let (_, results) = run(
        &[
            (
                "event",
                "- timeout: 2m\n  repeat:\n    until: {vm: a, event: STOP, count: 3}\n    steps:\n    \
                 - qmp: {vm: a, execute: stop}\n    - qmp: {vm: a, execute: cont}",
                Pass,
                "",
            ),
            (
                "never",
                "- timeout: 1s\n  repeat:\n    until: {vm: a, status: paused}\n    steps:\n    - qmp: {vm: a, execute: query-name}",
                Fail,
                "^waited 1.* for run state paused of `a`; saw running",
            ),
            (
                "never_an_event",
                "- timeout: 1s\n  repeat:\n    until: {vm: a, event: POWERDOWN}\n    steps:\n    - qmp: {vm: a, execute: query-name}",
                Fail,
                "for event POWERDOWN of `a`; saw 0 of 1",
            ),
            (
                "dies",
                "- exec: {background: k, exit: 0, sh: \"kill -KILL {{run.vm.a.pid}}\"}\n- timeout: 1h\n  repeat:\n    \
                 until: {vm: a, event: POWERDOWN}\n    steps:\n    - exec: {sh: 'true'}",
                Fail,
                "^VM `a` died: signal KILL",
            ),
            (
                "ends",
                "- exec: {background: k, exit: 0, sh: \"kill -TERM {{run.vm.a.pid}}\"}\n- timeout: 2m\n  repeat:\n    \
                 until: {vm: a, exit: 0}\n    steps:\n    - exec: {sh: 'while kill -0 {{run.vm.a.pid}}; do sleep 0.05; done'}",
                Pass,
                "",
            ),
        ],
        &[],
    );
    assert_eq!(outcomes(&results.case("event")).len(), 6, "three rounds, none too many");
    assert!(results.case("never_an_event").steps().len() > 3, "more than one round");
}

pub(super) fn slow_multiplies_the_timeouts_of_steps_and_cases() {
    let cases = [
        ("step", "- exec: {sh: sleep 1}\n  timeout: 100ms", Pass, ""),
        ("case", "timeout: 100ms\nsteps:\n- exec: {sh: sleep 1}", Pass, ""),
        (
            "both",
            "timeout: 30ms\nsteps:\n- exec: {sh: sleep 3600}\n  timeout: 1h",
            Fail,
            "the case's timeout of 30ms expired",
        ),
    ];
    run(&cases, &["--slow", "100"]);
    let cases = [
        (
            "step",
            "- wait: {vm: a, event: POWERDOWN}\n  timeout: 300ms",
            Fail,
            "^waited .* for event POWERDOWN",
        ),
        (
            "case",
            "timeout: 8s\nsteps:\n- wait: {vm: a, event: POWERDOWN}",
            Fail,
            "the case's timeout of 8s expired",
        ),
    ];
    run(&cases, &[]);
}

const PASSES: &str = "- exec: {sh: exit 0}";
const EXIT_3: &str = "- exec: {sh: exit 3}";
const EXIT_4: &str = "- exec: {sh: exit 4}";

pub(super) fn a_known_issue_excuses_its_own_failure_only() {
    let known = "known_issue: {reason: gitlab 42, match: got 3}\nsteps:\n";
    let race = "known_issue: {reason: gitlab 43, match: got 3, at_most: 5%}\nsteps:\n";
    let often = "known_issue: {reason: gitlab 44, match: got 3, attempts: 3}\nsteps:\n";
    let third = "- exec: {sh: 'echo >>$HERE/third; test $(wc -l <$HERE/third) -lt 3 || exit 3'}";
    let once = "- exec: {sh: 'test -e $HERE/once || { touch $HERE/once; exit 3; }'}";
    let elsewhere = "known_issue: {when: false, reason: r, match: x}\nsteps:\n";
    let (home, _) = run(
        &[
            ("known", format!("{known}{EXIT_3}"), Xfail, "^gitlab 42$"),
            ("known_passes", format!("{known}{PASSES}"), Fail, "did not occur .gitlab 42."),
            ("known_other", format!("{known}{EXIT_4}"), Fail, "got 4"),
            ("known_elsewhere", format!("{elsewhere}{PASSES}"), Pass, ""),
            ("race_lost_once", format!("{race}{once}"), Xfail, "^gitlab 43$"),
            ("race_lost", format!("{race}{EXIT_3}"), Fail, "got 3.* .a known issue is excused once"),
            ("race_won", format!("{race}{PASSES}"), Pass, ""),
            ("race_other", format!("{race}{EXIT_4}"), Fail, "got 4"),
            ("often", format!("{often}{third}"), Xfail, "^gitlab 44$"),
            ("often_never", format!("{often}{PASSES}"), Fail, "did not occur in 3 attempts .gitlab 44."),
        ],
        &[],
    );
    assert_eq!(skipped_in_junit(&home), ["known", "often", "race_lost_once"]);
}

pub(super) fn a_known_issue_with_a_step_excuses_failures_of_that_step_only() {
    let at = |steps: &str| {
        format!("known_issue: {{reason: gitlab 45, match: got 3, step: here}}\nsteps:\n{steps}")
    };
    let exit = "[{exec: {sh: exit 3}}]";
    let until = "until: {vm: a, status: paused}";
    let (home, _) = run(
        &[
            ("step", at("- block: [{name: here, exec: {sh: exit 3}}]"), Xfail, "^gitlab 45$"),
            (
                "group",
                at(&format!("- {{name: here, repeat: {{times: 2, steps: {exit}}}}}")),
                Xfail,
                "^gitlab 45$",
            ),
            (
                "until",
                at(&format!("- {{name: here, repeat: {{{until}, steps: {exit}}}}}")),
                Xfail,
                "^gitlab 45$",
            ),
            ("elsewhere", at(&format!("{EXIT_3}\n- {{name: here, sleep: 1ms}}")), Fail, "got 3"),
        ],
        &[],
    );
    assert_eq!(skipped_in_junit(&home), ["group", "step", "until"]);
}

pub(super) fn a_negative_control_passes_only_with_the_expected_failure() {
    let control = "must_fail: {match: got 3}\nsteps:\n";
    let disabled = "must_fail: {when: false, match: got 3}\nsteps:\n";
    run(
        &[
            ("fails", format!("{control}{EXIT_3}"), Pass, "^failed as expected"),
            (
                "passes",
                format!("{control}{PASSES}"),
                Fail,
                "^expected a failure matching /got 3/, but the case passed",
            ),
            ("other", format!("{control}{EXIT_4}"), Fail, "^expected a failure matching .*, got: .*got 4"),
            ("disabled", format!("{disabled}{PASSES}"), Pass, ""),
            ("disabled_fails", format!("{disabled}{EXIT_3}"), Fail, "got 3"),
        ],
        &[],
    );
}

pub(super) fn a_case_whose_requirements_are_not_met_is_skipped_before_a_vm_starts() {
    let with = |requires: &str, steps: &str| format!("requires: {{{requires}}}\nsteps:\n{steps}");
    let (home, results) = run(
        &[
            ("old", with("qemu: \">=1000.0\"", EXIT_3), Skip, "^needs QEMU >=1000.0, this is \\d"),
            (
                "command",
                with("commands: [no-such]", EXIT_3),
                Skip,
                "^needs the QMP command `no-such`, which QEMU",
            ),
            ("met", with("qemu: \">=5\", capabilities: [events], machines: [q35]", PASSES), Pass, ""),
        ],
        &[],
    );
    for name in ["old", "command"] {
        let spawned = results.case(name).events.iter().any(|what| matches!(what, What::VmSpawned { .. }));
        assert!(!spawned, "{name}: a VM was started");
    }
    assert_eq!(skipped_in_junit(&home), ["command", "old"]);
}

/// The names of the skipped cases in `junit.xml`.
fn skipped_in_junit(home: &Home) -> Vec<String> {
    let junit = home.read("reports/junit.xml");
    let document = roxmltree::Document::parse(&junit).unwrap();
    let skipped = document.descendants().filter(|node| node.has_tag_name("skipped"));
    skipped.filter_map(|node| Some(node.parent_element()?.attribute("name")?.to_owned())).collect()
}

pub(super) fn fail_fast_ends_the_run_with_the_first_bad_case() {
    let qemu = qemu(7);
    let home = Home::new();
    write(
        &home,
        &[("1", "- exec: {sh: exit 0}"), ("2", "- exec: {sh: exit 1}"), ("3", "- exec: {sh: exit 0}")],
    );
    home.run_on(qemu, &["cases", "--fail-fast"]).expect(1);
    assert_eq!(home.results().cases(), ["1", "2"]);
    home.run_on(qemu, &["cases"]).expect(1);
    assert_eq!(home.results().cases(), ["1", "2", "3"]);
}

pub(super) fn two_jobs_run_two_cases_at_the_same_time() {
    let qemu = qemu(7);
    let home = Home::new();
    // Each waits for the other one.
    let meet = |own: &str, other: &str| {
        format!(
            "- exec: {{sh: \"cd {{{{env.HERE}}}}; touch {own}; until test -e {other}; do sleep 0.05; done\"}}\n  timeout: 10m"
        )
    };
    let (one, other) = (meet("x", "y"), meet("y", "x"));
    write(&home, &[("1", &one), ("2", &other)]);
    home.run_on(qemu, &["cases", "-j", "2"]).expect(0);
    assert_eq!(home.results().cases(), ["1", "2"]);
}

/// The cases that ran while this one did, by the order of the events.
fn beside(results: &Results, name: &str) -> Vec<String> {
    let span = |wanted: &str| {
        let began = results
            .events
            .iter()
            .position(|event| matches!(&event.what, What::CaseStarted { name, .. } if name == wanted));
        let began = began.unwrap();
        let is_end = |event: &Event| {
            event.case == results.events[began].case && matches!(event.what, What::CaseEnded(_))
        };
        began..results.events.iter().position(is_end).unwrap()
    };
    let own = span(name);
    let others = results.cases().into_iter().filter(|other| other != name);
    others.filter(|other| span(other).start < own.end && span(other).end > own.start).collect()
}

pub(super) fn an_exclusive_case_runs_alone() {
    let qemu = qemu(7);
    let runs = |jobs: &str, exclusive: &str, step: &str| {
        let home = Home::new();
        home.write(
            "cases.yaml",
            &format!(
                "name: \"c{{{{n}}}}\"\nmatrix: {{n: [1, 2, 3]}}\nneeds: {{cpus: 0.1, memory: 64M}}\ntimeout: 10m\n\
                 exclusive: \"{{{{choose (eq n 1) {exclusive} false}}}}\"\nvms: {{a: {VM}}}\nsteps: [{step}]\n"
            ),
        );
        home.run_on(qemu, &["cases.yaml", "-j", jobs]).expect(0);
        home.results()
    };
    for jobs in ["3", "auto"] {
        let results = runs(jobs, "true", "wait: {vm: a, ticks: 5}");
        assert_eq!(beside(&results, "c1"), Vec::<String>::new(), "{jobs}");
        // Without the key it runs with the others: each waits for all of them.
        let meet = "{exec: {sh: \"cd {{env.HERE}}; touch {{n}}; until test -e 1 -a -e 2 -a -e 3; do sleep 0.05; done\"}, timeout: 10m}";
        let results = runs(jobs, "false", meet);
        assert_eq!(beside(&results, "c1"), ["c2", "c3"], "{jobs}");
    }
}

pub(super) fn auto_runs_as_many_cases_at_once_as_fit() {
    let qemu = qemu(7);
    let home = Home::new();
    let steps = "steps:\n- wait: {vm: a, ticks: 5}\n";
    home.write("small.yaml", &format!("needs: {{cpus: 0.1}}\nvms: {{a: {VM}}}\n{steps}"));
    // More than the machine has: it runs, but beside no other case.
    home.write(
        "large.yaml",
        &format!(
            "name: \"{{{{memory}}}}\"\nmatrix: {{memory: [900T, 800T]}}\n\
             needs: {{cpus: 0.1, memory: \"{{{{memory}}}}\"}}\nvms: {{a: {VM}}}\n{steps}"
        ),
    );
    let ran = home.run_on(qemu, &["small.yaml", "large.yaml", "-j", "auto"]).expect(0);
    let told = "NOTE   -j auto: 1 case at once to begin with: the machine has ";
    assert!(ran.stdout.starts_with(told) && ran.stdout.contains("GiB"), "{}", ran.stdout);
    let results = home.results();
    for name in ["small", "900T", "800T"] {
        assert_eq!(beside(&results, name), Vec::<String>::new(), "{name}");
    }
    let plan = home.run_on(qemu, &["small.yaml", "large.yaml", "-j", "auto", "--dry-run"]).expect(0).stdout;
    assert!(plan.contains("3 of 3 would run, as many at a time as fit\n-j auto: 1 case at once"), "{plan}");
    home.assert_nothing_is_left();
}

pub(super) fn keep_selects_the_artifacts_and_their_command_line_starts_the_vm() {
    let qemu = qemu(7);
    let home = Home::new();
    let pass = "name: deep/x\nsteps:\n- wait: {vm: a, ticks: 2}";
    write(
        &home,
        &[("pass", pass), ("fail", "name: deep\nsteps:\n- wait: {vm: a, ticks: 1}\n- exec: {sh: exit 1}")],
    );
    for (keep, kept) in [("never", [false, false]), ("on-failure", [true, false]), ("always", [true, true])] {
        let reports = home.path("reports");
        let _ = std::fs::remove_dir_all(&reports);
        home.run_on(qemu, &["cases", "--keep", keep]).expect(1);
        let results = home.results();
        let artifacts = ["deep", "deep/x"].map(|name| results.case(name).artifacts().is_some());
        let there = ["deep", "deep/x"].map(|name| reports.join(name).join("scenario.yaml").exists());
        assert_eq!((artifacts, there), (kept, kept), "{keep}");
    }
    let folder = home.path("reports/deep/x");
    let files: Vec<String> = common::names(&folder).into_iter().collect();
    assert_eq!(
        files,
        ["a.command.sh", "a.qmp.jsonl", "a.serial.log", "a.stderr.log", "a.ticker.img", "scenario.yaml"]
    );
    let serial = home.read("reports/deep/x/a.serial.log");
    assert!(serial.starts_with("ready ") && serial.contains("\ntick "), "{serial}");
    for line in home.read("reports/deep/x/a.qmp.jsonl").lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(home.run(&["list", "reports/deep/x/scenario.yaml"]).expect(0).stdout, "deep/x\n");

    let mut parse = home.command("sh");
    parse.args(["-n", "reports/deep/x/a.command.sh"]);
    home.finish(parse).expect(0);
    let mut start = home.command("sh");
    start.arg("a.command.sh").current_dir(&folder).stdout(Stdio::null());
    let child = home.spawn(start);
    // The socket exists as soon as QEMU listens; a client that connects then gets a reply.
    let monitor = folder.join("a.qmp");
    let connect = || std::os::unix::net::UnixStream::connect(&monitor).ok();
    let mut monitor = wait_until("the monitor", connect, || home.read("tmp.stderr"));
    std::io::Write::write_all(
        &mut monitor,
        b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"quit\"}\n",
    )
    .unwrap();
    home.ended(child).expect(0);
}

pub(super) fn a_guest_migrates_to_an_incoming_vm() {
    let vms = format!("vms: {{a: {VM}, b: {{like: a, incoming: defer}}}}\nsteps:\n");
    let end = "\n- wait: {vm: [a, b], migration: completed}\n- wait: {vm: a, status: postmigrate}\n- wait: {vm: b, status: running}\n\
               - wait: {vm: b, ticks: 2}\n- check: {vm: b, progress: kept}\n- check: {vm: b, memory: consistent}\n- quit: [a, b]";
    let begin = format!("{vms}- wait: {{vm: a, ticks: 1}}\n- migrate: ");
    let tcp = format!(
        "{begin}{{from: a, to: b}}\n- exec: {{sh: \"test {{{{run.vm.b.address}}}} != tcp:127.0.0.1:0\"}}{end}"
    );
    let unix = format!("{begin}{{from: a, to: b, listen: \"unix:{{{{case.dir}}}}/m\"}}{end}");
    let uri = format!(
        "vms: {{a: {VM}, b: {{like: a, incoming: \"unix:{{{{case.dir}}}}/n\"}}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n- migrate: {{from: a, to: b}}{end}"
    );
    let unreachable = format!("{begin}{{from: a, uri: \"unix:/no/such/socket\"}}\n  expect_error: '.'");
    let failed = format!(
        "{begin}{{from: a, uri: \"exec:exit 1\"}}\n- wait: {{vm: a, migration: completed}}\n  timeout: 10m"
    );
    // It may fail before or after the step that starts it has ended.
    let again = "\n- repeat: {times: 20, steps: [{migrate: {from: a, uri: \"exec:exit 1\"}}, {wait: {vm: a, migration: failed}}]}";
    let fails_as_expected = format!(
        "{begin}{{from: a, uri: \"exec:exit 1\"}}\n- wait: {{vm: a, migration: failed}}{again}\n- wait: {{vm: a, ticks: 1}}"
    );
    let killed = format!(
        "{begin}{{from: a, to: b}}\n- signal: {{vm: b, send: KILL}}\n- wait: {{vm: a, migration: [failed, completed]}}\n- wait: {{vm: b, exit: {{signal: KILL}}}}"
    );
    run(
        &[
            ("tcp", &tcp, Pass, ""),
            ("unix", &unix, Pass, ""),
            ("uri", &uri, Pass, ""),
            ("failed", &failed, Fail, "^the migration (failed, according to VM `a`|of `a` is failed)"),
            ("fails_as_expected", &fails_as_expected, Pass, ""),
            ("killed", &killed, Pass, ""),
            (
                "unreachable",
                &unreachable.replace(
                    "\n  expect_error: '.'",
                    "\n- wait: {vm: a, migration: completed}\n  timeout: 10m",
                ),
                Fail,
                "fail|refused",
            ),
        ],
        &[],
    );
}
