//! What is shown, and how: help, colours, a quiet run, the report's path, completions, man pages.

use std::process::Stdio;

use rustix::process::Signal;

use super::common::{Home, Ran, VM, names, qemu, signal, wait_until};

/// A project of two cases, one of which fails.
fn project() -> Home {
    let home = Home::new();
    home.write("lockstep.toml", "scenarios = [\"suite\"]\n");
    let case = |name: &str, steps: &str| {
        home.write(
            &format!("suite/{name}.yaml"),
            &format!("name: set/{name}\ntags: [{name}, both]\n{steps}"),
        );
    };
    case(
        "bad",
        &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n- check: {{value: 3, below: 2}}\n"),
    );
    case("good", &format!("description: It ticks.\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    home
}

pub(crate) fn the_help_of_run_groups_its_options() {
    let help = Home::new().run(&["run", "--help"]).expect(0).stdout;
    let groups: Vec<&str> =
        help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    let expected = [
        "Arguments:",
        "Options:",
        "Cases:",
        "Shards:",
        "Output:",
        "QEMU:",
        "Repetition:",
        "Execution:",
        "Inspection:",
    ];
    for group in expected {
        assert!(groups.contains(&group), "{group} is not among {groups:?}");
    }
    assert_eq!(groups.len(), expected.len(), "{groups:?}");
    // Only the help itself is in no group.
    let rest = help.split("\nOptions:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(rest.matches("--").count(), 1, "{rest}");
}

pub(crate) fn a_run_reports_a_failure_once_and_ends_with_the_path_of_the_page() {
    let qemu = qemu(5);
    let home = project();
    let ran = home.run_on(qemu, &["suite/bad.yaml"]).expect(1);
    assert!(ran.stdout.ends_with(": 1 failed\nreport: reports/index.html\n"), "{}", ran.stdout);
    for once in ["set/bad", "the value is 3"] {
        let shown = ran.stdout.replace("artifacts: reports/set/bad", "");
        assert_eq!(shown.matches(once).count(), 1, "{once} in {}", ran.stdout);
    }
    // A passed case below it: the summary names it again, in a line.
    let ran = home.run_on(qemu, &["--reports", "out"]).expect(1);
    assert!(ran.stdout.contains("\n\nFAIL   set/bad  suite/bad.yaml:6:3\n\n2 cases in "), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 passed, 1 failed\nreport: out/index.html\n"), "{}", ran.stdout);
    let quiet = home.run_on(qemu, &["-v", "-q"]).expect(1);
    assert!(quiet.stdout.starts_with("FAIL   set/bad"), "{}", quiet.stdout);
    assert!(!quiet.stdout.contains("set/good"), "{}", quiet.stdout);
    assert!(quiet.stdout.ends_with("1 passed, 1 failed\nreport: reports/index.html\n"), "{}", quiet.stdout);
    let silent = home.run_on(qemu, &["--quiet", "suite/good.yaml"]).expect(0);
    assert!(silent.stdout.starts_with("\n1 case in "), "{}", silent.stdout);
    home.assert_nothing_is_left();
}

pub(crate) fn the_path_of_the_page_is_a_link_on_a_terminal() {
    let qemu = qemu(5);
    let home = project();
    let mut command = home.command("script");
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    let lockstep = env!("CARGO_BIN_EXE_lockstep");
    let run = format!(
        "exec {lockstep} run suite/good.yaml --accel tcg --qemu {} --reports 'a b'",
        qemu.path.display()
    );
    command.args(["--quiet", "--return", "--command", &run, "/dev/null"]).stdout(Stdio::piped());
    let seen = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let address = format!("file://{}/a%20b/index.html", home.path("").display()).replace("//a%20b", "/a%20b");
    let link = format!("report: \u{1b}]8;;{address}\u{1b}\\a b/index.html\u{1b}]8;;\u{1b}\\");
    assert!(seen.contains(&link), "{seen:?} has no {link:?}");
    home.assert_nothing_is_left();
}

pub(crate) fn colours_are_used_as_the_option_says() {
    let home = project();
    home.write("wrong.yaml", "vms: {a: {}}\nsteps:\n- wait: {vm: b, ticks: 1}\n");
    let ran = |variables: &[(&str, &str)], arguments: &[&str]| -> Ran {
        let mut command = home.lockstep(arguments);
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        home.finish(command)
    };
    let colour = '\u{1b}';
    for (variables, arguments, coloured) in [
        (&[][..], &["check", "wrong.yaml"][..], false),
        (&[], &["check", "wrong.yaml", "--color", "always"], true),
        (&[("NO_COLOR", "1")], &["--color", "always", "check", "wrong.yaml"], true),
        (&[("LOCKSTEP_COLOR", "always")], &["check", "wrong.yaml"], true),
        (&[("LOCKSTEP_COLOR", "always")], &["check", "wrong.yaml", "--color=never"], false),
        (&[("CLICOLOR_FORCE", "1")], &["check", "wrong.yaml", "--color=never"], false),
        (&[], &["check", "no.yaml", "--color", "always"], true),
    ] {
        let stderr = ran(variables, arguments).expect(2).stderr;
        assert_eq!(stderr.contains(colour), coloured, "{variables:?} {arguments:?}: {stderr}");
    }
    assert!(ran(&[], &["docs", "wait", "--color", "always"]).expect(0).stdout.contains(colour));
    let wrong = ran(&[("LOCKSTEP_COLOR", "sometimes")], &["list"]).expect(2).stderr;
    assert!(
        wrong.starts_with(
            "error: the environment variable LOCKSTEP_COLOR has the invalid value `sometimes`; "
        ),
        "{wrong}"
    );
}

pub(crate) fn a_saved_file_runs_the_cases_that_it_belongs_to() {
    let qemu = qemu(5);
    let home = project();
    home.write("parts/ticks.yaml", &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    home.write("suite/child.yaml", "name: set/child\nextends: ../parts/ticks.yaml\n");
    let path = qemu.path.display().to_string();
    let child = home.spawn(home.lockstep(&["run", "--watch", "--accel", "tcg", "--qemu", &path]));
    let waits = |count: usize| {
        let seen = || home.read("tmp.stdout");
        let there = || (seen().matches("watching 3 scenario files").count() >= count).then_some(());
        wait_until("the run to wait for a saved file", there, seen);
    };
    waits(1);
    assert_eq!(home.results().cases(), ["set/bad", "set/child", "set/good"]);
    // What another file extends.
    home.write("parts/ticks.yaml", &format!("vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 2}}\n"));
    waits(2);
    assert_eq!(home.results().cases(), ["set/child"]);
    // A mistake is shown, and the next save is awaited; an editor replaces the file.
    home.write("suite/good.yaml", "vms: [");
    waits(3);
    assert!(home.read("tmp.stderr").contains("suite/good.yaml:1:"), "{}", home.read("tmp.stderr"));
    home.write("new", &format!("name: set/better\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"));
    std::fs::rename(home.path("new"), home.path("suite/good.yaml")).unwrap();
    waits(4);
    assert_eq!(home.results().cases(), ["set/better"]);
    signal(&child, Signal::INT);
    let ran = home.ended(child).expect(130);
    assert_eq!(ran.stdout.matches("report: ").count(), 3, "{}", ran.stdout);
    home.assert_nothing_is_left();
}

/// What bash would offer for the last of these words.
fn completed(home: &Home, words: &[&str]) -> Vec<String> {
    let last = words.last().unwrap();
    let script = format!(
        "source <(\"$LOCKSTEP\" completions bash); COMP_WORDS=({}); COMP_CWORD={}; \
         _clap_complete_lockstep lockstep '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    let mut command = home.command("bash");
    command.env("LOCKSTEP", env!("CARGO_BIN_EXE_lockstep")).args(["-c", &script]);
    let ran = home.finish(command).expect(0);
    assert_eq!(ran.stderr, "", "{words:?}");
    ran.stdout.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

pub(crate) fn a_shell_completes_commands_options_cases_tags_and_topics() {
    let home = project();
    home.write(
        "other/x.yaml",
        &format!("name: other/x\ntags: [far]\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"),
    );
    let complete = |words: &[&str]| completed(&home, words);
    assert!(complete(&["lockstep", "co"]).starts_with(&["compare".to_owned()]));
    assert_eq!(complete(&["lockstep", "run", "--last"]), ["--last-failed"]);
    assert_eq!(complete(&["lockstep", "list", "--case", "set/"]), ["set/bad", "set/good"]);
    assert_eq!(complete(&["lockstep", "run", "--tag", "b"]), ["bad", "both"]);
    assert_eq!(complete(&["lockstep", "run", "--tag", "!g"]), ["!good"]);
    // The files on the command line count.
    assert_eq!(complete(&["lockstep", "check", "other/x.yaml", "--case", ""]), ["other/x"]);
    assert_eq!(complete(&["lockstep", "check", "other", "--tag", ""]), ["far"]);
    assert_eq!(complete(&["lockstep", "run", "other/"]), ["other/x.yaml"]);
    assert_eq!(complete(&["lockstep", "run", "--keep", "al"]), ["always"]);
    assert!(complete(&["lockstep", "docs", "wait.ti"]).contains(&"wait.ticks".to_owned()));
    assert!(complete(&["lockstep", "explain", "LS01"]).contains(&"LS010".to_owned()));
    // Files with mistakes leave the shell alone.
    home.write("suite/bad.yaml", "vms: [");
    assert_eq!(complete(&["lockstep", "list", "--case", ""]), ["set/good"]);
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("LOCKSTEP_COMPLETE"), "{shell}: {script}");
    }
}

pub(crate) fn a_man_page_is_written_for_each_command() {
    let home = Home::new();
    let ran = home.run(&["man", "deep/man1"]).expect(0);
    assert!(ran.stdout.starts_with("wrote deep/man1/lockstep.1 "), "{}", ran.stdout);
    let pages = names(&home.path("deep/man1"));
    for page in ["lockstep.1", "lockstep-run.1", "lockstep-config.1", "lockstep-completions.1"] {
        assert!(pages.contains(page), "{page} is not among {pages:?}");
    }
    let page = home.read("deep/man1/lockstep-run.1");
    assert!(page.contains(".TH lockstep-run 1") && page.contains("LOCKSTEP_JOBS"), "{page}");
    home.write("file", "");
    let wrong = home.run(&["man", "file"]).expect(2);
    assert_eq!(wrong.stderr, "error: cannot write the man pages to file: File exists (os error 17)\n");
}
