//! Scenarios checked against the available QEMUs: the shipped ones are clean on each, and errors are found.

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::harness::{self, each, once};
use common::{Home, Qemu, VM};
use lockstep_vm::diagnostic::{Code, Diagnostics};
use lockstep_vm::docs::errors;
use lockstep_vm::qemu::binary::Binary;
use lockstep_vm::qemu::releases;
use lockstep_vm::runner::{Binaries, unmet};
use lockstep_vm::scenario::lint::against_binaries;
use lockstep_vm::scenario::{Options, load};
use semver::Version;
use snapbox::{Data, assert_data_eq};

fn binaries(qemu: &Qemu) -> Binaries {
    Binaries::new([("default".to_owned(), qemu.path.display().to_string())])
}

fn checked(files: &[PathBuf], binaries: &Binaries) -> (usize, Diagnostics) {
    let loaded = load(files, &Options::default(), binaries);
    let (mut diagnostics, mut count) = (loaded.diagnostics, 0);
    for case in &loaded.cases {
        let (own, _) = binaries.of(case);
        let used: Vec<&Binary> = own.values().map(|binary| &**binary).collect();
        if unmet(&case.requires, &used, &std::env::temp_dir()).is_none() {
            against_binaries(case, &own, &mut diagnostics);
            count += 1;
        }
    }
    (count, diagnostics)
}

fn every_shipped_scenario_is_valid_for_every_qemu(qemu: &Qemu) {
    let files: Vec<PathBuf> = glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap).collect();
    let (count, diagnostics) = checked(&files, &binaries(qemu));
    assert!(count > 20, "{count} cases");
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(false));
}

fn features_that_no_qemu_has_are_reported_for_every_qemu(qemu: &Qemu) {
    let wrong = Path::new("tests/data/wrong_for_qemu.yaml");
    let binaries = binaries(qemu);
    let (_, diagnostics) = checked(&[wrong.to_owned()], &binaries);
    let version = binaries.get("default", "x86_64").unwrap().version.to_string();
    let told: Vec<String> = diagnostics
        .sorted()
        .iter()
        .map(|found| {
            // Lists of names differ from version to version.
            let help = found.help.iter().filter(|help| !help.contains("available"));
            let help: String = help.map(|help| format!("; {help}")).collect();
            let message = found.message.replace(&version, "N");
            format!("{}: {} {message}{help}", found.location.line, found.code)
        })
        .collect();
    let expected = Data::read_from(Path::new("tests/data/wrong_for_qemu.txt"), None).raw();
    assert_data_eq!(told.join("\n") + "\n", expected);
}

fn examples_of_missing_features_get_their_code_and_valid_ones_none(qemu: &Qemu) {
    for code in [Code::Missing, Code::Arguments] {
        for right in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let files = errors::example(code, right);
            for file in &files {
                std::fs::write(folder.path().join(&file.name), &file.bytes).unwrap();
            }
            let (_, diagnostics) = checked(&[folder.path().join(&files[0].name)], &binaries(qemu));
            let codes: Vec<Code> = diagnostics.sorted().iter().map(|diagnostic| diagnostic.code).collect();
            let as_expected = codes.is_empty() == right && codes.iter().all(|own| *own == code);
            assert!(as_expected, "{}, right: {right}: {}", code.number(), diagnostics.render(false));
        }
    }
}

/// The file is made again by `SNAPSHOTS=overwrite`. A package that has moved on to another version is not compared.
fn the_data_of_a_release_are_those_of_its_qemu(qemu: &Qemu) {
    let binaries = binaries(qemu);
    let binary = binaries.get("default", "x86_64").unwrap();
    let Version { major, minor, .. } = binary.version;
    let name = format!("src/qemu/releases/{major}.{minor}.json");
    let known = releases::all().iter().any(|release| release.version == binary.version);
    let is_made = std::env::var("SNAPSHOTS").is_ok_and(|how| how == "overwrite");
    if known || is_made && Path::new(&name).exists() {
        assert_data_eq!(releases::file_of(&binary), Data::read_from(Path::new(&name), None).raw());
    } else {
        println!("QEMU {} is none of those in src/qemu/releases", binary.version);
    }
}

/// `exit_on_error` is not an argument of the step's own command, so that no other check compares it with the QEMU.
fn exit_on_error_needs_a_qemu_that_has_it(qemu: &Qemu) {
    let has_it = (qemu.version.major, qemu.version.minor) >= (9, 1);
    let home = Home::new();
    let steps = "steps:\n- migrate: {from: a, to: DESTINATION, exit_on_error: false}\n- wait: {vm: b, migration: completed}\n";
    let vms = format!("vms: {{a: {VM}, b: {{like: a, incoming: defer}}}}\n");
    let known = home.write("known.yaml", &format!("{vms}{}", steps.replace("DESTINATION", "b")));
    let (_, diagnostics) = checked(&[known], &binaries(qemu));
    let told = diagnostics.render(false);
    assert_eq!(diagnostics.is_empty(), has_it, "{told}");
    let place = format!("QEMU {} has no `exit-on-error` of `migrate-incoming`", qemu.version);
    assert!(has_it || told.contains("known.yaml:3:29") && told.contains(&place), "{told}");
    // The VM behind a role is only known in the run.
    home.write("role.yaml", &format!("roles: {{there: b}}\n{vms}{}", steps.replace("DESTINATION", "there")));
    let ran = home.run_on(qemu, &["role.yaml"]).expect(i32::from(!has_it));
    let reason = home.results().case("role").reason().unwrap_or_default();
    let expected = "`exit_on_error` needs `exit-on-error` of `migrate-incoming`, which QEMU has from 9.1 on; VM `b` has QEMU ";
    assert!(has_it || reason.starts_with(expected), "{ran:?}");
    home.assert_nothing_is_left();
}

fn without_a_qemu_names_are_compared_with_the_releases() {
    let home = Home::new();
    let check = |path: &str| {
        let mut command = home.lockstep(&["check", path]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        home.finish(command)
    };
    let ran = check("tests/data/wrong_for_releases.yaml").expect(2);
    assert_data_eq!(
        ran.stderr,
        Data::read_from(Path::new("tests/data/wrong_for_releases.stderr"), None).raw()
    );
    let ran = check("scenarios/**/*.yaml").expect(0);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with("note: left out ")).collect();
    assert_eq!(said, [""; 0]);
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(examples_of_missing_features_get_their_code_and_valid_ones_none),
            each!(exit_on_error_needs_a_qemu_that_has_it),
            each!(every_shipped_scenario_is_valid_for_every_qemu),
            once!(without_a_qemu_names_are_compared_with_the_releases),
            each!(the_data_of_a_release_are_those_of_its_qemu),
            each!(features_that_no_qemu_has_are_reported_for_every_qemu),
        ],
    )
}
