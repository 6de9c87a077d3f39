//! Wrong scenarios, each with the expected diagnostics next to it. `SNAPSHOTS=overwrite` regenerates those.

#[path = "support/loading.rs"]
mod loading;
#[path = "support/mutation.rs"]
mod mutation;

use std::path::{Path, PathBuf};

use loading::{check_texts, lie_inside_their_files};
use lockstep_vm::scenario::{Loaded, Options, load, load_texts};
use lockstep_vm::template::NoVersions;
use mutation::{Change, changes, shipped};
use proptest::prelude::*;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::{Assert, Data, IntoData};

fn load_file(path: &Path) -> Loaded {
    load(&[path.to_owned()], &Options::default(), &NoVersions)
}

#[test]
fn each_wrong_scenario_gets_the_diagnostics_of_its_snapshot() {
    let assert = Assert::new().action_env(DEFAULT_ACTION_ENV);
    let mut files: Vec<PathBuf> = glob::glob("tests/bad/*.yaml").unwrap().map(Result::unwrap).collect();
    files.sort();
    assert!(files.len() >= 60);
    let mut different = Vec::new();
    for file in files {
        let diagnostics = load_file(&file).diagnostics;
        assert!(!diagnostics.is_empty(), "{} is not wrong", file.display());
        let text = diagnostics.render(false) + "\n";
        let expected = Data::read_from(&file.with_extension("stderr"), None).raw();
        different
            .extend(assert.try_eq(None, text.into_data(), expected).err().map(|error| error.to_string()));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_case_with_odd_values_loads_to_an_equal_case_when_written_out() {
    let loaded = load_file(Path::new("tests/data/round_trip.yaml"));
    assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
    loaded.cases.iter().for_each(loading::round_trip);
}

fn check_text(text: &str) {
    check_texts(&[text]);
}

/// Pieces of scenarios, right and wrong.
const PIECES: &[&str] = &[
    "vms:",
    "steps:",
    "params:",
    "matrix:",
    "hooks:",
    "a",
    "b:",
    "- ",
    "  ",
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "\"",
    "'",
    "{{",
    "}}",
    "{{a}}",
    "\"{{a}}\"",
    "{{#if a}}",
    "{{/if}}",
    "{{#each a}}",
    "{{> p}}",
    "&x ",
    "*x",
    "!t ",
    "|",
    ">",
    "\t",
    "#",
    "?",
    "wait",
    "quit: a",
    "when",
    "like: a",
    "extends",
    "run.x",
    "über",
    "宽",
    "\r\n",
    "1",
    "---\n",
    "repeat:",
    "use:",
    "hook:",
    "\\",
    "\u{feff}",
    "\0",
    "(",
    ")",
    "eq ",
    "{{{",
    "{{~",
];

/// A text of random pieces.
fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_pieces_of_scenarios_make_the_loader_panic(text in pieces()) {
        check_text(&text);
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC*") {
        check_text(&text);
    }

    #[test]
    fn no_template_makes_the_loader_panic(text in pieces()) {
        let quoted = serde_json::to_string(&text).unwrap();
        check_text(&format!("params: {{a: [1, x]}}\nvms: {{a: }}\nsteps:\n- when: {quoted}\n  set: {{x: {quoted}}}\n"));
    }

    #[test]
    fn no_change_of_a_valid_scenario_makes_the_loader_panic(
        at in 0usize..2000, length in 0usize..20, piece in pieces()
    ) {
        let mut text = include_str!("data/colo_template.yaml").to_owned();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &piece);
        check_text(&text);
    }

    #[test]
    fn no_change_of_a_shipped_scenario_makes_the_loader_panic(
        which in any::<prop::sample::Index>(), changes in changes()
    ) {
        let (name, mut tree) = shipped()[which.index(shipped().len())].clone();
        changes.iter().for_each(|change: &Change| change.apply(&mut tree));
        let text = serde_yaml::to_string(&tree).unwrap();
        // On disk next to the files it extends and uses; in another place it would not find them.
        let loaded = load_texts(&[(name, text)], &Options::default(), &NoVersions);
        lie_inside_their_files(&loaded.diagnostics);
        if !loaded.diagnostics.has_errors() {
            loaded.cases.iter().take(2).for_each(loading::round_trip);
        }
    }

    #[test]
    fn no_bytes_from_a_monitor_make_the_reader_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
        good in any::<bool>(),
    ) {
        use lockstep_vm::qemu::qmp_input::Input;
        let mut input = Input::default();
        for piece in &pieces {
            if good {
                input.feed(b"{\"return\": {}}\n");
            }
            input.feed(piece);
            while let Ok(Some(_)) = input.next_message() {}
        }
    }
}
