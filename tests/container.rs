//! `Containerfile`: what it names is there, and its commands can be run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn file() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("Containerfile")).unwrap()
}

/// The instructions, each with its words as one text.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let lines = lines.replace("\\\n", " ");
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
        .collect()
}

fn ran(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(ROOT).output().unwrap()
}

/// What is wrong with it.
fn wrong(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut stages = BTreeSet::new();
    for (instruction, rest) in instructions(text) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let complaint = match (instruction.as_str(), words.as_slice()) {
            ("FROM", [image, name @ ..]) => {
                let is_known = *image == "debian:13" || stages.contains(*image);
                if let ["AS", name] = name {
                    stages.insert((*name).to_owned());
                }
                (!is_known).then_some("the image is not Debian 13, nor a stage above")
            }
            ("COPY", [from, file, _]) if from.starts_with("--from=") => {
                let is_built = stages.contains(&from[7..]) && file.ends_with("/target/release/lockstep");
                (!is_built).then_some("the stage does not make the file")
            }
            ("COPY", [files @ .., _]) => {
                let is_missing = files.iter().any(|file| !Path::new(ROOT).join(file).exists());
                is_missing.then_some("the file is not there")
            }
            ("RUN", _) => unrunnable(&rest),
            ("WORKDIR", [path]) if path.starts_with('/') => None,
            ("ENV", [value]) if value.starts_with("LOCKSTEP_") && value.contains('=') => None,
            _ => Some("the instruction is unknown"),
        };
        found.extend(complaint.map(|complaint| format!("{instruction} {rest}: {complaint}")));
    }
    found
}

/// Why a command cannot be run.
fn unrunnable(command: &str) -> Option<&'static str> {
    if !ran("sh", &["-n", "-c", command]).status.success() {
        return Some("a shell does not read it");
    }
    for part in command.split("&&") {
        let words: Vec<&str> = part.split_whitespace().collect();
        let complaint = match words.as_slice() {
            [script, arguments @ ..] if script.starts_with("scripts/") => {
                // `--help` shows that it starts; its usage has the arguments.
                let help = ran("sh", &["-c", &format!("{script} --help")]);
                let usage = String::from_utf8_lossy(&help.stdout).into_owned();
                let takes = ["PROGRAM", "SUITE"].iter().any(|word| usage.contains(word));
                (!help.status.success() || (!arguments.is_empty() && !takes))
                    .then_some("the script does not run so")
            }
            ["make", targets @ ..] => {
                (!ran("make", &[&["-n"], targets].concat()).status.success()).then_some("no such target")
            }
            ["cargo", "build", options @ ..] => {
                let all = options.iter().all(|option| ["--release", "--locked"].contains(option));
                (!all).then_some("unknown options of cargo")
            }
            ["apt-get", "update" | "clean"] | ["rustup", "default", "stable"] => None,
            ["apt-get", "install", "--yes", "--no-install-recommends", packages @ ..] => {
                packages.is_empty().then_some("nothing to install")
            }
            _ => Some("the command is unknown"),
        };
        if complaint.is_some() {
            return complaint;
        }
    }
    None
}

#[test]
fn what_it_names_is_there_and_its_commands_are_known() {
    let text = file();
    assert_eq!(wrong(&text), [""; 0]);
    for (part, damaged) in [
        ("scripts/fetch-qemu", "scripts/fetch-qemus"),
        ("scripts/fetch-guest\n", "make nothing\n"),
        ("COPY guests guests", "COPY guest guests"),
        ("FROM qemu\n", "FROM qemus\n"),
        ("--from=build", "--from=built"),
        ("apt-get clean", "apt-get 'clean"),
        ("rustup default stable", "rustup toolchain stable"),
        ("--locked", "--lock"),
        ("WORKDIR /build", "WORKDIRS /build"),
    ] {
        assert!(text.contains(part), "{part}");
        assert_eq!(wrong(&text.replacen(part, damaged, 1)).len(), 1, "{damaged}");
    }
    assert_eq!(unrunnable("make qemu"), None);
}

/// The files that the stage of the build has.
fn copied() -> Vec<String> {
    let stage = instructions(&file());
    let stage = stage.into_iter().skip_while(|(_, rest)| !rest.ends_with(" AS build")).skip(1);
    let copies = stage.take_while(|(word, _)| word != "FROM").filter(|(word, _)| word == "COPY");
    copies
        .flat_map(|(_, rest)| {
            let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            words[..words.len() - 1].to_vec()
        })
        .collect()
}

#[test]
fn the_build_has_the_files_that_it_needs() {
    let copied = copied();
    let folder = tempfile::tempdir().unwrap();
    for name in &copied {
        std::os::unix::fs::symlink(Path::new(ROOT).join(name), folder.path().join(name)).unwrap();
    }
    let manifest = folder.path().join("Cargo.toml");
    let metadata = || {
        let arguments = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
        let arguments = [&arguments[..], &["--manifest-path", manifest.to_str().unwrap()]].concat();
        ran(env!("CARGO"), &arguments)
    };
    let output = metadata();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What the sources include from other folders.
    let include = regex::Regex::new(r#"include_(?:str|bytes)!\(\s*"([^"]+)""#).unwrap();
    let pattern = format!("{ROOT}/src/**/*.rs");
    let mut included = BTreeSet::new();
    for source in glob::glob(&pattern).unwrap().map(Result::unwrap) {
        let text = std::fs::read_to_string(&source).unwrap();
        for found in include.captures_iter(&text) {
            let Ok(path) = source.parent().unwrap().join(&found[1]).canonicalize() else { continue };
            let top = path.strip_prefix(Path::new(ROOT).canonicalize().unwrap()).unwrap();
            included.insert(top.components().next().unwrap().as_os_str().to_string_lossy().into_owned());
        }
    }
    assert!(included.contains("engines") && included.contains("guests"), "{included:?}");
    for name in included {
        assert!(copied.contains(&name), "{name} is included, and not among {copied:?}");
    }
    // The check sees a folder that is missing.
    std::fs::remove_file(folder.path().join("src")).unwrap();
    assert!(!metadata().status.success());
}
