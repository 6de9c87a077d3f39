//! `CONTRIBUTING.md` is followed to the letter: its example action is added to a copy of the repository, which is built and
//! used; and each file that it names has what it says.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use common::harness::{self, once};
use common::{Home, PATIENCE, Ran, VM, qemu};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GENERATED: [&str; 2] = ["docs/language.md", "schemas/scenario.schema.json"];

fn document() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("CONTRIBUTING.md")).unwrap()
}

/// The part of the document from one heading to another.
fn part<'d>(document: &'d str, from: &str, to: &str) -> &'d str {
    let start = document.find(&format!("\n{from}\n")).unwrap_or_else(|| panic!("no heading `{from}`"));
    let rest = &document[start..];
    &rest[..rest.find(&format!("\n{to}\n")).unwrap_or_else(|| panic!("no heading `{to}`"))]
}

/// The texts in backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// The blocks of code of the example, each with the sentence above it and the last path that it names.
fn blocks(document: &str) -> Vec<(String, String, String)> {
    let (mut blocks, mut above) = (Vec::new(), "");
    let mut lines = part(document, "### An example: `press`", "## Other additions").lines();
    while let Some(line) = lines.next() {
        let fence: String = line.chars().take_while(|&letter| letter == '`').collect();
        if fence.len() < 3 {
            above = if line.is_empty() { above } else { line };
            continue;
        }
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != fence).collect();
        let path = quoted(above).last().unwrap_or_else(|| panic!("no path in `{above}`")).to_string();
        blocks.push((above.to_owned(), path, code.join("\n") + "\n"));
    }
    blocks
}

/// The edits of the example: the new content of each file.
fn edits() -> BTreeMap<PathBuf, String> {
    let mut edits = BTreeMap::new();
    for (sentence, path, code) in blocks(&document()) {
        let original = std::fs::read_to_string(Path::new(ROOT).join(&path)).unwrap_or_default();
        let text = edits.entry(PathBuf::from(path)).or_insert(original);
        // Each where a contributor would put it: modules in their order, the others at the end of their list.
        let at = match sentence.split_once(" `").unwrap().0 {
            "A new file" => 0,
            "A module in" => {
                let next = text.lines().find(|line| line.starts_with("mod ") && *line > code.trim_end());
                text.find(next.unwrap()).unwrap()
            }
            "A line in the" => {
                let list = text.find("\nactions! {\n").unwrap();
                list + text[list..].find("\n}\n").unwrap() + 1
            }
            "A section in" => {
                text.push('\n');
                text.len()
            }
            other => panic!("`{other}`: unknown kind of edit"),
        };
        text.insert_str(at, &code);
    }
    // With a version of its own, its compiled files do not replace those of the repository.
    for path in ["Cargo.toml", "Cargo.lock"] {
        let own = format!("name = \"lockstep-vm\"\nversion = \"{}", env!("CARGO_PKG_VERSION"));
        let text = std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
        assert!(text.contains(&own), "{path}");
        edits.insert(path.into(), text.replace(&own, &format!("{own}-contributing")));
    }
    edits
}

/// Makes `copy` the same as `original` with the edits. A file that is the same already is not written, so that it is not
/// compiled again.
fn mirror(original: &Path, copy: &Path, edits: &BTreeMap<PathBuf, String>) {
    let mut paths: BTreeSet<PathBuf> = edits.keys().cloned().collect();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(original.join(&folder)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_made = folder.as_os_str().is_empty() && ["target", "reports", "fuzz"].contains(&&*name);
            if name.starts_with('.') || is_made {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(folder.join(name));
            } else {
                paths.insert(folder.join(name));
            }
        }
    }
    for path in &paths {
        let text = edits.get(path).map(|text| text.clone().into_bytes());
        let text = text.unwrap_or_else(|| std::fs::read(original.join(path)).unwrap());
        let to = copy.join(path);
        if std::fs::read(&to).ok().as_ref() != Some(&text) {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(&to, text).unwrap();
        }
        // A program of the tests must be one in the copy, too.
        if let Ok(file) = original.join(path).metadata() {
            std::fs::set_permissions(&to, file.permissions()).unwrap();
        }
    }
    for old in glob::glob(&format!("{}/**/*", copy.display())).unwrap().map(Result::unwrap) {
        if old.is_file() && !paths.contains(old.strip_prefix(copy).unwrap()) {
            std::fs::remove_file(old).unwrap();
        }
    }
}

/// The copy of the repository. It stays in `target/tmp`: a later run compiles only what has changed since.
fn tree() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing")
}

/// Runs cargo in the copy. It uses the dependencies that have been compiled for this test: the directory of compiled files
/// is the same, but the command that it makes gets a directory of its own. (A cargo before 1.91 does not know the first
/// variable, and compiles the dependencies again, once.)
fn cargo(arguments: &[&str], variable: Option<(&str, &str)>) -> Ran {
    let home = Home::patient(3 * PATIENCE);
    let mut command = home.command(env!("CARGO"));
    // What cargo says to this test about its package would be taken for a change by the build script of `ring`.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.starts_with(own)) {
            command.env_remove(&*name);
        }
    }
    command
        .args(arguments)
        .args(["--offline", "--locked", "--quiet"])
        .current_dir(tree())
        .env("CARGO_BUILD_BUILD_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing-target"));
    command.envs(variable);
    home.finish(command)
}

/// The command that is built from the copy, after all that the document says has been done.
fn lockstep() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let document = document();
        mirror(Path::new(ROOT), &tree(), &edits());
        // A repository of its own: reports name files relative to it.
        std::fs::create_dir_all(tree().join(".git")).unwrap();
        let mut bless = quoted(part(&document, "## Add an action", "### An example: `press`")).into_iter();
        let (bless, arguments) = bless.find_map(|text| text.split_once(" cargo ")).unwrap();
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let stale = cargo(&["test", "--lib", "current"], None).expect(101);
        for file in GENERATED {
            assert!(stale.stdout.contains(file), "{}{}", stale.stdout, stale.stderr);
        }
        cargo(&arguments, bless.split_once('=')).expect(0);
        for file in GENERATED {
            let now = std::fs::read_to_string(tree().join(file)).unwrap();
            assert_ne!(now, std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap(), "{file}");
        }
        cargo(&["test", "--lib"], None).expect(0);
        cargo(&["build"], None).expect(0);
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing-target/debug/lockstep")
    })
}

/// Runs the built command in a home.
fn run(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(&lockstep().display().to_string());
    command.args(arguments);
    home.finish(command)
}

/// Checks a scenario with these steps.
fn check(steps: &str) -> String {
    let home = Home::new();
    home.write("a.yaml", &format!("vms: {{first: , second: }}\nroles: {{leader: first}}\nsteps:\n{steps}"));
    let ran = run(&home, &["check", "a.yaml"]);
    assert_eq!(ran.code, Some(if ran.stderr.is_empty() { 0 } else { 2 }), "{ran:?}");
    ran.stderr
}

fn the_schema_and_the_reference_know_an_action_that_is_added_as_the_document_says() {
    let home = Home::new();
    let docs = run(&home, &["docs", "press"]).expect(0).stdout;
    for shown in ["Presses a button", "button", "The names of the keys", "- press: {vm: vm, button: reset}"] {
        assert!(docs.contains(shown), "{shown}: {docs}");
    }
    let page = std::fs::read_to_string(tree().join(GENERATED[0])).unwrap();
    assert!(page.contains("\n### `press`\n") && page.contains("[`press`](#press)"), "{page}");

    let schema = run(&home, &["schema"]).expect(0).stdout;
    assert_eq!(schema, std::fs::read_to_string(tree().join(GENERATED[1])).unwrap());
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let press = &schema["$defs"]["Press"];
    assert!(press["properties"]["keys"]["description"].as_str().unwrap().contains("at the same time"));
    let rule = "The step presses nothing: add `button` or `keys`.";
    assert!(press.to_string().contains(rule), "{press:#}");
    let step = &schema["$defs"]["Step"];
    let key = &step["properties"]["press"];
    assert!(key["description"].as_str().unwrap().starts_with("Presses a button"), "{key:#}");
    assert!(step.to_string().contains("${2:reset}"), "{step:#}");
}

fn check_and_the_lints_know_an_action_that_is_added_as_the_document_says() {
    assert_eq!(
        check("- press: {vm: [first, leader], button: reset}\n- press: {vm: second, keys: [ret]}\n"),
        ""
    );
    for (steps, messages) in [
        ("- press: {vm: frist, button: reset}\n", ["there is no VM `frist`", "did you mean `first`?"]),
        ("- press: {vm: first}\n", ["the step presses nothing", "add `button` or `keys`"]),
        (
            "- press: {vm: first, button: reset, keys: [ret]}\n",
            ["`keys` cannot be combined with `button`", "write a `press` step for each"],
        ),
        ("- press: {vm: first, keys: []}\n", ["the list of keys is empty", "such as `ret`"]),
        ("- press: {vm: first, buton: reset}\n", ["buton", "did you mean `button`?"]),
        ("- press: first\n", ["press", "{vm: NAME, button: reset}"]),
        ("- pres: {vm: first, button: reset}\n", ["pres", "did you mean `press`?"]),
        ("- quit: first\n- press: {vm: leader, button: reset}\n", ["leader", "quit"]),
    ] {
        let told = check(steps);
        for message in messages {
            assert!(told.contains(message), "`{message}` is not in the errors of\n{steps}\n{told}");
        }
    }
}

/// A role is bound to the VM that has it when the step runs: the other one must not be reset.
fn an_action_that_is_added_as_the_document_says_runs_with_roles() {
    let home = Home::new();
    let text = format!(
        "vms: {{first: {VM}, second: {VM}}}\nroles: {{leader: first}}\nsteps:\n\
         - wait: {{vm: [first, second], ticks: 1}}\n\
         - rebind: {{leader: second}}\n\
         - press: {{vm: leader, button: reset}}\n\
         - wait: {{vm: second, event: RESET}}\n\
         - check: {{vm: first, no_event: RESET}}\n"
    );
    home.write("a.yaml", &text);
    let qemu = qemu(7).path.display().to_string();
    let ran = run(&home, &["run", "a.yaml", "--accel", "tcg", "--qemu", &qemu, "--slow", "4"]).expect(0);
    assert!(home.read("reports/events.jsonl").contains("leader: press reset"), "{}", ran.stdout);
    home.assert_nothing_is_left();
}

fn each_file_that_the_document_names_has_what_it_says() {
    let document = document();
    let mut count = 0;
    for line in part(&document, "## Other additions", "## What we ask of a change")
        .lines()
        .filter(|line| line.starts_with("- `"))
    {
        let names = quoted(line);
        let text = std::fs::read_to_string(Path::new(ROOT).join(names[0]));
        let text = text.unwrap_or_else(|error| panic!("{line}\n{error}"));
        let missing: Vec<&str> = names[1..].iter().copied().filter(|name| !text.contains(name)).collect();
        assert!(missing.is_empty(), "not in {}: {missing:?}", names[0]);
        count += names.len();
    }
    assert!(count > 35, "{count}");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(an_action_that_is_added_as_the_document_says_runs_with_roles, Qemu(7)),
            once!(check_and_the_lints_know_an_action_that_is_added_as_the_document_says),
            once!(each_file_that_the_document_names_has_what_it_says),
            once!(the_schema_and_the_reference_know_an_action_that_is_added_as_the_document_says),
        ],
    )
}
