//! Scenarios held against the QEMUs that are there: what ships is clean on each, and what is wrong is found.

use std::path::{Path, PathBuf};

use lockstep_vm::diagnostic::Diagnostics;
use lockstep_vm::qemu::binary::Binary;
use lockstep_vm::runner::{Binaries, unmet};
use lockstep_vm::scenario::lint::against_binaries;
use lockstep_vm::scenario::{Options, load};

/// The QEMUs to try; those that are not there are left out, and that is said.
fn qemus() -> Vec<Binaries> {
    let all =
        ["qemu-system-x86_64", ".qemu/trixie/bin/qemu-system-x86_64", ".qemu/sid/bin/qemu-system-x86_64"];
    let there = all.into_iter().filter_map(|path| {
        let binaries = Binaries::new([("default".to_owned(), path.to_owned())]);
        match binaries.get("default", "x86_64") {
            Ok(_) => Some(binaries),
            Err(error) => {
                println!("left out: {error}");
                None
            }
        }
    });
    there.collect()
}

fn checked(files: &[PathBuf], binaries: &Binaries) -> (usize, Diagnostics) {
    let loaded = load(files, &Options::default(), binaries);
    let (mut diagnostics, mut count) = (loaded.diagnostics, 0);
    for case in &loaded.cases {
        let own = binaries.of(case);
        let used: Vec<&Binary> = own.values().map(|binary| &**binary).collect();
        if unmet(&case.requires, &used, &std::env::temp_dir()).is_none() {
            against_binaries(case, &own, &mut diagnostics);
            count += 1;
        }
    }
    (count, diagnostics)
}

#[test]
fn every_shipped_scenario_is_clean_on_every_qemu() {
    let files: Vec<PathBuf> = glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap).collect();
    for binaries in qemus() {
        let (count, diagnostics) = checked(&files, &binaries);
        assert!(count > 20, "{count} cases");
        assert!(diagnostics.is_empty(), "{}", diagnostics.render(false));
    }
}

#[test]
fn what_no_qemu_has_is_found_on_every_qemu() {
    let wrong = Path::new("tests/data/wrong_for_qemu.yaml");
    for binaries in qemus() {
        let (_, diagnostics) = checked(&[wrong.to_owned()], &binaries);
        let version = binaries.get("default", "x86_64").unwrap().version.to_string();
        let told: Vec<String> = diagnostics
            .sorted()
            .iter()
            .map(|found| {
                // Lists of what there is differ from version to version.
                let help = found.help.iter().filter(|help| !help.starts_with("there are"));
                let help: String = help.map(|help| format!("; {help}")).collect();
                let message = found.message.replace(&version, "N");
                format!("{}: {} {message}{help}", found.location.line, found.code)
            })
            .collect();
        let expected = std::fs::read_to_string("tests/data/wrong_for_qemu.txt").unwrap();
        assert_eq!(told.join("\n"), expected.trim_end(), "{version}");
    }
}
