//! A run in parts: `--shard` and `--durations`.

mod common;

use std::collections::BTreeSet;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, VM, qemu};
use lockstep_vm::event::{Event, What};

/// Six cases, in the order of their names.
fn six() -> String {
    format!(
        "name: 'case/{{{{n}}}}'\nmatrix: {{n: [1, 2, 3, 4, 5, 6]}}\nvms: {{vm: {VM}}}\nsteps:\n- wait: {{vm: vm, ticks: 1}}\n"
    )
}

/// The cases of a part, as `list` prints them.
fn part(home: &Home, options: &[&str]) -> Vec<String> {
    let ran = home.run(&[&["list", "six.yaml"], options].concat()).expect(0);
    ran.stdout.lines().map(str::to_owned).collect()
}

fn the_parts_have_each_case_once_balanced_by_their_durations() {
    let home = Home::new();
    home.write("six.yaml", &six());
    let all: BTreeSet<String> = part(&home, &[]).into_iter().collect();
    for count in 1..=8 {
        let parts: Vec<Vec<String>> =
            (1..=count).map(|own| part(&home, &["--shard", &format!("{own}/{count}")])).collect();
        assert_eq!(parts.iter().flatten().cloned().collect::<BTreeSet<_>>(), all);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 6, "{parts:?}");
    }
    // One case takes as long as the five others.
    home.write("known.json", r#"{"case/1": 1, "case/2": 1, "case/3": 1, "case/4": 5, "case/5": 1}"#);
    assert_eq!(part(&home, &["--shard", "1/2", "--durations", "known.json"]), ["case/4"]);
    assert_eq!(part(&home, &["--shard", "2/2", "--durations", "known.json"]).len(), 5);
    // Random axes are the same in all parts.
    home.write(
        "random.yaml",
        &six().replace("[1, 2, 3, 4, 5, 6]", "{random: {count: 6, from: 1, to: 1000000}}"),
    );
    let drawn = |own: &str| home.run(&["list", "random.yaml", "--shard", own]).expect(0).stdout;
    assert_eq!(drawn("1/1"), drawn("1/1"));
}

fn a_part_of_a_run_says_in_the_reports_which_one_it_is() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("six.yaml", &six());
    let mut command = home.lockstep(&["run", "six.yaml", "--shard", "auto", "--accel", "tcg", "--qemu"]);
    command.arg(&qemu.path).env("CI_NODE_INDEX", "2").env("CI_NODE_TOTAL", "3");
    let ran = home.finish(command).expect(0);
    let named = "part 2 of 3 of 6 cases, by GitLab (CI_NODE_INDEX, CI_NODE_TOTAL)";
    assert!(ran.stderr.ends_with(&format!("note: {named}: 2\n")), "{}", ran.stderr);
    assert!(home.read("reports/junit.xml").contains(&format!("<property name=\"shard\" value=\"{named}\"")));
    assert!(home.read("reports/index.html").contains(&format!("<th>shard</th><td>{named}</td>")));
    let digest = |home: &Home| match &home.results().events[0].what {
        What::RunStarted { shard: Some(shard), .. } => shard.digest.clone(),
        other => panic!("{other:?}"),
    };
    let second = digest(&home);

    home.run_on(qemu, &["six.yaml", "--shard", "3/3"]).expect(0);
    assert_eq!(digest(&home), second, "the parts fit together");
    home.write("known.json", r#"{"case/1": 1, "case/2": 1, "case/4": 5}"#);
    home.run_on(qemu, &["six.yaml", "--shard", "3/3", "--durations", "known.json"]).expect(0);
    assert_ne!(digest(&home), second, "a partition by other durations");

    let ran = home.run_on(qemu, &["six.yaml", "--shard", "7/7"]).expect(0);
    assert!(ran.stderr.ends_with("note: part 7 of 7 of 6 cases: none\n"), "{}", ran.stderr);
    assert!(home.read("reports/junit.xml").contains("tests=\"0\""));
    home.assert_nothing_is_left();
}

fn a_run_keeps_durations_and_starts_the_longest_case_first() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("six.yaml", &six());
    home.run_on(qemu, &["six.yaml", "--case", "case/[1-3]"]).expect(0);
    let known = |home: &Home| -> std::collections::BTreeMap<String, f64> {
        serde_json::from_str(&home.read("reports/durations.json")).unwrap()
    };
    assert_eq!(known(&home).into_keys().collect::<Vec<_>>(), ["case/1", "case/2", "case/3"]);
    home.run_on(qemu, &["six.yaml", "--case", "case/[4-6]"]).expect(0);
    assert_eq!(known(&home).len(), 6);

    let order = |home: &Home| -> Vec<usize> {
        let started =
            |event: &Event| matches!(event.what, What::CaseStarted { .. }).then_some(event.case).flatten();
        home.results().events.iter().filter_map(started).collect()
    };
    home.write(
        "known.json",
        r#"{"case/1": 1, "case/2": 2, "case/3": 3, "case/4": 9, "case/5": 2, "case/6": 4}"#,
    );
    home.run_on(qemu, &["six.yaml", "-j", "2", "--durations", "known.json"]).expect(0);
    assert_eq!(order(&home)[..3], [3, 5, 2], "the numbers are those of the selection");
    home.run_on(qemu, &["six.yaml", "--durations", "known.json"]).expect(0);
    assert_eq!(order(&home), [0, 1, 2, 3, 4, 5], "one at a time, in the order of selection");

    // The durations of a run.
    home.run_on(qemu, &["six.yaml", "--durations", "reports", "--reports", "other"]).expect(0);
    home.run_on(qemu, &["six.yaml", "--durations", "reports/events.jsonl", "--reports", "other"]).expect(0);
    home.assert_nothing_is_left();
}

fn a_wrong_part_or_file_of_durations_is_an_error() {
    let home = Home::new();
    home.write("six.yaml", &six());
    home.write("list.json", "[1]");
    let wrong = |options: &[&str], message: &str| {
        for command in ["run", "list"] {
            let ran = home.run(&[&[command, "six.yaml"], options].concat()).expect(2);
            assert!(ran.stderr.contains(message), "{command} {options:?}: {}", ran.stderr);
        }
    };
    for part in ["0/4", "x", "4", "1/0", "-1/2"] {
        wrong(&["--shard", part], "");
    }
    wrong(&["--shard", "3/2"], "there is no part 3 of 2; parts are counted from 1");
    wrong(&["--shard", "auto"], "--shard auto: none of SLURM_ARRAY_TASK_ID, ");
    wrong(&["--shard", "1/2", "--durations", "nowhere"], "--durations: cannot read nowhere");
    wrong(&["--shard", "1/2", "--durations", "list.json"], "list.json: not an object of names with seconds");
    assert!(!home.path("reports").exists());
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_parts_have_each_case_once_balanced_by_their_durations),
            once!(a_part_of_a_run_says_in_the_reports_which_one_it_is, Qemu(7)),
            once!(a_run_keeps_durations_and_starts_the_longest_case_first, Qemu(7)),
            once!(a_wrong_part_or_file_of_durations_is_an_error),
        ],
    )
}
