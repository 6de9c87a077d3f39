//! `lockstep engine`: the job files are valid by the schemas of their engines, and their commands do what they should.

mod common;
#[path = "support/junit.rs"]
mod junit;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use common::harness::{self, once};
use common::{Home, VM, qemu};
use junit::cases;
use serde_yaml::Value;

const ENGINES: [&str; 4] = ["slurm", "kubernetes", "gitlab", "github"];

/// Three cases, of which the second fails.
fn grid() -> String {
    format!(
        "name: grid/{{{{x}}}}\nmatrix: {{x: [1, 2, 3]}}\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n\
         - check: {{value: \"{{{{x}}}}\", below: 2}}\n  when: \"{{{{eq x 2}}}}\"\n"
    )
}

/// The job file for a run in two shards.
fn printed(home: &Home, engine: &str, arguments: &[&str]) -> String {
    home.run(&[&["engine", engine, "--shards", "2"], arguments].concat()).expect(0).stdout
}

/// A command of a job, as the engine starts it.
#[derive(Debug)]
struct Job {
    /// For `sh`.
    arguments: Vec<String>,
    variables: BTreeMap<&'static str, String>,
}

impl Job {
    fn new(arguments: &[String], variables: &[(&'static str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { arguments: arguments.to_vec(), variables }
    }

    fn script(script: &str, variables: &[(&'static str, &str)]) -> Self {
        Self::new(&["-ec".to_owned(), script.to_owned()], variables)
    }
}

/// The jobs of the first and the second shard, and the one that merges.
fn jobs(engine: &str, text: &str) -> [Job; 3] {
    let documents = || {
        let documents = serde_yaml::Deserializer::from_str(text);
        documents.map(|one| serde::Deserialize::deserialize(one).unwrap()).collect::<Vec<Value>>()
    };
    match engine {
        "slurm" => of_slurm(text),
        "kubernetes" => of_kubernetes(&documents()),
        "gitlab" => of_gitlab(&documents()[0]),
        _ => of_github(&documents()[0]["jobs"]),
    }
}

fn of_slurm(text: &str) -> [Job; 3] {
    let part = |end: &str| text.split(&format!("{end}'\n")).nth(1).unwrap().split(end).next().unwrap();
    let shard = |index: &str| {
        let variables = [
            ("SLURM_ARRAY_JOB_ID", "7"),
            ("SLURM_ARRAY_TASK_ID", index),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
        ];
        Job::script(part("SHARDS"), &variables)
    };
    [shard("1"), shard("2"), Job::script(part("MERGE"), &[("LOCKSTEP_ARRAY", "7")])]
}

fn of_kubernetes(documents: &[Value]) -> [Job; 3] {
    let container = |document: usize| &documents[document]["spec"]["template"]["spec"]["containers"][0];
    let words = |document: usize| {
        let words = container(document)["command"].as_sequence().unwrap().iter();
        words.skip(1).map(|word| word.as_str().unwrap().replace("$$", "$")).collect::<Vec<_>>()
    };
    let total = &container(1)["env"][0];
    assert_eq!(total["name"], "LOCKSTEP_SHARDS");
    let total = total["value"].as_str().unwrap();
    let shard = |index| Job::new(&words(1), &[("JOB_COMPLETION_INDEX", index), ("LOCKSTEP_SHARDS", total)]);
    [shard("0"), shard("1"), Job::new(&words(2), &[])]
}

fn of_gitlab(jobs: &Value) -> [Job; 3] {
    let script = |name: &str| jobs[name]["script"][0].as_str().unwrap().to_owned();
    let total = jobs["lockstep"]["parallel"].as_u64().unwrap().to_string();
    let shard =
        |index| Job::script(&script("lockstep"), &[("CI_NODE_INDEX", index), ("CI_NODE_TOTAL", &total)]);
    [shard("1"), shard("2"), Job::script(&script("lockstep-merge"), &[])]
}

fn of_github(jobs: &Value) -> [Job; 3] {
    let script = |name: &str| {
        let steps = jobs[name]["steps"].as_sequence().unwrap();
        steps.iter().find_map(|step| step["run"].as_str()).unwrap().to_owned()
    };
    let shards = jobs["shards"]["strategy"]["matrix"]["shard"].as_sequence().unwrap();
    assert_eq!(shards.len(), 2);
    let shard = |at: usize| {
        let number = shards[at].as_u64().unwrap().to_string();
        let run = script("shards").replace("${{ matrix.shard }}", &number);
        assert!(!run.contains("${{"), "GitHub replaces expressions: {run}");
        Job::script(&run, &[])
    };
    [shard(0), shard(1), Job::script(&script("merge"), &[])]
}

impl Job {
    /// The job in a home, where `lockstep` is the program of this name in `bin`, and `/reports` is there.
    fn command(&self, home: &Home) -> Command {
        let reports = home.path("reports").display().to_string();
        let mut command = home.command("sh");
        command.args(self.arguments.iter().map(|text| text.replace("/reports/", &format!("{reports}/"))));
        let path = std::env::var("PATH").unwrap();
        command.envs(&self.variables).env("PATH", format!("{}:{path}", home.path("bin").display()));
        command
    }
}

/// Writes a program to the folder in which jobs find them.
fn program(home: &Home, name: &str, text: &str) {
    let path = home.write(&format!("bin/{name}"), text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A text with everything that has a meaning for a shell, YAML, Kubernetes, GitLab or GitHub.
const AWKWARD: &str = "it's \"x\" ${{ 'y' }} $$(HOME) $(HOME) ${HOME} $[[ z ]] `id` \\ # & ; : - ü *";

fn awkward_arguments_reach_the_run_as_they_are() {
    let home = Home::new();
    program(&home, "lockstep", "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n");
    let folder = format!("a b {AWKWARD}");
    let file = format!("{folder}/grid.yaml");
    home.write(&file, &grid());
    home.write("-odd.yaml", &grid().replace("grid", "odd"));
    let guests = format!("--{AWKWARD}");
    let given = [
        "--case={grid/*,{\\$,it's}}",
        "--tag=!a b",
        "-D",
        "x=1",
        "-qj2",
        &format!("--guests={guests}"),
        "--",
        &file,
        "-odd.yaml",
    ];
    let expected = [
        "--case",
        "{grid/*,{\\$,it's}}",
        "--tag",
        "!a b",
        "-D",
        "x=1",
        "--guests=",
        "--jobs",
        "2",
        "--quiet",
        "--",
        &file,
        "-odd.yaml",
    ];
    let expected = expected.map(|word| word.replace("--guests=", &format!("--guests={guests}")));
    for engine in ENGINES {
        let text = printed(&home, engine, &given);
        let [_, second, _] = jobs(engine, &text);
        let words = home.finish(second.command(&home)).expect(0).stdout;
        let words: Vec<&str> = words.lines().collect();
        let (shard, reports) = match engine {
            "slurm" => ("auto", "reports/slurm-7/shard-2"),
            "kubernetes" => ("auto", "HERE/reports/index-1"),
            "gitlab" => ("auto", "reports/shard-2"),
            _ => ("2/2", "reports/shard-2"),
        };
        assert_eq!(words[..5], ["run", "--shard", shard, "--reports", reports], "{engine}");
        let mut words = words[5..].to_vec();
        let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        // The options have the order of the help, which is not of interest.
        words.sort_unstable();
        expected.sort_unstable();
        assert_eq!(words, expected, "{engine}");
    }
    // A shard that was cut off goes on.
    for (engine, folder) in [("slurm", "reports/slurm-7/shard-2"), ("kubernetes", "reports/index-1")] {
        home.write(&format!("{folder}/events.jsonl"), "{}\n");
        let [first, second, _] = jobs(engine, &printed(&home, engine, &["--", "-odd.yaml"]));
        let to =
            |job: &Job| home.finish(job.command(&home)).expect(0).stdout.lines().nth(3).unwrap().to_owned();
        assert_eq!((to(&first), to(&second)), ("--reports".to_owned(), "--resume".to_owned()), "{engine}");
    }
}

fn the_options_of_the_environment_are_written_and_those_of_the_file_are_not() {
    let home = Home::new();
    home.write("grid.yaml", &grid());
    home.write("lockstep.toml", "scenarios = [\"grid.yaml\"]\njobs = 3\nreports = \"else where\"\n");
    let mut command = home.lockstep(&["engine", "slurm", "--shards", "2"]);
    command.env("LOCKSTEP_CASE", "grid/[12]").env("LOCKSTEP_QUIET", "1").env("LOCKSTEP_FAIL_FAST", "0");
    let text = home.finish(command).expect(0).stdout;
    assert!(text.contains("$to \"$reports\" --case 'grid/[12]' --quiet\n"), "{text}");
    // What several commands have is taken from the file.
    assert!(text.contains("#SBATCH --cpus-per-task=3\n"), "{text}");
    assert!(text.contains("\nreports='else where'/slurm-$SLURM_ARRAY_JOB_ID/"), "{text}");
}

fn slurm_gets_an_array_job_and_a_job_that_depends_on_it() {
    let home = Home::new();
    home.write("grid.yaml", &grid());
    program(
        &home,
        "sbatch",
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$HERE/submitted\"\ncat >>\"$HERE/submitted\"\necho '7;cluster'\n",
    );
    let text = printed(&home, "slurm", &["grid.yaml", "-j", "2"]);
    let script = Job { arguments: vec!["-c".to_owned(), text], variables: BTreeMap::new() };
    let ran = home.finish(script.command(&home)).expect(0);
    assert_eq!(ran.stdout, "array job 7, merged by job 7;cluster\n");
    let submitted = home.read("submitted");
    let jobs: Vec<&str> = submitted.split("--parsable").collect();
    for line in ["#SBATCH --array=1-2", "#SBATCH --requeue", "#SBATCH --cpus-per-task=2"] {
        assert!(jobs[1].lines().any(|other| other == line), "{line} is not in {}", jobs[1]);
    }
    assert!(jobs[2].starts_with(" --dependency=afterany:7 --export=ALL,LOCKSTEP_ARRAY=7\n#!/bin/sh\n"));
    // Without the array job, the other one is not submitted.
    program(&home, "sbatch", "#!/bin/sh\ncat >/dev/null\necho \"$*\" >>\"$HERE/refused\"\nexit 1\n");
    home.finish(script.command(&home)).expect(1);
    assert_eq!(home.read("refused"), "--parsable\n");
}

fn the_jobs_run_the_shards_and_merge_them() {
    let home = Home::new();
    home.write("a b/grid.yaml", &grid());
    let qemu = qemu(5).path.display().to_string();
    let arguments = ["a b", "--qemu", &qemu, "--accel", "tcg", "-q"];
    std::fs::create_dir(home.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lockstep"), home.path("bin/lockstep")).unwrap();
    home.run(&[&["run", "--seed", "0", "--reports", "whole"], &arguments[..]].concat()).expect(1);
    let whole = cases(&home.read("whole/junit.xml"));
    assert_eq!(whole.iter().filter(|(_, results, _)| !results.is_empty()).count(), 1);
    for engine in ENGINES {
        let [first, second, merge] = jobs(engine, &printed(&home, engine, &arguments));
        // The shard of the failed case fails, and the jobs that merge run nevertheless.
        let codes = [&first, &second].map(|job| home.finish(job.command(&home)).code.unwrap());
        assert_eq!(codes, [0, 1], "{engine}");
        let ran = home.finish(merge.command(&home)).expect(1);
        assert!(ran.stdout.ends_with(": 2 passed, 1 failed\n"), "{}", ran.stdout);
        let merged = if engine == "slurm" { "reports/slurm-7/merged" } else { "reports/merged" };
        assert_eq!(cases(&home.read(&format!("{merged}/junit.xml"))), whole, "{engine}");
        // Without one of the shards, the other one is merged, and the missing one is named.
        if engine != "kubernetes" {
            let shard = format!("{}/shard-2/events.jsonl", merged.trim_end_matches("/merged"));
            home.write(&shard, "{\"at\":");
            let ran = home.finish(merge.command(&home)).expect(1);
            assert!(ran.stdout.contains("NOTE   shard 2 of 2 is missing\n"), "{}", ran.stdout);
        }
        std::fs::remove_dir_all(home.path("reports")).unwrap();
    }
    home.assert_nothing_is_left();
}

/// What a program of others says about a text, if it refuses it.
fn refused(home: &Home, program: &str, arguments: &[&str], text: &str) -> Option<String> {
    let file = home.write("job.yaml", text);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin").join(program);
    let mut command = home.command(program.to_str().unwrap());
    command.args(arguments).arg(file);
    let ran = home.finish(command);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    (ran.code == Some(1)).then(|| format!("{}{}", ran.stdout, ran.stderr))
}

/// The job file is valid, and with one of these parts replaced it is not.
fn validated(engine: &str, program: &str, arguments: &[&str], damages: &[[&str; 2]]) {
    let home = Home::new();
    let file = format!("a b {AWKWARD}.yaml");
    home.write(&file, &grid());
    let text =
        printed(&home, engine, &["-j", "2", "--image", "registry.example.com/lockstep:1", "--", &file]);
    assert_eq!(refused(&home, program, arguments, &text), None, "{text}");
    for [part, wrong] in damages {
        assert!(text.contains(part), "{part} is not in {text}");
        let said = refused(&home, program, arguments, &text.replacen(part, wrong, 1));
        assert!(said.is_some(), "{part} as {wrong} is accepted");
    }
}

fn the_manifest_is_valid_by_the_schema_of_kubernetes() {
    // The releases that have what the manifest uses; the oldest of them is the first with failed indexes.
    for version in ["1.29", "1.37"] {
        let damages = [
            ["completions: 2", "completions: many"],
            ["completionMode:", "completionMod:"],
            ["action: FailIndex", "action: [FailIndex]"],
            ["restartPolicy: Never", "restartPolicy: 1"],
            [
                "            - name: LOCKSTEP_SHARDS\n              value: \"2\"",
                "            - name: LOCKSTEP_SHARDS\n              value: 2",
            ],
            ["mountPath: /reports", "path: /reports"],
        ];
        validated("kubernetes", "kubernetes-validate", &["--strict", "-k", version], &damages);
    }
}

fn the_jobs_are_valid_by_the_schema_of_gitlab() {
    let damages = [
        ["parallel: 2", "parallel: 201"],
        ["when: always", "when: sometimes"],
        ["  script:\n", "  scripts:\n"],
        ["max: 2", "max: 3"],
        ["junit:", "junits:"],
    ];
    validated("gitlab", "check-jsonschema", &["--builtin-schema", "vendor.gitlab-ci"], &damages);
}

fn the_workflow_is_valid_by_the_schema_of_github() {
    let damages = [
        ["runs-on:", "run-on:"],
        ["fail-fast: false", "fail-fast: 1"],
        ["      - run: |", "      - ran: |"],
        ["needs: shards", "need: shards"],
        ["on: [push, workflow_dispatch]", "on: [pushed]"],
    ];
    validated("github", "check-jsonschema", &["--builtin-schema", "vendor.github-workflows"], &damages);
}

fn bad_input_is_one_error_and_nothing_is_printed() {
    let home = Home::new();
    home.write("grid.yaml", &grid());
    home.write("bad.yaml", "name: x\nvms: {a: {}}\nsteps:\n- wait: {vm: b, ticks: 1}\n");
    let usage = "For more information, try '--help'.\n";
    let told: &[(&[&str], &str)] = &[
        (
            &["jenkins", "--shards", "2"],
            "invalid value 'jenkins' for '<ENGINE>'\n  [possible values: slurm, kubernetes, gitlab, github]",
        ),
        (&["slurm", "--shards", "0"], "invalid value '0' for '--shards <N>': 0 is not in 1..="),
        (&["slurm", "--shards", "two"], "invalid value 'two' for '--shards <N>': "),
        (&["slurm"], "the following required arguments were not provided:\n  --shards <N>\n"),
        (&["gitlab", "--shards", "201"], "--shards 201: the engine runs at most 200 jobs\n"),
        (&["github", "--shards", "257"], "--shards 257: the engine runs at most 256 jobs\n"),
        (&["slurm", "--shards", "2", "--shard", "1/2"], "the argument '--shards <N>' cannot be used with "),
        (&["slurm", "--shards", "2", "--resume", "x"], "the argument '--shards <N>' cannot be used with "),
        (&["slurm", "--shards", "2", "--watch"], "the argument '--shards <N>' cannot be used with "),
        (&["slurm", "--shards", "2", "--image", "x"], "--image: the jobs of Slurm have no image\n"),
        (
            &["gitlab", "--shards", "2", "--reports", "x"],
            "--reports: the job file has a directory of its own; edit it there\n",
        ),
        (
            &["slurm", "--shards", "2", "-"],
            "a job does not have the scenarios of this standard input; name files\n",
        ),
        (
            &["slurm", "--shards", "2", "--guests", "a\nb"],
            "\"a\\nb\" has a character that cannot be written into a job file\n",
        ),
        (
            &["slurm", "--shards", "2", "--repeat", "10m"],
            "a shard that is started again continues, which needs a known number of rounds\n",
        ),
        (&["slurm", "--shards", "2", "none.yaml"], "no such file: none.yaml\n"),
    ];
    for (arguments, message) in told {
        let file: &[&str] = if arguments.iter().any(|word| word.ends_with('-') || word.ends_with(".yaml")) {
            &[]
        } else {
            &["grid.yaml"]
        };
        let ran = home.run(&[&["engine"], *arguments, file].concat()).expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        let said = ran.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{}", ran.stderr));
        assert!(said.starts_with(message), "{said}");
        assert!(message.ends_with(&said[said.len().min(message.len())..]) || said.ends_with(usage), "{said}");
    }
    let ran = home.run(&["engine", "slurm", "--shards", "2", "bad.yaml"]).expect(2);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("--> bad.yaml:4:"), "{ran:?}");
    let ran = home.run(&["engine", "slurm", "--shards", "4", "grid.yaml"]).expect(0);
    assert_eq!(ran.stderr, "note: with 4 shards for 3 cases, some shards have none\n");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(awkward_arguments_reach_the_run_as_they_are),
            once!(the_options_of_the_environment_are_written_and_those_of_the_file_are_not),
            once!(slurm_gets_an_array_job_and_a_job_that_depends_on_it),
            once!(the_jobs_run_the_shards_and_merge_them, Qemu(5)),
            once!(
                the_manifest_is_valid_by_the_schema_of_kubernetes,
                Reader(".tools/python/bin/kubernetes-validate")
            ),
            once!(the_jobs_are_valid_by_the_schema_of_gitlab, Reader(".tools/python/bin/check-jsonschema")),
            once!(
                the_workflow_is_valid_by_the_schema_of_github,
                Reader(".tools/python/bin/check-jsonschema")
            ),
            once!(bad_input_is_one_error_and_nothing_is_printed),
        ],
    )
}
