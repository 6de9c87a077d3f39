//! What a new user does first: `new`, `check`, `run`, `docs`, `explain`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lockstep(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    // What the one who runs the tests has set for his own runs is not meant.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOCKSTEP_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A QEMU that does all of COLO: the one that `make test` fetches.
fn qemu() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".qemu/sid/bin/qemu-system-x86_64");
    path.exists().then_some(path)
}

#[test]
fn a_new_scenario_is_checked_and_run_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for template in ["blank", "precopy", "colo"] {
        let file = format!("{template}.yaml");
        let written = lockstep(folder.path(), &["new", &file, "--template", template]);
        assert!(written.status.success(), "{:?}", texts(&written));
        let checked = lockstep(folder.path(), &["check", &file]);
        assert!(checked.status.success(), "{:?}", texts(&checked));
        let Some(qemu) = qemu() else {
            eprintln!("left out: {file} is not run, because there is no .qemu/sid (make qemu)");
            continue;
        };
        let qemu = qemu.display().to_string();
        let ran = lockstep(folder.path(), &["run", &file, "--accel", "tcg", "--slow", "4", "--qemu", &qemu]);
        let (out, err) = texts(&ran);
        assert!(ran.status.success() && out.contains("passed") && !out.contains("skipped"), "{out}\n{err}");
    }
}

#[test]
fn mistakes_are_counted_in_a_last_line_that_says_where_to_read_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "vms: {vm: }\nsteps:\n  - wait: {vm: vm, tick: 3}\n")
        .unwrap();
    let checked = lockstep(folder.path(), &["check", "a.yaml"]);
    assert_eq!(checked.status.code(), Some(2));
    let (_, err) = texts(&checked);
    assert_eq!(err.lines().last(), Some("1 error in 1 file; lockstep explain LS010 tells more"));
    let (out, _) = texts(&lockstep(folder.path(), &["explain", "LS010"]));
    assert!(out.contains("wait: {vm: vm, tick: 3}") && out.contains("wait: {vm: vm, ticks: 3}"), "{out}");
}

#[test]
fn a_topic_or_code_that_is_not_there_gets_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let missed = lockstep(folder.path(), &["docs", "tikcs"]);
    assert_eq!(missed.status.code(), Some(2));
    assert!(texts(&missed).1.contains("there is no topic `tikcs`; did you mean `ticks`?"));
    let missed = lockstep(folder.path(), &["explain", "LS999"]);
    assert_eq!(missed.status.code(), Some(2));
    assert!(texts(&missed).1.contains("`lockstep explain` lists them"));
}
