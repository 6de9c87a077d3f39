//! Many runs: `lockstep history`, `run --bisect` and `lockstep bisect`.

mod common;

use std::fmt::Write as _;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, VM, qemu, qemus};
use lockstep_vm::event::{Verdict, What};

/// A case that fails while there is a file `broken`.
fn breakable() -> String {
    format!("name: breakable\nvms: {{vm: {VM}}}\nsteps:\n- exec: {{sh: 'test ! -e $HERE/broken'}}\n")
}

/// A case that passes on QEMUs of this major version only.
fn only_on(major: u64) -> String {
    format!(
        "name: version\nvms: {{vm: {VM}}}\nsteps:\n\
         - check: {{vm: vm, query: query-version, is: {{qemu: {{major: {major}}}}}}}\n"
    )
}

fn verdicts(home: &Home) -> Vec<Verdict> {
    home.results().verdicts().into_iter().map(|(_, verdict, _)| verdict).collect()
}

fn a_run_for_git_bisect_ends_with_the_exit_code_that_git_expects() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("a.yaml", &breakable());
    home.run_on(qemu, &["a.yaml", "--bisect"]).expect(0);
    home.write("broken", "");
    home.run_on(qemu, &["a.yaml", "--bisect", "--repeat", "3"]).expect(1);
    assert_eq!(verdicts(&home), [Verdict::Fail], "it stops at the first failure");

    home.write("skipped.yaml", &format!("{}requires: {{qemu: '>=99'}}\n", breakable()));
    let ran = home.run_on(qemu, &["skipped.yaml", "--bisect"]).expect(125);
    assert!(
        ran.stderr.ends_with("note: this version is left out: all cases were skipped\n"),
        "{}",
        ran.stderr
    );
    let ran = home.run(&["run", "a.yaml", "--bisect", "--qemu", "/nowhere/qemu"]).expect(125);
    assert!(ran.stderr.starts_with("note: this version is left out: --qemu default: "), "{}", ran.stderr);
    home.write("unknown.yaml", &format!("{}- qmp: {{vm: vm, execute: x-new-command}}\n", breakable()));
    let ran = home.run_on(qemu, &["unknown.yaml", "--bisect"]).expect(125);
    assert!(ran.stderr.contains("this QEMU lacks what a scenario uses"), "{}", ran.stderr);
    home.write(
        "no-program.yaml",
        &format!("name: x\nvms: {{vm: {VM}}}\nsteps:\n- exec: {{run: [/nowhere/x]}}\n"),
    );
    home.run_on(qemu, &["no-program.yaml", "--bisect"]).expect(125);

    // What is wrong on every version ends the bisection.
    home.write("mistake.yaml", &format!("{}- nonsense: 1\n", breakable()));
    home.run_on(qemu, &["mistake.yaml", "--bisect"]).expect(128);
    home.run_on(qemu, &["missing.yaml", "--bisect"]).expect(128);
    home.assert_nothing_is_left();
}

fn an_expected_rate_says_how_often_the_cases_run() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("a.yaml", &breakable());
    home.run_on(qemu, &["a.yaml", "--expect-rate", "70%", "--bisect"]).expect(0);
    assert_eq!(verdicts(&home).len(), 4, "0.3^3 = 2.7 %, 0.3^4 = 0.8 %");
    let ran = home.run_on(qemu, &["a.yaml", "--expect-rate", "20%", "--repeat", "10"]).expect(2);
    let expected = "--repeat 10 is too few for --expect-rate 20%: with that rate, 11 % of such runs pass; 21 rounds are \
                    needed";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    home.run_on(qemu, &["a.yaml", "--expect-rate", "20%", "--repeat", "10", "--bisect"]).expect(128);
    home.run_on(qemu, &["a.yaml", "--expect-rate", "0%"]).expect(2);
    home.run_on(qemu, &["a.yaml", "--expect-rate", "20%", "--repeat", "5m"]).expect(2);
    home.assert_nothing_is_left();
}

/// A repository in which the fifth of seven commits replaces the newest QEMU by the oldest one, and the fourth has none.
fn git_bisect_finds_the_commit_with_another_qemu() {
    let [new, .., old] = qemus() else { unreachable!("the test needs two QEMUs") };
    let home = Home::new();
    let git = |words: &[&str]| {
        let mut git = home.command("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]).args(words);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        home.finish(git)
    };
    git(&["init", "--quiet"]).expect(0);
    home.write("case.yaml", &only_on(new.version.major));
    for commit in 1..=7 {
        let path = match commit {
            4 => "/nowhere/qemu".into(),
            5.. => old.path.display().to_string(),
            _ => new.path.display().to_string(),
        };
        home.write("qemu-path", &format!("{path}\n"));
        home.write("number", &commit.to_string());
        git(&["add", "qemu-path", "number"]).expect(0);
        git(&["commit", "--quiet", "-m", &format!("commit {commit}")]).expect(0);
    }
    git(&["bisect", "start", "main", "main~6"]).expect(0);
    let lockstep = env!("CARGO_BIN_EXE_lockstep");
    let run = format!("'{lockstep}' run case.yaml --bisect --accel tcg --qemu \"$(cat qemu-path)\"");
    let ran = git(&["bisect", "run", "sh", "-c", &run]);
    // Git cannot decide between the commit that cannot be tested and the one after it.
    assert_eq!(ran.code, Some(2), "{}\n{}", ran.stdout, ran.stderr);
    let said = ran.stdout + &ran.stderr;
    assert!(said.contains("There are only 'skip'ped commits left to test"), "{said}");
    let hash = |name: &str| git(&["rev-parse", name]).expect(0).stdout.trim().to_owned();
    for candidate in ["main~3", "main~2"].map(hash) {
        assert!(said.contains(&candidate), "{said}");
    }
    assert!(!said.contains(&format!("{}\n{}", hash("main~4"), hash("main~3"))), "{said}");
    home.assert_nothing_is_left();
}

fn a_bisection_over_builds_names_the_first_one_with_another_result() {
    let home = Home::new();
    let (newest, oldest) = (&qemus()[0], qemus().last().expect("there are two"));
    home.write("case.yaml", &only_on(newest.version.major));
    // Six builds: the newest one from the fourth on, and one that does not exist.
    let mut list = "# oldest first\n".to_owned();
    for (name, qemu) in [("a", oldest), ("b", oldest), ("d", newest), ("e", newest), ("f", newest)] {
        if name == "d" {
            list += "c = /nowhere/qemu\n";
        }
        let _ = writeln!(list, "{name} = {}", qemu.path.display());
    }
    home.write("builds", &list);
    let ran = home.run(&["bisect", "--qemu-list", "builds", "case.yaml", "--accel", "tcg", "-q"]).expect(0);
    let tail = "last bad: b\nfirst good: d\nor one of those that were left out: c\n";
    assert!(ran.stdout.ends_with(tail), "{}", ran.stdout);
    let version = format!("  b  bad on QEMU {}", oldest.version);
    let bad = ran.stdout.lines().find(|line| line.starts_with("  b ")).unwrap();
    assert!(bad.starts_with(&version) && bad.contains(": version, 1 of 1 rounds: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("  c  left out: --qemu default: "), "{}", ran.stdout);
    assert!(home.path("reports/b/junit.xml").exists());

    home.write("builds", &format!("{0}\nother = {0}\n", newest.path.display()));
    let ran = home.run(&["bisect", "--qemu-list", "builds", "case.yaml", "--accel", "tcg", "-q"]).expect(1);
    assert!(ran.stdout.ends_with("the first and the last build are both good\n"), "{}", ran.stdout);

    home.write("builds", &format!("{}\n", newest.path.display()));
    let ran = home.run(&["bisect", "--qemu-list", "builds", "case.yaml"]).expect(2);
    assert!(ran.stderr.contains("a bisection needs two or more"), "{}", ran.stderr);
    home.run(&["bisect", "--qemu-list", "nowhere", "case.yaml"]).expect(2);
    home.run(&["bisect", "case.yaml"]).expect(2);
    home.run(&["bisect", "--qemu-list", "builds", "case.yaml", "--dry-run"]).expect(2);
    home.assert_nothing_is_left();
}

fn the_history_of_real_runs_names_the_run_at_which_a_verdict_changed() {
    let qemu = qemu(7);
    let home = Home::new();
    home.write("a.yaml", &breakable());
    home.run_on(qemu, &["a.yaml", "--reports", "nights/1"]).expect(0);
    home.write("broken", "");
    home.run_on(qemu, &["a.yaml", "--reports", "nights/2"]).expect(1);
    home.write("nights/killed/events.jsonl", "");
    let ran = home.run(&["history", "nights"]).expect(0);
    assert!(ran.stderr.ends_with("killed/events.jsonl is empty\n"), "{}", ran.stderr);
    let start = home.read("nights/2/events.jsonl");
    let start: lockstep_vm::event::Event = serde_json::from_str(start.lines().next().unwrap()).unwrap();
    let What::RunStarted { time, qemus, .. } = start.what else { panic!("{start:?}") };
    let heading = format!("\npass → fail since {time}, QEMU {}", qemus[0].version);
    assert!(ran.stdout.contains(&heading), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("  breakable (1 run): ") && ran.stdout.ends_with(".F  breakable\n"),
        "{}",
        ran.stdout
    );

    home.run(&["history", "nights/1", "nights/2/events.jsonl", "-o", "nights/index.html"]).expect(0);
    assert!(
        home.read("nights/index.html")
            .contains("<a href=\"2/index.html#/breakable\"><rect class=\"fail\" x=\"1\"")
    );
    let json = home.run(&["history", "nights", "--format", "json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"]["turned"][0]["to"], "fail");
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);

    let wrong = |arguments: &[&str], message: &str| {
        let ran = home.run(&[&["history"], arguments].concat()).expect(2);
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    };
    home.write("nothing/here", "");
    wrong(&["nothing"], "nothing has no events.jsonl, and none below it");
    wrong(&["nights/killed"], "killed/events.jsonl is empty");
    wrong(&["nowhere"], "cannot read nowhere: ");
    wrong(&["a.yaml"], "a.yaml:1: not a valid event: ");
    wrong(&["nights/1", "-o", "nowhere/x.html"], "cannot write nowhere/x.html: ");
    wrong(&[], "required");
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_run_for_git_bisect_ends_with_the_exit_code_that_git_expects, Qemu(7)),
            once!(an_expected_rate_says_how_often_the_cases_run, Qemu(7)),
            once!(git_bisect_finds_the_commit_with_another_qemu, TwoQemus),
            once!(a_bisection_over_builds_names_the_first_one_with_another_result, TwoQemus),
            once!(the_history_of_real_runs_names_the_run_at_which_a_verdict_changed, Qemu(7)),
        ],
    )
}
