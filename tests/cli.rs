//! The command line: exit codes, messages, and that nothing is started or overwritten if nothing can be run.

#[path = "cli/file.rs"]
mod file;
#[path = "cli/kvm.rs"]
mod kvm;
#[path = "cli/mounts.rs"]
mod mounts;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/selecting.rs"]
mod selecting;
#[path = "cli/shards.rs"]
mod shards;

mod common;

use std::io::Read as _;
use std::process::{ExitCode, Stdio};

use common::harness::{self, each, once};
use common::{Home, Ran, VM, names, qemu};
use kvm::a_scenario_runs_without_options;
use lockstep_vm::event::Verdict;

/// A home with a scenario of two cases, a template, and the reports of an earlier run.
fn home() -> Home {
    let home = Home::new();
    home.write("two.yaml", &format!(
        "name: two/{{{{x}}}}\nmatrix: {{x: [1, 2]}}\ntags: [small]\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n"
    ));
    home.write(
        "template.yaml",
        "params: {x: {required: true}}\nvms: {a: {}}\nsteps:\n- wait: {vm: a, ticks: 1}\n",
    );
    home.write("named.yaml", "vms: {a: {qemu: older}}\nsteps:\n- wait: {vm: a, ticks: 1}\n");
    home.write("no-qemu", "#!/bin/sh\n");
    home.write("reports/junit.xml", "the reports of an earlier run");
    home.write("reports/events.jsonl", "its events");
    home
}

/// Nothing was started, and no existing file was changed.
fn assert_untouched(home: &Home, what: &str) {
    assert_eq!(home.read("reports/junit.xml"), "the reports of an earlier run", "{what}");
    assert_eq!(home.read("reports/events.jsonl"), "its events", "{what}");
    assert_eq!(names(&home.path("reports")).len(), 2, "{what}");
    home.assert_nothing_is_left();
}

fn help_lists_every_command_and_each_command_has_help() {
    let home = Home::new();
    let help = home.run(&["--help"]).expect(0).stdout;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for command in ["run", "check", "list", "render", "schema", "probe", "help"] {
        assert!(commands.contains(&command), "{command} is not among {commands:?}");
    }
    for command in commands.iter().filter(|command| **command != "help") {
        let own = home.run(&[command, "--help"]).expect(0).stdout;
        assert!(own.contains(&format!("Usage: lockstep {command}")), "{own}");
    }
    assert!(help.contains("130, interrupted"), "{help}");
}

fn an_invalid_command_line_is_one_error_without_side_effects() {
    let home = home();
    std::fs::create_dir(home.path("templates")).unwrap();
    home.write("templates/vms.yaml", "vms: {a: {}}\n");
    let told: &[(&[&str], &str)] = &[
        (&["no/*.yaml"], "error: no file matches no/*.yaml\n"),
        (&["no.yaml"], "error: no such file: no.yaml\n"),
        (
            &["template.yaml"],
            "error: template.yaml is a template without cases of its own: it needs a value for x\n",
        ),
        (
            &["*plate.yaml"],
            "error: template.yaml is a template without cases of its own: it needs a value for x\n",
        ),
        (
            &["templates/vms.yaml"],
            "error: templates/vms.yaml is a template without cases of its own: it is meant for `use` or `extends`\n",
        ),
        (
            &["two.yaml", "--case", "none"],
            "error: --case and --tag select none of 2 cases; available: two/1, two/2 …\n",
        ),
        (
            &["two.yaml", "--tag", "!small"],
            "error: --case and --tag select none of 2 cases; available: two/1, two/2 …\n",
        ),
        (
            &["two.yaml", "--case", "["],
            "error: --case [: not a valid pattern: unclosed character class; missing ']'\n",
        ),
        (
            &["two.yaml", "-D", "y=1"],
            "error[LS021]: no scenario has a parameter or an axis `y`\n --> -D:1:3\n  |\n1 | y=1\n  |   ^\n  |\n  \
             = help: available: x\n\n1 error in 1 file; for details: lockstep explain LS021\n",
        ),
        (
            &["two.yaml", "-D", "x=3"],
            "error[LS022]: the axis `x` has no value `3`\n --> -D:1:3\n  |\n1 | x=3\n  |   ^\n  |\n \
             ::: two.yaml:2:10\n  |\n2 | matrix: {x: [1, 2]}\n  |          - the axis\n  |\n  \
             = help: available: 1, 2\n\n1 error in 1 file; for details: lockstep explain LS022\n",
        ),
        (&["two.yaml", "-D", "x"], "error: -D x: write NAME=VALUE\n"),
        (
            &["two.yaml", "--accel", "xen"],
            "error: invalid value 'xen' for '--accel <ACCEL>': `xen` is not an accelerator; use `kvm` or `tcg`\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["two.yaml", "--slow", "0"],
            "error: invalid value '0' for '--slow <N>': write a number from 0.01 to 10000\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["two.yaml", "--slow=nan"],
            "error: invalid value 'nan' for '--slow <N>': write a number from 0.01 to 10000\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["two.yaml", "-j", "0"],
            "error: invalid value '0' for '--jobs <N|auto>': write a number from 1 to 65535, or `auto`\n\n\
             For more information, try '--help'.\n",
        ),
    ];
    for (arguments, expected) in told {
        let ran = home.run(&[&["run"], *arguments].concat()).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", *expected), "{arguments:?}");
        assert_untouched(&home, expected);
    }
}

fn a_program_that_is_not_a_qemu_is_one_error_without_side_effects() {
    let home = home();
    let of = "(VM `a` of case `two/1`; choose another one with --qemu)";
    let told = [
        (
            "/no/such",
            "--qemu default: no QEMU at `/no/such`: No such file or directory (os error 2)".to_owned(),
        ),
        ("./no-qemu", "--qemu default: no QEMU at `./no-qemu`: it is not executable".to_owned()),
        ("/tmp", "--qemu default: no QEMU at `/tmp`: it is a directory".to_owned()),
        ("no-such-program", "--qemu default: no QEMU at `no-such-program`: it is not on the PATH".to_owned()),
        (
            "other=/no/such",
            "--qemu other: no QEMU at `/no/such`: No such file or directory (os error 2)".to_owned(),
        ),
        ("/bin/true", format!("`/bin/true` does not respond like QEMU: it ended with exit status 0 {of}")),
        ("/bin/false", format!("`/bin/false` does not respond like QEMU: it ended with exit status 1 {of}")),
    ];
    for (path, expected) in told {
        let ran = home.run(&["run", "two.yaml", "--accel", "tcg", "--qemu", path]).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr), ("", format!("error: {expected}\n")));
        assert_untouched(&home, path);
    }
    let cat = home.run(&["run", "two.yaml", "--qemu", "/bin/cat"]).expect(2);
    assert!(
        cat.stderr.starts_with(
            "error: `/bin/cat` does not respond like QEMU: it ended with exit status 1, saying: "
        )
    );
    assert_untouched(&home, "/bin/cat");
}

fn an_undefined_qemu_name_is_an_error_before_the_run() {
    let home = home();
    let ran = home.run(&["run", "named.yaml"]).expect(2);
    assert_eq!(
        ran.stderr,
        "error: no QEMU at `older`: it is not on the PATH (VM `a` of case `named`; choose another one with --qemu)\n"
    );
    assert_untouched(&home, "named.yaml");
    let qemu = qemu(5);
    let named = format!("older={}", qemu.path.display());
    home.run(&["run", "named.yaml", "--accel", "tcg", "--qemu", &named]).expect(0);
    assert_eq!(home.results().cases(), ["named"]);
}

fn errors_in_a_file_are_reported_with_their_place_before_the_run() {
    let home = home();
    home.write("wrong.yaml", "vms: {a: {}}\nsteps:\n- wait: {vm: b, ticks: 1}\n");
    for command in ["run", "check", "list", "render"] {
        let ran = home.run(&[command, "wrong.yaml", "two.yaml"]).expect(2);
        assert!(
            ran.stderr.contains("there is no VM `b` in this case\n --> wrong.yaml:3:14\n"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.ends_with('\n') && ran.stdout.is_empty(), "{ran:?}");
        assert_untouched(&home, command);
    }
}

fn check_and_list_start_nothing() {
    let home = home();
    assert_eq!(home.run(&["check", "two.yaml"]).expect(0).stdout, "2 cases: no errors found\n");
    assert_eq!(home.run(&["check", "two.yaml", "-D", "x=2"]).expect(0).stdout, "1 case: no errors found\n");
    // Templates matched by a pattern make no cases.
    // Expanded here and by a shell.
    for files in [&["*.yaml"][..], &["named.yaml", "template.yaml", "two.yaml"]] {
        let ran = home.run(&[&["list"], files].concat()).expect(0);
        assert_eq!(ran.stdout, "named\ntwo/1\ntwo/2\n");
        assert_eq!(ran.stderr, "note: left out 1 file without cases of its own: template.yaml\n");
    }
    assert_eq!(home.run(&["list", "two.yaml", "named.yaml"]).expect(0).stdout, "two/1\ntwo/2\nnamed\n");
    assert_eq!(home.run(&["list", "two.yaml", "named.yaml", "--tag", "!small"]).expect(0).stdout, "named\n");
    assert_eq!(
        home.run(&["list", "-l", "two.yaml", "--case", "*2"]).expect(0).stdout,
        "two/2\ttwo.yaml\tsmall\t\n"
    );
    assert_untouched(&home, "check and list");
}

fn the_output_of_render_loads_to_the_same_case() {
    let qemu = qemu(5);
    let path = qemu.path.display().to_string();
    let home = Home::new();
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let all = home.run(&["list", scenarios]).expect(0).stdout;
    let rendered = home.run(&["render", scenarios, "--qemu", &path]).expect(0).stdout;
    let documents: Vec<&str> = rendered.strip_prefix("---\n").unwrap().split("\n---\n").collect();
    assert_eq!(documents.len(), all.lines().count());
    for (number, text) in documents.iter().enumerate() {
        home.write(&format!("rendered/{number:03}.yaml"), &format!("{text}\n"));
    }
    assert_eq!(home.run(&["list", "rendered"]).expect(0).stdout, all);
    // Rendering it again gives the same text.
    assert_eq!(home.run(&["render", "rendered", "--qemu", &path]).expect(0).stdout, rendered);
}

fn schema_prints_the_schema_that_is_checked_in() {
    let home = Home::new();
    let printed = home.run(&["schema"]).expect(0).stdout;
    let checked_in = include_str!("../schemas/scenario.schema.json");
    // Not the whole texts, which would fill a hundred screens.
    let different =
        printed.lines().zip(checked_in.lines()).find(|(printed, checked_in)| printed != checked_in);
    assert_eq!(different, None, "lockstep schema > schemas/scenario.schema.json");
    assert_eq!(printed.len(), checked_in.len());
}

fn probe_lists_the_features_of_a_qemu() {
    let qemu = qemu(5);
    let path = qemu.path.display().to_string();
    let home = Home::new();
    let text = home.run(&["probe", &path]).expect(0).stdout;
    assert!(text.contains(&format!("version          {} (", qemu.version)), "{text}");
    let json = home.run(&["probe", "--json", "--qemu", &path]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], qemu.version.to_string());
    for (list, name) in [
        ("commands", "query-status"),
        ("machines", "q35"),
        ("capabilities", "events"),
        ("accelerators", "tcg"),
    ] {
        assert!(json[list].as_array().unwrap().contains(&name.into()), "{name} is not among the {list}");
    }
    let none = home.run(&["probe", "/bin/true"]).expect(2);
    assert_eq!(none.stderr, "error: `/bin/true` does not respond like QEMU: it ended with exit status 0\n");
    home.assert_nothing_is_left();
}

fn environment_variables_work_like_options() {
    let qemu = qemu(5);
    let home = home();
    let ran = |variables: &[(&str, &str)], arguments: &[&str]| -> Ran {
        let mut command = home.lockstep(arguments);
        command
            .env("LOCKSTEP_QEMU", &qemu.path)
            .env("LOCKSTEP_ACCEL", "tcg")
            .env("LOCKSTEP_REPORTS", "elsewhere");
        command.envs(variables.iter().copied());
        home.finish(command)
    };
    ran(&[("LOCKSTEP_CASE", "*/2"), ("LOCKSTEP_KEEP", "always")], &["run", "two.yaml"]).expect(0);
    assert!(home.read("elsewhere/junit.xml").contains("two/2"));
    assert!(!home.read("elsewhere/junit.xml").contains("two/1"));
    let started = home.read("elsewhere/two/2/a.command.sh");
    assert!(started.contains(&qemu.path.display().to_string()) && started.contains("tcg"), "{started}");
    assert_eq!(home.read("reports/junit.xml"), "the reports of an earlier run");
    assert_eq!(ran(&[("LOCKSTEP_DEFINE", "x=1")], &["list", "two.yaml"]).expect(0).stdout, "two/1\n");
    assert_eq!(ran(&[("LOCKSTEP_TAG", "no")], &["list", "two.yaml"]).code, Some(2));
    ran(&[("LOCKSTEP_SLOW", "x")], &["run", "two.yaml"]).expect(2);
    ran(&[("LOCKSTEP_JOBS", "0")], &["run", "two.yaml"]).expect(2);
    // An error names the variable.
    for (variable, value, error) in [
        ("LOCKSTEP_QEMU", "/no/qemu", "LOCKSTEP_QEMU default: no QEMU at `/no/qemu`"),
        ("LOCKSTEP_CASE", "[", "LOCKSTEP_CASE [: not a valid pattern"),
        ("LOCKSTEP_DEFINE", "x", "LOCKSTEP_DEFINE x: write NAME=VALUE"),
        ("LOCKSTEP_TAG", "no", "--case and LOCKSTEP_TAG select none of 2 cases"),
    ] {
        let stderr = ran(&[(variable, value)], &["run", "two.yaml"]).expect(2).stderr;
        assert!(stderr.starts_with(&format!("error: {error}")), "{stderr}");
    }
    // An option takes precedence over the environment.
    ran(&[("LOCKSTEP_ACCEL", "xen")], &["run", "two.yaml", "--accel", "tcg"]).expect(0);
}

fn a_closed_standard_output_is_not_a_failure() {
    let home = home();
    let closed = |arguments: &[&str]| -> Ran {
        let mut command = home.lockstep(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { code: child.wait().unwrap().code(), signal: None, stdout: String::new(), stderr }
    };
    for arguments in [&["list", "two.yaml"][..], &["check", "two.yaml"], &["schema"], &["--help"]] {
        let ran = closed(arguments).expect(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
    let qemu = qemu(5);
    let path = qemu.path.display().to_string();
    closed(&["render", "two.yaml", "--qemu", &path]).expect(0);
    closed(&["probe", &path]).expect(0);
    let ran = closed(&["run", "two.yaml", "--accel", "tcg", "--qemu", &path]).expect(0);
    assert_eq!(ran.stderr, "");
    assert!(home.read("reports/junit.xml").contains("two/2"));
}

fn an_impossible_reports_directory_is_an_error_before_the_run() {
    let qemu = qemu(5);
    let home = home();
    home.write("file", "");
    home.write("taken/events.jsonl/x", "");
    for (reports, message) in [
        ("file", "error: cannot create the reports directory file: File exists (os error 17)\n"),
        (
            "file/below",
            "error: cannot create the reports directory file/below: Not a directory (os error 20)\n",
        ),
        ("taken", "error: cannot create taken/events.jsonl: Is a directory (os error 21)\n"),
    ] {
        let ran = home.run_on(qemu, &["two.yaml", "--reports", reports]).expect(2);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", message));
        home.assert_nothing_is_left();
    }
}

fn a_report_that_cannot_be_written_is_named_and_the_others_are_complete() {
    let qemu = qemu(5);
    let home = home();
    home.write("one/junit.xml/x", "");
    let ran = home.run_on(qemu, &["two.yaml", "--reports", "one"]).expect(1);
    assert_eq!(
        ran.stderr,
        "error: a report is incomplete: cannot write one/junit.xml: Is a directory (os error 21)\n"
    );
    assert!(home.read("one/events.jsonl").contains("run_ended"));

    std::fs::create_dir(home.path("other")).unwrap();
    std::os::unix::fs::symlink("/dev/full", home.path("other/events.jsonl")).unwrap();
    let ran = home.run_on(qemu, &["two.yaml", "--reports", "other"]).expect(1);
    assert_eq!(
        ran.stderr,
        "error: a report is incomplete: cannot write other/events.jsonl: No space left on device (os error 28)\n"
    );
    assert!(home.read("other/junit.xml").contains("two/2"));

    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let path = qemu.path.display().to_string();
    let mut command = home.lockstep(&["run", "two.yaml", "--accel", "tcg", "--qemu", &path]);
    command.stdout(full).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(1), "a console that cannot be written to");
    assert!(home.read("reports/junit.xml").contains("two/2"));
    home.assert_nothing_is_left();
}

fn a_qemu_that_rejects_its_options_is_an_error_with_its_message() {
    let qemu = qemu(5);
    let home = home();
    home.write(
        "bad.yaml",
        "vms:\n  a: {memory: 32M, args: [-no-such-option]}\n  b: {memory: 32M}\nsteps:\n- wait: {vm: [a, b], ticks: 1}\n",
    );
    let ran = home.run_on(qemu, &["bad.yaml", "two.yaml"]).expect(1);
    assert!(
        ran.stdout.contains("2 passed, 1 error") || ran.stdout.contains("1 error, 2 passed"),
        "{}",
        ran.stdout
    );
    let told = home.results();
    assert_eq!(told.case("bad").verdict(), Verdict::Error);
    let reason = told.case("bad").reason().unwrap();
    assert!(
        reason.starts_with("cannot start VM `a`: exit status 1, saying: ")
            && reason.ends_with("-no-such-option: invalid option"),
        "{reason}"
    );
    assert!(home.read("reports/bad/a.stderr.log").contains("-no-such-option: invalid option"));
    assert!(ran.stdout.contains("bad.yaml:2:3"), "{}", ran.stdout);
    // The other VM runs; its state is shown.
    assert!(ran.stdout.contains("run state: running") && !ran.stdout.contains("connected"), "{}", ran.stdout);
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(help_lists_every_command_and_each_command_has_help),
            once!(an_invalid_command_line_is_one_error_without_side_effects),
            once!(a_program_that_is_not_a_qemu_is_one_error_without_side_effects),
            once!(an_undefined_qemu_name_is_an_error_before_the_run, Qemu(5)),
            once!(errors_in_a_file_are_reported_with_their_place_before_the_run),
            once!(check_and_list_start_nothing),
            once!(the_output_of_render_loads_to_the_same_case, Qemu(5)),
            once!(schema_prints_the_schema_that_is_checked_in),
            once!(probe_lists_the_features_of_a_qemu, Qemu(5)),
            once!(kvm::a_kvm_that_does_not_work_is_replaced_by_tcg_with_the_reason, Qemu(5)),
            each!(a_scenario_runs_without_options),
            once!(environment_variables_work_like_options, Qemu(5)),
            once!(a_closed_standard_output_is_not_a_failure, Qemu(5)),
            once!(an_impossible_reports_directory_is_an_error_before_the_run, Qemu(5)),
            once!(a_report_that_cannot_be_written_is_named_and_the_others_are_complete, Qemu(5)),
            once!(mounts::a_qemu_sees_what_a_step_mounts, Qemu(7), Mounts),
            once!(mounts::a_full_disk_of_the_reports_ends_the_run_cleanly, Qemu(5), Mounts),
            once!(mounts::a_full_disk_of_the_temporary_directory_is_an_error_of_each_case, Qemu(5), Mounts),
            once!(a_qemu_that_rejects_its_options_is_an_error_with_its_message, Qemu(5)),
            once!(file::the_file_of_a_directory_above_sets_the_options_relative_to_itself),
            once!(file::without_a_file_a_run_takes_the_directory_scenarios),
            once!(file::an_option_wins_over_the_environment_and_that_over_the_file),
            once!(file::a_run_uses_the_file_and_its_reports_say_how_to_repeat_it, Qemu(5)),
            once!(file::a_mistake_in_the_file_is_one_error_and_nothing_is_started),
            once!(file::a_wrong_value_of_the_environment_names_the_variable),
            once!(file::one_and_yes_in_the_environment_are_a_yes),
            once!(file::a_scenario_is_read_from_standard_input),
            once!(selecting::list_prints_an_object_per_line_for_programs),
            once!(selecting::a_case_is_selected_by_one_of_several_words),
            once!(selecting::the_failed_cases_of_a_run_are_selected_with_their_files, Qemu(5)),
            once!(selecting::a_run_without_failures_or_without_events_selects_nothing),
            once!(shards::each_case_is_in_one_shard_balanced_by_time),
            once!(shards::the_reports_of_a_shard_say_which_it_is_and_how_it_is_known, Qemu(5)),
            once!(shards::an_empty_shard_is_a_success_that_says_so, Qemu(5)),
            once!(shards::a_run_keeps_what_its_cases_took_and_starts_the_longest_first, Qemu(5)),
            once!(shards::a_wrong_shard_or_wrong_durations_are_one_error),
            once!(output::the_help_of_run_groups_its_options),
            once!(output::a_run_reports_a_failure_once_and_ends_with_the_path_of_the_page, Qemu(5)),
            once!(output::the_path_of_the_page_is_a_link_on_a_terminal, Qemu(5), Script),
            once!(output::colours_are_used_as_the_option_says),
            once!(output::a_shell_completes_commands_options_cases_tags_and_topics),
            once!(output::a_saved_file_runs_the_cases_that_it_belongs_to, Qemu(5)),
            once!(output::a_man_page_is_written_for_each_command),
        ],
    )
}
