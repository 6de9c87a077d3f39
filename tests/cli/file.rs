//! `lockstep.toml`, the environment, and where each option is from.

use std::process::{Command, Stdio};

use super::common::{Home, Ran, VM, names, qemu};

/// A project with a file, a scenario of two cases, and a directory in it.
fn project(file: &str) -> Home {
    let home = Home::new();
    home.write("lockstep.toml", file);
    home.write("scenarios/two.yaml", &format!(
        "name: two/{{{{x}}}}\nmatrix: {{x: [1, 2]}}\ntags: [\"t{{{{x}}}}\"]\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"
    ));
    home.write(
        "more/one.yaml",
        &format!("name: one\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"),
    );
    home
}

fn from(home: &Home, folder: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = home.lockstep(arguments);
    command.current_dir(home.path(folder)).envs(variables.iter().copied());
    home.finish(command)
}

/// The line of `lockstep config` about an option: its value and its source.
fn config(ran: &Ran, option: &str) -> String {
    let row = ran.stdout.lines().find_map(|line| line.strip_prefix(&format!("{option}  ")));
    let row = row.unwrap_or_else(|| panic!("no {option} in {}", ran.stdout));
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn the_file_of_a_directory_above_sets_the_options_relative_to_itself() {
    let home = project("scenarios = [\"scenarios\"]\ntags = [\"t2\"]\n");
    assert_eq!(home.run(&["list"]).expect(0).stdout, "two/2\n");
    assert_eq!(from(&home, "more", &[], &["list"]).expect(0).stdout, "two/2\n");
    assert_eq!(from(&home, "more", &[], &["check"]).expect(0).stdout, "1 case: no errors found\n");
    // An option replaces what the file says.
    assert_eq!(from(&home, "more", &[], &["list", "--tag", "t1"]).expect(0).stdout, "two/1\n");
    let none = home.run(&["list", "more/one.yaml"]).expect(2);
    assert_eq!(
        none.stderr,
        "error: --case and the `tags` of lockstep.toml:2:1 select none of 1 cases; available: one …\n"
    );
}

pub(crate) fn without_a_file_a_run_takes_the_directory_scenarios() {
    let home = project("");
    assert_eq!(home.run(&["list"]).expect(0).stdout, "two/1\ntwo/2\n");
    std::fs::remove_file(home.path("lockstep.toml")).unwrap();
    assert_eq!(home.run(&["list"]).expect(0).stdout, "two/1\ntwo/2\n");
    for command in ["run", "check", "list", "render"] {
        let ran = from(&home, "more", &[], &[command]).expect(2);
        let told = "error: no scenario is given, and there is no directory `scenarios` here; name files, or set \
                    `scenarios` in lockstep.toml\n";
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", told), "{command}");
    }
}

pub(crate) fn an_option_wins_over_the_environment_and_that_over_the_file() {
    let home =
        project("jobs = 2\nretries = 3\naccel = \"tcg\"\nreports = \"out\"\n[qemus]\nold = \"bin/q\"\n");
    let variables = [("LOCKSTEP_JOBS", "3"), ("LOCKSTEP_RETRIES", "4"), ("LOCKSTEP_FAIL_FAST", "1")];
    let ran = from(&home, "more", &variables, &["config", "-j", "5", "--qemu", "q"]).expect(0);
    assert!(ran.stdout.starts_with("lockstep.toml: ../lockstep.toml\n"), "{}", ran.stdout);
    for (option, expected) in [
        ("GLOB", "scenarios default"),
        ("--jobs", "5 option"),
        ("--retries", "4 LOCKSTEP_RETRIES"),
        ("--fail-fast", "1 LOCKSTEP_FAIL_FAST"),
        ("--accel", "tcg ../lockstep.toml:3"),
        ("--reports", "../out ../lockstep.toml:4"),
        ("--qemu old", "../bin/q ../lockstep.toml:6"),
        ("--qemu", "q option"),
        ("--guests", ".guests default"),
        ("--seed", "- not set"),
    ] {
        assert_eq!(config(&ran, option), expected);
    }
    let json = from(&home, "more", &variables, &["config", "--format", "json"]).expect(0).stdout;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |option: &str| rows.iter().find(|row| row["option"] == option).unwrap().clone();
    assert_eq!(
        row("--jobs"),
        serde_json::json!({"option": "--jobs", "values": ["3"], "source": "environment", "variable": "LOCKSTEP_JOBS"})
    );
    assert_eq!(
        row("--accel"),
        serde_json::json!({
            "option": "--accel", "values": ["tcg"], "source": "file", "file": "../lockstep.toml", "line": 3
        })
    );
}

pub(crate) fn a_run_uses_the_file_and_its_reports_say_how_to_repeat_it() {
    let qemu = qemu(5);
    let home = project("");
    let path = qemu.path.display();
    let file = format!(
        "scenarios = \"more\"\nqemu = \"{path}\"\naccel = \"tcg\"\nkeep = \"always\"\nreports = \"reports\"\n"
    );
    home.write("lockstep.toml", &file);
    from(&home, "scenarios", &[], &["run"]).expect(0);
    assert_eq!(home.results().cases(), ["one"]);
    let started = home.read("reports/one/a.command.sh");
    assert!(started.contains(&path.to_string()) && started.contains("tcg"), "{started}");
    let events = home.read("reports/events.jsonl");
    assert!(events.contains(&format!("\"--qemu\",\"{path}\",\"--accel\",\"tcg\"")), "{events}");
    assert!(!home.path("scenarios/reports").exists());
    let report = from(&home, "scenarios", &[], &["report"]).expect(0);
    assert_eq!(report.stdout, "../reports/index.html\n");
    home.assert_nothing_is_left();
}

pub(crate) fn a_mistake_in_the_file_is_one_error_and_nothing_is_started() {
    let home = project("jobs = 2\nreprots = \"out\"\n");
    let told = "error[LS010]: unknown key `reprots`\n --> lockstep.toml:2:1\n  |\n2 | reprots = \"out\"\n  | ^^^^^^^\n  \
                |\n  = help: did you mean `reports`?\n\n1 error in 1 file; for details: lockstep explain LS010\n";
    for command in ["run", "check", "list", "render", "config", "report", "probe"] {
        let ran = home.run(&[command]).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", told), "{command}");
    }
    let json = home.run(&["check", "--format", "json"]).expect(2).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["code"], &json["file"], &json["line"]),
        (&"LS010".into(), &"lockstep.toml".into(), &2.into())
    );
    // What does not use the file still works.
    for arguments in [&["--help"][..], &["run", "--help"], &["docs"], &["explain"], &["schema"]] {
        home.run(arguments).expect(0);
    }
    std::fs::write(home.path("lockstep.toml"), b"# \xff\n").unwrap();
    let ran = home.run(&["list"]).expect(2);
    assert!(
        ran.stderr.starts_with("error[LS001]: cannot read the file: it is not UTF-8 text\n"),
        "{}",
        ran.stderr
    );
    home.write("lockstep.toml", "jobs = \n");
    let ran = home.run(&["list"]).expect(2);
    assert!(ran.stderr.starts_with("error[LS002]: not valid TOML: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("--> lockstep.toml:1:8\n"), "{}", ran.stderr);
    home.write("lockstep.toml", "scenarios = [\"scenarios\", \"no/*.yaml\"]\nqemu = \"no/qemu\"\n");
    for (arguments, told) in [
        (&["list"][..], "error: lockstep.toml:1:27: no file matches no/*.yaml\n"),
        (
            &["run", "scenarios"],
            "error: lockstep.toml:2:8: no QEMU at `no/qemu`: No such file or directory (os error 2)\n",
        ),
    ] {
        let ran = home.run(arguments).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", told));
    }
    let expected = ["lockstep.toml", "more", "scenarios", "tmp"].map(str::to_owned);
    assert_eq!(names(&home.path("")), expected.into());
    home.assert_nothing_is_left();
}

pub(crate) fn a_wrong_value_of_the_environment_names_the_variable() {
    let home = project("");
    for (variable, value, told) in [
        ("LOCKSTEP_JOBS", "0", ": write a number from 1 to 65535, or `auto`"),
        ("LOCKSTEP_SLOW", "x", ": write a number from 0.01 to 10000"),
        ("LOCKSTEP_ACCEL", "xen", ": `xen` is not an accelerator; use `kvm` or `tcg`"),
        ("LOCKSTEP_KEEP", "allways", "; did you mean `always`?"),
        ("LOCKSTEP_DRY_RUN", "perhaps", ": write 1 or 0, yes or no, true or false, on or off"),
    ] {
        let ran = from(&home, "", &[(variable, value)], &["run"]).expect(2);
        let told =
            format!("error: the environment variable {variable} has the invalid value `{value}`{told}\n");
        assert_eq!((ran.stdout, ran.stderr), (String::new(), told));
    }
    // The option is to blame if it is given, whatever the variable says.
    let ran = from(&home, "", &[("LOCKSTEP_JOBS", "0")], &["run", "--jobs", "0"]).expect(2);
    assert!(ran.stderr.starts_with("error: invalid value '0' for '--jobs <N|auto>'"), "{}", ran.stderr);
}

pub(crate) fn one_and_yes_in_the_environment_are_a_yes() {
    let home = project("");
    for (value, expected) in [
        ("1", "two/1\tscenarios/two.yaml\tt1\t\n"),
        ("yes", "two/1\tscenarios/two.yaml\tt1\t\n"),
        ("0", "two/1\n"),
        ("", "two/1\n"),
    ] {
        let ran = from(&home, "", &[("LOCKSTEP_LONG", value)], &["list", "--case", "two/1"]).expect(0);
        assert_eq!(ran.stdout, expected, "{value}");
    }
}

pub(crate) fn a_scenario_is_read_from_standard_input() {
    let home = project("");
    let read = |text: &str, arguments: &[&str]| -> Ran {
        let mut command: Command = home.lockstep(arguments);
        home.write("input", text);
        command.stdin(Stdio::from(std::fs::File::open(home.path("input")).unwrap()));
        home.finish(command)
    };
    let right = home.read("scenarios/two.yaml");
    assert_eq!(read(&right, &["check", "-"]).expect(0).stdout, "2 cases: no errors found\n");
    assert_eq!(read(&right, &["list", "-"]).expect(0).stdout, "two/1\ntwo/2\n");
    // What it extends is relative to the working directory.
    assert_eq!(read("extends: more/one.yaml\n", &["list", "-"]).expect(0).stdout, "one\n");
    let wrong = read("vms: {a: {}}\nsteps:\n- wait: {vm: b, ticks: 1}\n", &["check", "-"]).expect(2);
    assert!(wrong.stderr.contains("there is no VM `b` in this case\n --> -:3:14\n"), "{}", wrong.stderr);
    let both = read(&right, &["check", "-", "more/one.yaml"]).expect(2);
    assert_eq!(both.stderr, "error: `-` is standard input, which cannot be combined with files\n");
}
