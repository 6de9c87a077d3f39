//! Properties of every text, right or wrong, that is loaded as a scenario. Used by the tests and the fuzzer.

use std::path::PathBuf;

use lockstep_vm::diagnostic::Diagnostics;
use lockstep_vm::scenario::model::{Block, Case, CaseStep, When};
use lockstep_vm::scenario::{Loaded, Options, load_texts, to_yaml};
use lockstep_vm::template::NoVersions;
use serde_json::{Map, Value};

/// How many cases of one text are checked with [`round_trip`]; a matrix may have very many similar ones.
const ROUND_TRIPS: usize = 3;

/// Loads texts, the first as `x.yaml`, the others as files that it may extend and use: `t.yaml`, `u.yaml`.
pub(crate) fn load_anything(texts: &[&str]) -> Loaded {
    let names = ["x.yaml", "t.yaml", "u.yaml"];
    let texts: Vec<(PathBuf, String)> = names
        .iter()
        .zip(texts)
        .map(|(name, text)| (PathBuf::from("/no/such/folder").join(name), (*text).to_owned()))
        .collect();
    load_texts(&texts, &Options::default(), &NoVersions)
}

/// Every diagnostic has a place in its file, and can be rendered.
pub(crate) fn lie_inside_their_files(diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.sorted() {
        let places = std::iter::once(&diagnostic.location).chain(diagnostic.related.iter().map(|(at, _)| at));
        for at in places {
            let text = &at.file.text;
            assert!(at.start <= at.end && text.get(at.start..at.end).is_some(), "{diagnostic:?}");
            let line = text.split('\n').nth(at.line - 1);
            let line = line.unwrap_or_else(|| panic!("no line {}: {diagnostic}", at.line));
            assert!(at.column <= line.chars().count() + 1, "{diagnostic}: {line:?}");
        }
        assert!(!diagnostic.render(false).is_empty());
    }
}

/// A case that was loaded without an error, written out and loaded again, is the same case.
pub(crate) fn round_trip(case: &Case) {
    let yaml = to_yaml(case);
    let again = load_texts(&[("y.yaml".into(), yaml.clone())], &Options::default(), &NoVersions);
    assert!(!again.diagnostics.has_errors(), "{}\n{yaml}", again.diagnostics.render(false));
    let [again] = again.cases.as_slice() else {
        panic!("{} cases of\n{yaml}", again.cases.len());
    };
    same(case, again);
    assert_eq!(to_yaml(again), yaml);
}

fn same(one: &Case, other: &Case) {
    assert_eq!(one.name, other.name);
    assert_eq!(one.description, other.description);
    assert_eq!(one.tags, other.tags);
    assert_eq!(one.params, other.params);
    assert_eq!(one.requires, other.requires);
    assert_eq!(one.known_issues, other.known_issues);
    assert_eq!(one.must_fail, other.must_fail);
    assert_eq!(one.timeout, other.timeout);
    assert_eq!(one.vms, other.vms);
    let templates = |case: &Case| case.vm_sources.values().map(|vm| vm.template.clone()).collect::<Vec<_>>();
    assert_eq!(templates(one), templates(other));
    assert_eq!((&one.roles, &one.disks), (&other.roles, &other.disks));
    blocks(&one.steps, &other.steps, &Map::new());
    blocks(&one.finally, &other.finally, &Map::new());
}

/// `around` are the names of the blocks around them.
fn blocks(one: &[Block], other: &[Block], around: &Map<String, Value>) {
    assert_eq!(one.len(), other.len());
    for pair in one.iter().zip(other) {
        match pair {
            (Block::Step(one), Block::Step(other)) => step(one, other, around),
            (
                Block::RepeatUntil { until, timeout, when, steps, .. },
                Block::RepeatUntil { until: u, timeout: t, when: w, steps: s, .. },
            ) => {
                assert_eq!(timeout, t);
                conditions(when, w, around);
                let around = inside(around, when, &until.locals);
                step(until, u, &around);
                blocks(steps, s, &around);
            }
            (
                Block::Parallel { when, groups, locals, branches, .. },
                Block::Parallel { when: w, groups: g, locals: l, branches: b, .. },
            ) => {
                assert_eq!((groups, branches.len()), (g, b.len()));
                conditions(when, w, around);
                let around = inside(around, when, locals);
                same_names(locals, l, &around);
                for ((name, steps), (n, s)) in branches.iter().zip(b) {
                    assert_eq!(name, n);
                    blocks(steps, s, &around);
                }
            }
            (one, other) => panic!("{one:?} is not {other:?}"),
        }
    }
}

fn inside(around: &Map<String, Value>, when: &[When], locals: &Map<String, Value>) -> Map<String, Value> {
    let mut names = around.clone();
    when.iter().map(|when| &when.locals).chain([locals]).for_each(|more| names.extend(more.clone()));
    names
}

fn step(one: &CaseStep, other: &CaseStep, around: &Map<String, Value>) {
    assert_eq!((&one.step, &one.groups), (&other.step, &other.groups));
    assert_eq!(one.deferred, other.deferred);
    conditions(&one.when, &other.when, around);
    same_names(&one.locals, &other.locals, &inside(around, &one.when, &Map::new()));
}

fn conditions(one: &[When], other: &[When], around: &Map<String, Value>) {
    assert_eq!(one.len(), other.len());
    for (number, (own, when)) in one.iter().zip(other).enumerate() {
        assert_eq!(own.template, when.template);
        same_names(&own.locals, &when.locals, &inside(around, &one[..number], &Map::new()));
    }
}

/// A step of a used file does not see the names around the `use`. In the resolved case, where it stands in the same list, it
/// also has those of the conditions and blocks around it.
fn same_names(one: &Map<String, Value>, other: &Map<String, Value>, around: &Map<String, Value>) {
    let mut own = other.clone();
    own.retain(|name, value| one.contains_key(name) || around.get(name) != Some(value));
    assert_eq!(one, &own);
}

/// All properties: no panic, every diagnostic has a place, and what loads can be written out.
pub(crate) fn check_texts(texts: &[&str]) {
    let loaded = load_anything(texts);
    lie_inside_their_files(&loaded.diagnostics);
    if !loaded.diagnostics.has_errors() {
        loaded.cases.iter().take(ROUND_TRIPS).for_each(round_trip);
    }
}
