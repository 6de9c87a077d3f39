//! The sessions of README.md: what it shows is what comes out.

mod common;

use std::path::Path;
use std::process::ExitCode;

use common::harness::{self, once};
use common::{Home, Ran, qemu};
use regex::Regex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The blocks of code of a language that contain this text.
fn block(language: &str, content: &str) -> String {
    let readme = readme();
    let start = format!("```{language}\n");
    let blocks = readme.split(&start).skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.contains(content)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with `{content}`: {found:?}");
    found[0].to_owned()
}

/// The commands of a session, each with what it prints.
fn session(content: &str) -> Vec<(String, String)> {
    let text = block("console", content);
    let parts = text.split("$ ").filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('\n').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// What a command prints to a terminal, without the durations.
fn without_times(text: &str) -> String {
    let times = Regex::new(r" +([0-9]+m)?[0-9]+(\.[0-9]+)?s\b").unwrap();
    times.replace_all(text.trim(), " TIME").into_owned()
}

fn printed(ran: &Ran) -> String {
    without_times(&format!("{}{}", ran.stdout, ran.stderr))
}

fn home() -> Home {
    let home = Home::new();
    home.write("first.yaml", &block("yaml", "first/stop-and-go"));
    home
}

fn the_first_scenario_runs_as_shown() {
    let home = home();
    let shown = session("lockstep run first.yaml");
    let (command, output) = &shown[1];
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let mut run = home.lockstep(&arguments);
    run.env("LOCKSTEP_QEMU", &qemu(7).path);
    let ran = home.finish(run).expect(0);
    assert_eq!(printed(&ran), without_times(output));
    home.assert_nothing_is_left();
}

fn the_misspelt_key_is_the_error_that_is_shown() {
    let home = home();
    home.write("first.yaml", &home.read("first.yaml").replacen("ticks: 3} ", "tick: 3}  ", 1));
    let shown = session("unknown key `tick`");
    let (command, output) = &shown[0];
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(printed(&home.run(&arguments).expect(2)), without_times(output));
}

fn the_extended_template_has_six_cases() {
    let home = Home::new();
    std::os::unix::fs::symlink(Path::new(ROOT).join("scenarios/templates"), home.path("templates")).unwrap();
    home.write("own/mine.yaml", &block("yaml", "extends: ../templates/colo.yaml"));
    assert_eq!(home.run(&["check", "own/mine.yaml"]).expect(0).stdout, "6 cases: no errors found\n");
}

fn the_options_of_a_project_are_shown_with_their_places() {
    let home = Home::new();
    let file = home.write("lockstep.toml", &block("toml", "scenarios = "));
    let shown = session("lockstep config");
    let (command, output) = &shown[0];
    let (config, filter) = command.split_once(" | ").unwrap();
    let arguments: Vec<&str> = config.split(' ').skip(1).collect();
    let printed = home.run(&arguments).expect(0).stdout;
    let words = filter.trim_start_matches("grep -E ").trim_matches('\'');
    let words = Regex::new(words).unwrap();
    let lines: String =
        printed.lines().filter(|line| words.is_match(line)).map(|line| format!("{line}\n")).collect();
    let place = file.display().to_string();
    assert_eq!(lines.replace(&place, "lockstep.toml"), *output);
}

/// The runs themselves take longer; the shipped scenarios are run by `tests/shipped.rs`.
fn the_cases_that_are_shown_are_those_of_the_scenarios() {
    let home = Home::new();
    let named = |shown: &str| -> Vec<String> {
        let lines = shown.lines().filter(|line| line.starts_with("PASS"));
        lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    let list = |arguments: &[&str]| -> Vec<String> {
        let mut command = home.lockstep(&[&["list"], arguments].concat());
        command.current_dir(ROOT);
        home.finish(command).expect(0).stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(named(&session("make demo")[0].1), list(&["scenarios/colo/failover.yaml"]));
    let production = session("--case '*/one_client/*'");
    let cases = list(&["scenarios/colo/production.yaml", "--case", "*/one_client/*"]);
    assert_eq!(named(&production[1].1), cases);
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_first_scenario_runs_as_shown, Qemu(7)),
            once!(the_misspelt_key_is_the_error_that_is_shown),
            once!(the_extended_template_has_six_cases),
            once!(the_options_of_a_project_are_shown_with_their_places),
            once!(the_cases_that_are_shown_are_those_of_the_scenarios),
        ],
    )
}
