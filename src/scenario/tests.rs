use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::model::Block;
use super::*;
use crate::template::NoVersions;

/// A directory of scenario files.
pub(super) struct Folder(tempfile::TempDir);

/// A tree of a text.
pub(super) fn node(text: &str) -> Node {
    node_of("a.yaml", text)
}

/// The tree of the text of a file.
pub(super) fn node_of(path: &str, text: &str) -> Node {
    yaml::from_bytes(Path::new(path), text.into()).unwrap()
}

struct Eleven;

impl QemuVersions for Eleven {
    fn version_of(&self, qemu: &str, _: &str) -> Option<semver::Version> {
        Some(semver::Version::new(if qemu == "old" { 10 } else { 11 }, 0, 0))
    }
}

impl crate::template::Versions for Eleven {
    fn version(&self, _: Option<&str>) -> Option<semver::Version> {
        Some(semver::Version::new(11, 0, 0))
    }
}

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn load(&self, names: &[&str]) -> Loaded {
        self.load_with(names, &[], &NoVersions)
    }

    fn load_with(&self, names: &[&str], defines: &[(&str, &str)], versions: &dyn QemuVersions) -> Loaded {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        let defines = defines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(&paths, &Options { defines, seed: 0 }, versions)
    }
}

fn load_one(text: &str) -> Loaded {
    Folder::new(&[("a.yaml", text)]).load(&["a.yaml"])
}

fn messages(loaded: &Loaded) -> Vec<String> {
    let line = |d: &&Diagnostic| {
        let place = format!("{}:{}", d.location.line, d.location.column);
        format!("{place} {}; {}", d.message, d.help.clone().unwrap_or_default())
    };
    loaded.diagnostics.sorted().iter().map(line).collect()
}

pub(super) fn sound(loaded: Loaded) -> Vec<Case> {
    assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
    loaded.cases
}

fn cases(text: &str) -> Vec<Case> {
    sound(load_one(text))
}

fn error(text: &str) -> String {
    messages(&load_one(text)).join("\n")
}

/// The values of a run with these captures, and no others.
fn run_values(run: &Value) -> RunValues<'_> {
    static NONE: LazyLock<serde_json::Map<String, Value>> = LazyLock::new(Default::default);
    RunValues { run, names: &NONE, rounds: &NONE, dir: Path::new("/d"), versions: &NoVersions }
}

fn titles(blocks: &[Block]) -> Vec<String> {
    let title = |block: &Block| match block {
        Block::Step(step) => step.step.title(),
        Block::RepeatUntil { steps, until, .. } => {
            format!("{:?} until {}", titles(steps), until.step.title())
        }
        Block::Parallel { branches, .. } => {
            let branch = |(name, steps): &(String, Vec<Block>)| format!("{name}: {:?}", titles(steps));
            branches.iter().map(branch).collect::<Vec<_>>().join(" beside ")
        }
    };
    blocks.iter().map(title).collect()
}

const TEMPLATE: &str = include_str!("../../tests/data/colo_template.yaml");
const SCENARIO: &str = include_str!("../../tests/data/colo_scenario.yaml");

fn colo() -> Folder {
    Folder::new(&[("templates/colo.yaml", TEMPLATE), ("colo/failover.yaml", SCENARIO)])
}

#[test]
fn the_example_of_the_language_has_eight_cases() {
    let cases = sound(colo().load_with(&["colo/failover.yaml"], &[], &Eleven));
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), 8);
    assert_eq!(names[0], "colo/plain/primary_failover");
    assert_eq!(names[1], "colo/plain/primary_failover_checkpoint");
    assert_eq!(names[7], "colo/multifd/secondary_failover_checkpoint");
    let (first, last) = (titles(&cases[0].steps), titles(&cases[7].steps));
    assert_eq!(first[0], "capabilities +return-path on primary, secondary");
    assert_eq!(first[2], "parameters x-checkpoint-delay=300 on primary");
    assert_eq!(last.len(), first.len() + 2, "{last:?}");
    assert_eq!(cases[7].vms["secondary"].incoming.as_deref(), Some("defer"));
    assert_eq!(cases[7].vms["secondary"].memory, cases[7].vms["primary"].memory);
    let place = cases[0].at.path().display().to_string();
    assert!(place.ends_with("colo/failover.yaml"), "{place}");
}

#[test]
fn an_unknown_version_defers_when_to_the_run() {
    let cases = sound(colo().load(&["colo/failover.yaml"]));
    let Block::Step(step) = &cases[0].steps[0] else { panic!() };
    assert_eq!(step.when[0].template, "{{version '>=11.0'}}");
    let run = json!({});
    let values = run_values(&run);
    let unprobed = resolve_when(&cases[0], &step.when, &values).unwrap_err().to_string();
    assert!(unprobed.contains("could not be probed"), "{unprobed}");
    let values = RunValues { versions: &Eleven, ..values };
    assert_eq!(resolve_when(&cases[0], &step.when, &values), Ok(true));
}

#[test]
fn templates_matched_by_a_glob_make_no_cases() {
    let folder = colo();
    let use_file = "params: {n: 1}\nsteps: [{sleep: '{{n}}s'}]\n";
    fs::write(folder.path("templates/steps.yaml"), use_file).unwrap();
    let loaded = folder.load(&["templates/colo.yaml", "templates/steps.yaml"]);
    assert!(loaded.cases.is_empty() && loaded.diagnostics.is_empty(), "{}", loaded.diagnostics.render(false));
    assert_eq!(loaded.templates[0].missing, ["survivor"]);
    assert_eq!(loaded.templates.len(), 2);
    let loaded = folder.load_with(&["templates/colo.yaml"], &[("survivor", "primary")], &Eleven);
    assert_eq!(sound(loaded)[0].name, "colo");
}

#[test]
fn defines_have_precedence_restrict_axes_and_must_be_known() {
    let folder = colo();
    let with = |defines| folder.load_with(&["colo/failover.yaml"], defines, &Eleven);
    assert_eq!(sound(with(&[("survivor", "primary"), ("checkpoint_delay", "50")])).len(), 4);
    let wrong = with(&[("survivr", "primary")]);
    assert!(messages(&wrong)[0].contains("did you mean `survivor`?"), "{:?}", messages(&wrong));
    let wrong = with(&[("survivor", "both")]);
    assert!(messages(&wrong)[0].contains("no value `both`"), "{:?}", messages(&wrong));
}

#[test]
fn each_vm_has_its_own_version() {
    let text = "vms: {a: {qemu: old}, b: {}}\nsteps:\n- {when: \"{{version '<11'}}\", sleep: 1s}\n\
                - {when: \"{{version '>=11' vm='b'}}\", sleep: 2s}\n- {when: \"{{version '>=11' vm='a'}}\", sleep: 3s}\n";
    let folder = Folder::new(&[("a.yaml", text)]);
    let cases = sound(folder.load_with(&["a.yaml"], &[], &Eleven));
    assert_eq!(titles(&cases[0].steps), ["sleep 1s", "sleep 2s"]);
    let wrong = error("vms: {a: }\nsteps: [{when: \"{{version '>1' vm='b'}}\", sleep: 1s}]");
    assert!(wrong.contains("no VM `b`"), "{wrong}");
}

#[test]
fn loops_hooks_and_used_files_are_unrolled() {
    let folder = Folder::new(&[
        ("t/base.yaml", "vms: {a: }\nsteps: [{hook: begin}, {hook: nothing}, {sleep: 9s}]\n"),
        (
            "t/nap.yaml",
            "params: {n: 1, unit: {required: true, one_of: [s, ms]}}\nsteps: [{sleep: '{{n}}{{unit}}'}]\n",
        ),
        (
            "s/x.yaml",
            "extends: ../t/base.yaml\nparams: {k: 7}\nhooks:\n  begin:\n\
          \x20 - repeat: {times: 2, steps: [{sleep: '{{k}}s'}]}\n\
          \x20 - repeat: {over: [1, 2], as: i, steps: [{use: {file: ../t/nap.yaml, with: {n: '{{i}}', unit: ms}}}]}\n\
          \x20 - repeat: {until: {vm: a, ticks: 1}, steps: [{qmp: {vm: a, execute: x}}]}\n",
        ),
    ]);
    let cases = sound(folder.load(&["s/x.yaml"]));
    let until = "[\"a: x\"] until wait a: 1 new tick";
    let expected = ["sleep 7s", "sleep 7s", "sleep 1ms", "sleep 2ms", until, "sleep 9s"];
    assert_eq!(titles(&cases[0].steps), expected);
    let Block::Step(step) = &cases[0].steps[3] else { panic!() };
    assert_eq!(step.via.len(), 3);
    assert_eq!(step.locals, json!({"n": 2, "unit": "ms"}).as_object().unwrap().clone());
    assert_eq!(cases[0].name, "x");
}

#[test]
fn a_requirement_of_a_template_can_be_removed() {
    let base = "requires: {qemu: '>=7.2', capabilities: [x-colo]}\nvms: {a: }\nsteps: [{sleep: 1s}]\n";
    let text = "extends: base.yaml\nrequires: {capabilities: []}\n";
    let folder = Folder::new(&[("base.yaml", base), ("a.yaml", text)]);
    let cases = sound(folder.load(&["a.yaml"]));
    assert!(cases[0].requires.capabilities.is_empty() && cases[0].requires.qemu.is_some());
}

#[test]
fn a_block_is_its_steps_under_one_when() {
    let text = "vms: {a: }\nparams: {yes: true}\nsteps:\n- {when: '{{yes}}', block: [{sleep: 1s}, {block: [{sleep: 2s}]}]}\n\
                - {when: '{{not yes}}', block: [{sleep: 3s}]}\n- {when: '{{run.vm.a.pid}}', block: [{sleep: 4s}, {sleep: 5s}]}\n";
    let case = cases(text).remove(0);
    assert_eq!(titles(&case.steps), ["sleep 1s", "sleep 2s", "sleep 4s", "sleep 5s"]);
    let values = |block: &Block| matches!(block, Block::Step(step) if step.when.len() == 1);
    assert_eq!(case.steps.iter().map(values).collect::<Vec<_>>(), [false, false, true, true]);
    let wrong = error("vms: {a: }\nsteps: [{block: [{sleep: 1s}], timeout: 3s}]");
    assert!(wrong.contains("`timeout` is not allowed on a step that expands to other steps"), "{wrong}");
    let wrong = error("vms: {a: }\nsteps: [{block: {sleep: 1s}}]");
    assert!(wrong.contains("expected a list of steps, not a map"), "{wrong}");
}

#[test]
fn run_values_are_filled_in_when_the_step_runs() {
    let text = "vms: {a: {args: ['-D', '{{case.dir}}/x']}}\nparams: {p: 5}\nsteps:\n- set: {n: 1, vm: a}\n\
      - repeat: {over: ['it{{\"em\"}}', b], as: i, steps: [{qmp: {vm: a, execute: x, arguments: {n: '{{run.captures.n}}', i: '{{i}}', p: '{{p}}'}}}]}\n\
      - {when: '{{run.captures.n}}', qmp: {vm: '{{run.captures.vm}}', execute: y}}\n";
    let text = text.replace("'it{{\"em\"}}'", "item");
    let case = cases(&text).remove(0);
    let run = json!({"captures": {"n": 3, "vm": "a"}});
    let values = run_values(&run);
    let step = |at: usize| match &case.steps[at] {
        Block::Step(step) => step,
        _ => panic!(),
    };
    let first = serde_json::to_value(resolve_step(&case, step(1), &values).unwrap().action).unwrap();
    assert_eq!(first["qmp"]["arguments"], json!({"n": 3, "i": "item", "p": 5}));
    assert!(resolve_when(&case, &step(3).when, &values).unwrap());
    assert_eq!(resolve_step(&case, step(3), &values).unwrap().title(), "a: y");
    assert_eq!(resolve_vm(&case, "a", &values).unwrap().unwrap().args[1], "/d/x");
    let run = json!({"captures": {"vm": "b"}});
    let values = run_values(&run);
    assert!(resolve_step(&case, step(1), &values).unwrap_err().to_string().contains("`run.captures.n`"));
    assert!(resolve_step(&case, step(3), &values).unwrap_err().to_string().contains("no VM `b`"));
}

#[test]
fn steps_that_do_not_run_are_checked_too() {
    let wrong =
        error("vms: {a: }\nsteps:\n- {when: false, quit: b}\n- {when: false, wait: {vm: a, tick: 1}}\n");
    let expected = "3:23 there is no VM `b` in this case; available: a\n4:31 unknown key `tick` in `wait`; did you mean `ticks`?";
    assert_eq!(wrong, expected);
}

#[test]
fn steps_that_a_cell_omits_are_not_checked_against_its_vms() {
    // A guest of another kind, an option, a name from the cell, a copy that another cell has.
    let text = "matrix:\n  x: [{guest: ticker, vm: a, n: 2, oob: true}, {guest: none, vm: none, n: 0, oob: false}]\n\
         vms: {a: {guest: '{{x.guest}}', oob: '{{x.oob}}'}, s: {like: a, copies: '{{x.n}}', incoming: defer}}\nsteps:\n\
         - {when: '{{x.oob}}', wait: {vm: a, ticks: 1}}\n- {when: '{{x.oob}}', check: {vm: a, memory: consistent}}\n\
         - {when: '{{x.oob}}', qmp: {vm: a, execute: query-status, oob: true}}\n- {when: '{{x.oob}}', quit: '{{x.vm}}'}\n\
         - {when: '{{x.oob}}', block: [{quit: [s1, s2]}]}\n- {sleep: 1s}\n";
    let cases = cases(text);
    assert_eq!(cases.iter().map(|case| case.steps.len()).collect::<Vec<_>>(), [6, 1]);
    // The same steps, if they run.
    let run = error(&text.replace("when: '{{x.oob}}', ", "")).lines().count();
    assert_eq!(run, 6);
}

#[test]
fn one_cell_of_two_is_a_negative_control() {
    let text = "name: 'a/{{x}}'\nmatrix: {x: [good, bad]}\nvms: {a: }\nsteps: [{quit: a}]\n\
         must_fail: {when: \"{{eq x 'bad'}}\", match: wrong}\n";
    let controls: Vec<bool> = cases(text).iter().map(|case| case.must_fail.is_some()).collect();
    assert_eq!(controls, [false, true]);
    assert_eq!(error(&text.replace("{{eq x 'bad'}}", "{{eq y 1}}")).lines().count(), 1);
}

#[test]
fn a_known_issue_keeps_the_steps_that_its_case_runs() {
    let text = "name: 'a/{{x}}'\nmatrix: {x: [1, 2]}\nvms: {a: }\nknown_issue:\n\
         - {reason: r, match: m, at_most: 5%, step: [one, two, hooked]}\n- {reason: s, match: m, step: one}\n\
         hooks: {here: [{name: hooked, sleep: 1s}]}\nsteps:\n\
         - {when: '{{eq x 1}}', name: one, sleep: 1s}\n- {name: two, block: [{sleep: 1s}, {hook: here}]}\n";
    let steps = |case: &Case| {
        let named = |issue: &model::KnownIssue| issue.step.iter().flatten().cloned().collect::<Vec<_>>();
        case.known_issues.iter().map(named).collect::<Vec<_>>()
    };
    let cases = cases(text);
    assert_eq!(steps(&cases[0]), [vec!["one", "two", "hooked"], vec!["one"]]);
    assert_eq!(steps(&cases[1]), [["two", "hooked"]]);
    let Block::Step(step) = &cases[1].steps[1] else { panic!() };
    assert_eq!(step.names().collect::<Vec<_>>(), ["hooked", "two"]);
}

#[test]
fn all_errors_of_all_files_are_reported_once() {
    let folder = Folder::new(&[
        ("a.yaml", "matrix: {x: [1, 2, 3]}\nvms: {a: }\nsteps: [{quit: b}, {nope: 1}, {sleep: '{{y}}'}]\n"),
        ("b.yaml", "vms: [\n"),
        ("c.yaml", "vms: {a: }\nsteps: [{quit: a}]\n"),
    ]);
    let loaded = folder.load(&["a.yaml", "b.yaml", "c.yaml", "d.yaml"]);
    assert_eq!(loaded.diagnostics.len(), 5, "{}", loaded.diagnostics.render(false));
    assert_eq!(loaded.cases.len(), 1);
}

#[test]
fn a_hexadecimal_size_is_valid_as_a_number_as_text_and_from_a_template() {
    let text = |size: &str| {
        format!(
            "params: {{n: 0x4000000, t: '0x4000000', d: '4000000'}}\nvms: {{a: {{memory: {size}}}}}\nsteps: []\n"
        )
    };
    for size in ["0x4000000", "'0x4000000'", "'{{n}}'", "'{{t}}'", "'0x{{d}}'"] {
        let cases = sound(load_one(&text(size)));
        assert_eq!(cases[0].vms["a"].memory.size(), crate::units::Size::mib(64), "{size}");
    }
    let messages = messages(&load_one(&text("'0x{{d}}M'")));
    assert!(messages[0].contains("`0x4000000M` is not a valid size"), "{messages:?}");
}

#[test]
fn input_that_would_exhaust_memory_or_time_is_an_error_at_its_place() {
    let rest = "vms: {a: }\nsteps: [{sleep: 1s}]\n";
    let mut texts = "params:\n  a0: xxxxxxxxxx\n".to_owned();
    let mut lists = "params:\n  a0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n".to_owned();
    for level in 1..12 {
        let below = format!("{{{{a{}}}}}", level - 1);
        texts.push_str(&format!("  a{level}: '{}'\n", below.repeat(10)));
        lists.push_str(&format!("  a{level}: [{}]\n", vec![format!("'{below}'"); 10].join(", ")));
    }
    let loops = format!(
        "params:\n  a: [{}]\n  b: '{}x{}'\n",
        vec!["1"; 100].join(", "),
        "{{#each @root.a}}".repeat(6),
        "{{/each}}".repeat(6)
    );
    let number = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let cells =
        format!("matrix: {{x: [{number}], y: [{number}]}}\nparams: {{a: '{}'}}\n", "x".repeat(400_000));
    let began = std::time::Instant::now();
    for (text, line, message) in [
        (texts, 8, "renders to more than 1024 KiB"),
        (lists, 7, "expand to more than 500000 values"),
        (loops, 3, "reads more than 100000 values"),
        (cells, 1, "have more than 20000000 values in total"),
    ] {
        let messages = error(&(text + rest));
        let first = messages.lines().next().unwrap();
        assert!(first.starts_with(&format!("{line}:")) && first.contains(message), "{messages}");
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_matrix_with_too_many_cells_is_an_error_before_any_is_made() {
    let ten = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let axes: Vec<String> = ('a'..='t').map(|axis| format!("{axis}: {ten}")).collect();
    let all = error(&format!("matrix: {{{}}}\nvms: {{v: }}\nsteps: []\n", axes.join(", ")));
    assert!(all.contains("more than 2^64"), "{all}");
}

#[test]
fn ten_thousand_cells_are_quick() {
    let hundred = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "matrix: {{a: [{hundred}], b: [{hundred}]}}\nvms: {{p: {{memory: '{{{{a}}}}M'}}, s: {{like: p}}}}\nsteps:\n\
         - wait: {{vm: p, ticks: 1}}\n- qmp: {{vm: s, execute: x, arguments: {{v: '{{{{b}}}}'}}}}\n- when: '{{{{eq a b}}}}'\n  quit: p\n"
    ).replace("a: [0,", "a: [100,");
    let began = std::time::Instant::now();
    assert_eq!(cases(&text).len(), 10_000);
    // It takes a second in a release build; this is a debug build, maybe on a busy machine.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    println!("{:?}", began.elapsed());
}
