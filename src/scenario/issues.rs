//! Expected failures of a case: `known_issue` and `must_fail`.

use std::collections::BTreeSet;

use regex::Regex;

use super::model::each_step;
use super::model::{Block, KnownIssue, MustFail};
use super::steps::bad_regex;
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::step::Action;
use crate::template::{self, Scope};
use crate::units::{OneOrMany, Share};
use crate::yaml::{Key, Kind, Node};

/// The limits of `at_most`. Below, a single occurrence would already exceed chance; above, two in a row would not be
/// unusual.
const AT_MOST: [Share; 2] = [Share::percent(1), Share::percent(25)];
/// The limits of `attempts`.
const ATTEMPTS: std::ops::RangeInclusive<usize> = 2..=50;

/// Messages of different kinds of failures. A pattern that matches all of them, or the empty text, is too wide.
const FAILURES: &[&str] = &[
    "VM `a` died: signal ABRT",
    "expected exit status 0, got 3",
    "waited 30s for 3 new ticks of `b`; saw 0",
    "the guest found its memory wrong: page 7 (address 0x107000) holds 1, its register says 2 (1 behind)",
    "`migrate` was refused: no",
    "query-status of `c` contains {}",
];

/// A known issue of the file.
pub(super) struct Issue<'n> {
    issue: KnownIssue,
    node: &'n Node,
    applies: bool,
}

/// The known issues of a file.
pub(super) fn read<'n>(
    section: Option<&'n (Key, Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Issue<'n>> {
    let Some((key, node)) = section else {
        return Vec::new();
    };
    let several = match &node.kind {
        Kind::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut issues = Vec::new();
    for node in several {
        let applies = applies(node, scope, diagnostics);
        if let Some((sometimes, _)) = node.entry("sometimes") {
            let message = "unknown key `sometimes`: an intermittent issue needs a limit";
            let help = "write in which share of the runs it may occur, such as `at_most: 5%`";
            diagnostics.push(Diagnostic::error(Code::UnknownKey, &sometimes.at, message).help(help));
        }
        let node_read = without(node, &["when", "sometimes"]);
        let issue: Option<KnownIssue> = typed::read(&key.at, &node_read, scope, diagnostics);
        if let Some(issue) = issue {
            diagnostics.extend(wrong(&issue, node));
            issues.push(Issue { issue, node, applies });
        }
    }
    issues
}

/// A map without some of its keys.
fn without(node: &Node, keys: &[&str]) -> Node {
    match node.kind {
        Kind::Map(_) => {
            let rest = node.entries().iter().filter(|(key, _)| !keys.contains(&key.name.as_str()));
            Node::map(rest.cloned().collect(), node.at.clone())
        }
        _ => node.clone(),
    }
}

/// Checks a known issue by itself.
fn wrong(issue: &KnownIssue, node: &Node) -> Vec<Diagnostic> {
    let at = |key: &str| node.get(key).map_or(&node.at, |value| &value.at);
    let error = |key: &str, message: String| Diagnostic::error(Code::WrongValue, at(key), message);
    let mut found: Vec<Diagnostic> = bad_regex(at("match"), &issue.pattern).into_iter().collect();
    if found.is_empty() && matches_anything(&issue.pattern) {
        let message = format!("/{}/ matches every failure: the case could never fail", issue.pattern);
        found.push(error("match", message).help("match only the message of the known failure"));
    }
    let [least, most] = AT_MOST;
    if let Some(share) = issue.at_most.filter(|share| !(least..=most).contains(share)) {
        let message = format!("`at_most` must be from {least} to {most}, not {share}");
        let help = "for an issue that occurs more often, use `attempts` instead of `at_most`, such as `attempts: 10`";
        let diagnostic = error("at_most", message);
        found.push(if share > most { diagnostic.help(help) } else { diagnostic });
    }
    if let Some(attempts) = issue.attempts.filter(|attempts| !ATTEMPTS.contains(attempts)) {
        let message =
            format!("`attempts` must be from {} to {}, not {attempts}", ATTEMPTS.start(), ATTEMPTS.end());
        found.push(error("attempts", message));
    }
    if issue.attempts.is_some() && issue.at_most.is_some() {
        let message = "`attempts` cannot be combined with `at_most`";
        found.push(error("attempts", message.to_owned()).help("keep one of `attempts` and `at_most`"));
    }
    found
}

/// Whether a pattern matches the empty text, a text that is in no failure, or failures of every kind.
fn matches_anything(pattern: &str) -> bool {
    let Ok(expression) = Regex::new(pattern) else {
        return false;
    };
    ["", "\u{fffd}"].iter().any(|text| expression.is_match(text))
        || FAILURES.iter().all(|text| expression.is_match(text))
}

/// Reports each step that an issue names and the case does not have. Steps that this cell omits count as existing.
pub(super) fn check_steps(issues: &[Issue<'_>], names: &BTreeSet<String>, diagnostics: &mut Diagnostics) {
    for Issue { issue, node, .. } in issues {
        for step in issue.step.iter().flatten().filter(|step| !names.contains(*step)) {
            let at = node.get("step").map_or(&node.at, |value| place_of(value, step));
            let help = match names.is_empty() {
                true => "give the step a `name`".to_owned(),
                false => suggest(step, names.iter().map(String::as_str)),
            };
            let message = format!("no step of this case has the name `{step}`");
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}

/// Reports each issue whose pattern matches the text of a command: every failure of a command quotes its text.
pub(super) fn check_commands(issues: &[Issue<'_>], blocks: [&[Block]; 2], diagnostics: &mut Diagnostics) {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for blocks in blocks {
        each_step(blocks, &mut |step| {
            if let Action::Exec(exec) = &step.step.action {
                commands.push((exec.command(), step.names().cloned().collect()));
            }
        });
    }
    for Issue { issue, node, .. } in issues.iter().filter(|issue| issue.applies) {
        if commands.iter().any(|(command, names)| issue.covers(command, names)) {
            let at = node.get("match").map_or(&node.at, |value| &value.at);
            let message = format!(
                "/{}/ matches the text of a command, and so every failure of that command",
                issue.pattern
            );
            let help = "match its output or its exit, such as `got 3`; or name another `step`";
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}

/// The place of one of several names.
fn place_of<'n>(node: &'n Node, name: &str) -> &'n Location {
    let item = node.items().iter().find(|item| item.text() == Some(name));
    item.map_or(&node.at, |item| &item.at)
}

/// The issues that apply to a case, each with those of its steps that the case runs. An issue is dropped if the case runs
/// none of its steps.
pub(super) fn applying(issues: Vec<Issue<'_>>, steps: &[Block], finally: &[Block]) -> Vec<KnownIssue> {
    let mut run = BTreeSet::new();
    for blocks in [steps, finally] {
        each_step(blocks, &mut |step| run.extend(step.names().cloned()));
    }
    let mut kept = Vec::new();
    for Issue { mut issue, .. } in issues.into_iter().filter(|issue| issue.applies) {
        if let Some(OneOrMany(named)) = &mut issue.step {
            named.retain(|name| run.contains(name));
            if named.is_empty() {
                continue;
            }
        }
        kept.push(issue);
    }
    kept
}

/// The expected failure, if this case is a negative control.
pub(super) fn must_fail(
    section: Option<&(Key, Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<MustFail> {
    let (key, node) = section?;
    let applies = applies(node, scope, diagnostics);
    let must_fail: MustFail = typed::read(&key.at, &without(node, &["when"]), scope, diagnostics)?;
    if let Some(pattern) = node.get("match") {
        diagnostics.extend(bad_regex(&pattern.at, &must_fail.pattern));
    }
    // Decided here, so the resolved case has no `when`.
    applies.then_some(MustFail { when: None, ..must_fail })
}

/// Whether the `when` is true; false if it depends on a version that was not probed.
fn applies(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> bool {
    let Some(when) = node.get("when") else {
        return true;
    };
    if !super::when::check(when, diagnostics) {
        return false;
    }
    match typed::render(when, scope, diagnostics) {
        Some(piece) if piece.deferred.is_some() => {
            typed::render_now(when, scope, diagnostics);
            false
        }
        Some(piece) => piece.raw.is_none() && template::is_true(&piece.value),
        None => false,
    }
}
