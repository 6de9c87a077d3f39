use std::path::Path;

use snapbox::{Data, assert_data_eq};

use super::*;
use crate::diagnostic::{Code, Diagnostics};
use crate::scenario::{Options, load};
use crate::template::NoVersions;

/// What an example can use without declaring it.
const VMS: &str = "vms: {vm: , primary: , secondary: {incoming: defer}, source: , destination: {incoming: defer}, inside: {guest: {linux: {access: agent}}}}\n";
const PARAMS: &str = "params: {survivor: secondary, transport: tcp, moment: idle}\n";
const STEPS: &str =
    "params: {times: 3}\nsteps:\n  - wait: {vm: [primary, secondary], ticks: \"{{times}}\"}\n";

/// An example as a whole file.
fn whole(example: &str) -> String {
    let has = |key: &str| example.lines().any(|line| line.starts_with(key));
    let mut text = example.to_owned();
    if example.lines().any(|line| line.starts_with("- ")) {
        text = format!("steps:\n{example}");
    } else if !has("steps:") && !has("extends:") {
        text.push_str("steps: []\n");
    }
    for (key, more) in [("vms:", VMS), ("params:", PARAMS)] {
        let brought = has(key) || has("extends:") || (key == "params:" && has("matrix:"));
        if !brought {
            text.push_str(more);
        }
    }
    text
}

fn check(folder: &Path, name: &str) -> Diagnostics {
    load(&[folder.join(name)], &Options::default(), &NoVersions).diagnostics
}

#[test]
fn the_checked_in_pages_are_current() {
    assert_data_eq!(page(), Data::read_from(Path::new("docs/language.md"), None).raw());
    assert_data_eq!(errors::page(), Data::read_from(Path::new("docs/errors.md"), None).raw());
}

#[test]
fn every_example_of_the_language_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("templates");
    std::fs::create_dir_all(&templates).unwrap();
    for file in glob::glob("scenarios/templates/*.yaml").unwrap().map(Result::unwrap) {
        std::fs::copy(&file, templates.join(file.file_name().unwrap())).unwrap();
    }
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("steps.yaml"), STEPS).unwrap();
    std::fs::create_dir(own.join("build")).unwrap();
    for image in ["debian.qcow2", "build/bzImage", "build/initrd.gz"] {
        std::fs::write(own.join(image), "").unwrap();
    }
    let page = page();
    let examples: Vec<_> = text::blocks(&page).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(examples.len() > 60);
    let mut wrong = Vec::new();
    for example in examples {
        std::fs::write(own.join("example.yaml"), whole(&example.text)).unwrap();
        let diagnostics = check(&own, "example.yaml");
        if diagnostics.has_errors() {
            wrong.push(format!("{}\n{}", example.text, diagnostics.render(false)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_key_and_action_has_an_example_and_every_example_a_topic() {
    for topic in TOPICS.iter().filter(|topic| !topic.is_chapter()) {
        assert!(topic.text.contains("```yaml"), "`{}` has no example in src/docs/examples/", topic.name);
        assert!(!topic.summary.is_empty(), "`{}` has no doc comment", topic.name);
    }
    for name in topics::example_names() {
        assert!(TOPICS.iter().any(|topic| topic.name == name), "unknown topic `{name}` for its example");
    }
}

#[test]
fn every_link_of_the_page_has_a_target() {
    let page = page();
    let headings: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| text::anchor(line.trim_start_matches(['#', ' '])))
        .collect();
    for link in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "#{link}");
    }
}

#[test]
fn a_topic_is_found_by_its_last_word_or_its_full_name() {
    let found = |name: &str| find(name).iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
    assert_eq!(found("ticks"), ["wait.ticks"]);
    assert_eq!(found("memory"), ["vms.memory", "memory", "wait.memory", "check.memory"]);
    assert_eq!(found("check.memory"), ["check.memory"]);
    assert!(found("templates").len() == 1 && found("tikcs").is_empty());
    assert!(names().contains(&"wait.ticks") && names().contains(&"ticks"));
}

#[test]
fn each_wrong_example_gets_its_code_and_each_right_one_none() {
    for code in Code::ALL {
        for right in [false, true] {
            let files = errors::example(*code, right);
            let number = code.number();
            assert!(!files.is_empty(), "write src/docs/errors/{number}.md and add it to src/docs/errors.rs");
            // Codes that need a QEMU are tested in `tests/qmp_schema.rs`.
            if matches!(code, Code::Missing | Code::Arguments) {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            for file in &files {
                std::fs::write(folder.path().join(&file.name), &file.bytes).unwrap();
            }
            let diagnostics = check(folder.path(), &files[0].name);
            let codes: Vec<Code> = diagnostics.sorted().iter().map(|diagnostic| diagnostic.code).collect();
            let shown = diagnostics.render(false);
            if right {
                assert!(codes.is_empty(), "{number}, right: {shown}");
            } else {
                assert!(!codes.is_empty() && codes.iter().all(|own| own == code), "{number}, wrong: {shown}");
            }
        }
    }
}

#[test]
fn a_code_is_found_in_any_spelling() {
    assert_eq!(errors::find("LS010"), Some(Code::UnknownKey));
    assert_eq!(errors::find("ls010"), Some(Code::UnknownKey));
    assert_eq!(errors::find("10"), Some(Code::UnknownKey));
    assert_eq!(errors::find("LS10"), Some(Code::UnknownKey));
    assert_eq!(errors::find("LS999"), None);
}
