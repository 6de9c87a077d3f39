//! `--shard` and `--durations`.

use lockstep_vm::event::What;

use super::common::{Home, VM, qemu};

/// Four cases; the recorded durations make `grid/3` as long as the others together.
fn home() -> Home {
    let home = Home::new();
    home.write(
        "grid.yaml",
        &format!(
            "name: grid/{{{{x}}}}\nmatrix: {{x: [1, 2, 3, 4]}}\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"
        ),
    );
    home.write("took.json", r#"{"grid.yaml": {"grid/1": 1, "grid/2": 1, "grid/3": 3}}"#);
    home
}

pub(crate) fn each_case_is_in_one_shard_balanced_by_time() {
    let home = home();
    let list = |arguments: &[&str]| home.run(&[&["list", "grid.yaml"], arguments].concat()).expect(0).stdout;
    assert_eq!(list(&["--shard", "1/2"]), "grid/1\ngrid/3\n");
    assert_eq!(list(&["--shard", "2/2"]), "grid/2\ngrid/4\n");
    assert_eq!(list(&["--shard", "1/2", "--durations", "took.json"]), "grid/3\n");
    assert_eq!(list(&["--shard", "2/2", "--durations", "took.json"]), "grid/1\ngrid/2\ngrid/4\n");
    assert_eq!(list(&["--shard", "5/5"]), "");
    // Not by the file of the last runs in the reports directory, which may differ from machine to machine.
    home.write("reports/durations.json", &home.read("took.json"));
    assert_eq!(list(&["--shard", "1/2"]), "grid/1\ngrid/3\n");
    // Without a given seed, all shards draw the same.
    home.write(
        "drawn.yaml",
        "name: drawn/{{x}}\nmatrix: {x: {random: {count: 8, from: 1, to: 1000000}}}\nvms: {a: {}}\nsteps:\n- wait: {vm: a, ticks: 1}\n",
    );
    let drawn = |shard: &str| home.run(&["list", "drawn.yaml", "--shard", shard]).expect(0).stdout;
    let halves = drawn("1/2") + &drawn("2/2");
    let (mut halves, whole): (Vec<_>, _) = (halves.lines().collect(), drawn("1/1"));
    let mut whole: Vec<&str> = whole.lines().collect();
    halves.sort_unstable();
    whole.sort_unstable();
    assert_eq!((halves.len(), halves), (8, whole));
}

pub(crate) fn the_reports_of_a_shard_say_which_it_is_and_how_it_is_known() {
    let qemu = qemu(5);
    let home = home();
    let path = qemu.path.display().to_string();
    let mut partitions = Vec::new();
    let mut numbers = Vec::new();
    for (index, cases) in [("1", &["grid/1", "grid/3"][..]), ("2", &["grid/2", "grid/4"])] {
        let mut run = home.lockstep(&[
            "run",
            "grid.yaml",
            "--shard",
            "auto",
            "--accel",
            "tcg",
            "--qemu",
            &path,
            "-j",
            "2",
        ]);
        run.env("CI_NODE_INDEX", index).env("CI_NODE_TOTAL", "2");
        let ran = home.finish(run).expect(0);
        let told = format!("shard {index} of 2 (GitLab: CI_NODE_INDEX, CI_NODE_TOTAL)");
        assert!(ran.stdout.starts_with(&format!("NOTE   {told}: 2 of 4 cases\n")), "{}", ran.stdout);
        let results = home.results();
        assert_eq!(results.cases(), cases);
        let What::RunStarted { shard: Some(shard), seed, cases: 2, .. } = &results.events[0].what else {
            panic!("{:?}", results.events[0])
        };
        assert_eq!((shard.total, shard.cases, *seed), (2, 4, Some(0)));
        partitions.push(shard.partition.clone());
        numbers.extend(results.events.iter().filter_map(|event| event.case));
        assert!(home.read("reports/junit.xml").contains(&format!("name=\"shard\" value=\"{}\"", &told[6..])));
        assert!(home.read("reports/index.html").contains(&format!("<th>shard</th><td>{}</td>", &told[6..])));
        // The next shard must find the same durations.
        assert!(!home.path("reports/durations.json").exists());
    }
    assert_eq!(partitions[0], partitions[1]);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2, 3]);
    home.assert_nothing_is_left();
}

pub(crate) fn an_empty_shard_is_a_success_that_says_so() {
    let qemu = qemu(5);
    let home = home();
    let ran = home.run_on(qemu, &["grid.yaml", "--shard", "5/5"]).expect(0);
    assert!(ran.stdout.starts_with("NOTE   shard 5 of 5: 0 of 4 cases\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("no cases run"), "{}", ran.stdout);
    let plan = home.run_on(qemu, &["grid.yaml", "--shard", "1/4", "--dry-run"]).expect(0).stdout;
    assert!(plan.starts_with("shard 1 of 4: 1 of 4 cases\nrun   grid/1\n"), "{plan}");
    assert!(!plan.contains("grid/2"), "{plan}");
    home.assert_nothing_is_left();
}

pub(crate) fn a_run_keeps_what_its_cases_took_and_starts_the_longest_first() {
    let qemu = qemu(5);
    let home = home();
    home.write(
        "reports/durations.json",
        r#"{"other.yaml": {"other": 7}, "grid.yaml": {"grid/4": 9, "grid/2": 8, "grid/1": 1}}"#,
    );
    home.run_on(qemu, &["grid.yaml", "-j", "2"]).expect(0);
    let results = home.results();
    let started = results.events.iter().filter(|event| matches!(event.what, What::CaseStarted { .. }));
    assert_eq!(started.take(2).filter_map(|event| event.case).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(results.cases(), ["grid/1", "grid/2", "grid/3", "grid/4"]);
    let junit = home.read("reports/junit.xml");
    let order: Vec<_> = (1..5).map(|x| junit.find(&format!("name=\"grid/{x}\"")).unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    let kept: serde_json::Value = serde_json::from_str(&home.read("reports/durations.json")).unwrap();
    assert_eq!(kept["other.yaml"]["other"], 7.0);
    assert!((1..5).all(|x| kept["grid.yaml"][format!("grid/{x}")].as_f64().unwrap() < 7.0), "{kept}");
    // With one job, the order of the selection stays.
    home.run_on(qemu, &["grid.yaml", "--durations", "took.json"]).expect(0);
    let events = home.results().events;
    let first = events.iter().find(|event| matches!(event.what, What::CaseStarted { .. })).unwrap();
    assert_eq!(first.case, Some(0));
    home.assert_nothing_is_left();
}

pub(crate) fn a_wrong_shard_or_wrong_durations_are_one_error() {
    let home = home();
    home.write("wrong.json", "[]");
    home.write("folder/x", "");
    let error = |arguments: &[&str], variables: &[(&str, &str)]| {
        for command in ["run", "list"] {
            let mut run = home.lockstep(&[&[command, "grid.yaml"], arguments].concat());
            run.envs(variables.iter().copied());
            let ran = home.finish(run).expect(2);
            assert_eq!(ran.stdout, "");
            if command == "list" {
                return ran.stderr;
            }
        }
        String::new()
    };
    for wrong in ["3/2", "0/4", "x"] {
        assert_eq!(
            error(&["--shard", wrong], &[]),
            format!(
                "error: invalid value '{wrong}' for '--shard <K/N|auto>': write K/N with K from 1 to N, such as 2/4, or \
                 `auto`\n\nFor more information, try '--help'.\n"
            )
        );
    }
    let none = error(&["--shard", "auto"], &[]);
    assert!(none.starts_with("error: --shard auto: found none of SLURM_ARRAY_TASK_ID (Slurm), "), "{none}");
    assert!(none.ends_with("CI_NODE_INDEX (GitLab); write K/N\n"), "{none}");
    assert_eq!(
        error(&["--shard", "auto"], &[("JOB_COMPLETION_INDEX", "1")]),
        "error: --shard auto: JOB_COMPLETION_INDEX of Kubernetes is set, but LOCKSTEP_SHARDS is not: Kubernetes does not \
         tell it, so set it to the job's `completions`\n"
    );
    assert_eq!(
        error(&[], &[("LOCKSTEP_SHARD", "4/3")]),
        "error: the environment variable LOCKSTEP_SHARD has the invalid value `4/3`: write K/N with K from 1 to N, such \
         as 2/4, or `auto`\n"
    );
    for (path, message) in [
        ("none", "error: --durations: cannot read none: "),
        ("wrong.json", "error: --durations: wrong.json is not a file of durations: "),
        ("grid.yaml", "error: --durations: grid.yaml:1: not a valid event: "),
        (
            "folder",
            "error: --durations: folder is not the reports directory of a run: it has no events.jsonl\n",
        ),
    ] {
        let said = error(&["--durations", path], &[]);
        assert!(said.starts_with(message) && said.lines().count() == 1, "{said}");
    }
    assert!(!home.path("reports").exists());
    home.assert_nothing_is_left();
}
