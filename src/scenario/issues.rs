//! What a failure of a case is held against: `known_issue` and `must_fail`.

use std::collections::BTreeSet;

use regex::Regex;

use super::model::each_step;
use super::model::{Block, KnownIssue, MustFail};
use super::source::{Key, Kind, Node};
use super::steps::bad_regex;
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::step::Action;
use crate::template::{self, Scope};
use crate::units::{OneOrMany, Share};

/// What `at_most` may be. Less than the least, and a single strike would be beyond chance; more than the most, and two in a
/// row would not be unusual.
const AT_MOST: [Share; 2] = [Share::percent(1), Share::percent(25)];
/// What `attempts` may be.
const ATTEMPTS: std::ops::RangeInclusive<usize> = 2..=50;

/// Failures of many kinds, as they are told. A pattern that matches all of them, or no text at all, excuses everything.
const FAILURES: &[&str] = &[
    "VM `a` died: signal ABRT",
    "expected exit status 0, got 3",
    "waited 30s for 3 new ticks of `b`; saw 0",
    "the guest found its memory wrong: page 7 (address 0x107000) holds 1, its register says 2 (1 behind)",
    "`migrate` was refused: no",
    "query-status of `c` contains {}",
];

/// A known issue as it stands in the file.
pub(super) struct Issue<'n> {
    issue: KnownIssue,
    node: &'n Node,
    applies: bool,
}

/// The known issues of a file.
pub(super) fn read<'n>(
    section: Option<(&'n Key, &'n Node)>,
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
            let message = "`sometimes` has no limit: a race could be lost each time";
            let help = "say in which share of its runs the case may be struck at most, such as `at_most: 5%`";
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

/// What is wrong with a known issue by itself.
fn wrong(issue: &KnownIssue, node: &Node) -> Vec<Diagnostic> {
    let at = |key: &str| node.get(key).map_or(&node.at, |value| &value.at);
    let error = |key: &str, message: String| Diagnostic::error(Code::WrongValue, at(key), message);
    let mut found: Vec<Diagnostic> = bad_regex(at("match"), &issue.pattern).into_iter().collect();
    if found.is_empty() && matches_anything(&issue.pattern) {
        let message = format!("/{}/ excuses every failure: the case could not fail", issue.pattern);
        found.push(error("match", message).help("match what the known failure says, and no more"));
    }
    let [least, most] = AT_MOST;
    if let Some(share) = issue.at_most.filter(|share| !(least..=most).contains(share)) {
        let message = format!("`at_most` is from {least} to {most}, not {share}");
        let help = "where an issue strikes more often, make the case one that shows it: `attempts: 10`, say, \
                    instead of `at_most`";
        let diagnostic = error("at_most", message);
        found.push(if share > most { diagnostic.help(help) } else { diagnostic });
    }
    if let Some(attempts) = issue.attempts.filter(|attempts| !ATTEMPTS.contains(attempts)) {
        let message =
            format!("`attempts` is from {} to {}, not {attempts}", ATTEMPTS.start(), ATTEMPTS.end());
        found.push(error("attempts", message));
    }
    if issue.attempts.is_some() && issue.at_most.is_some() {
        let message = "an issue that has to strike within some attempts cannot be one that seldom strikes";
        found.push(error("attempts", message.to_owned()).help("keep one of `attempts` and `at_most`"));
    }
    found
}

/// Whether a pattern matches no text at all, what no failure says, or failures of every kind.
fn matches_anything(pattern: &str) -> bool {
    let Ok(expression) = Regex::new(pattern) else {
        return false;
    };
    ["", "\u{fffd}"].iter().any(|text| expression.is_match(text))
        || FAILURES.iter().all(|text| expression.is_match(text))
}

/// Complains of each step that an issue names and the case does not have; a step that this cell leaves out counts.
pub(super) fn check_steps(issues: &[Issue<'_>], names: &BTreeSet<String>, diagnostics: &mut Diagnostics) {
    for Issue { issue, node, .. } in issues {
        for step in issue.step.iter().flatten().filter(|step| !names.contains(*step)) {
            let at = node.get("step").map_or(&node.at, |value| place_of(value, step));
            let help = match names.is_empty() {
                true => "give the step a `name`".to_owned(),
                false => suggest(step, names.iter().map(String::as_str)),
            };
            let message = format!("no step of this case is called `{step}`");
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}

/// Complains of each issue that a command's own text matches: a failure quotes the command, whatever became of it.
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
                "/{}/ matches the text of a command, so it excuses whatever becomes of it",
                issue.pattern
            );
            let help = "match its output or its exit, such as `got 3`; or name another `step`";
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
}

/// Where one of several names stands.
fn place_of<'n>(node: &'n Node, name: &str) -> &'n Location {
    let item = node.items().iter().find(|item| item.text() == Some(name));
    item.map_or(&node.at, |item| &item.at)
}

/// The issues that apply to a case, each with those of its steps that the case runs; one whose steps are all left out
/// cannot strike.
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

/// The failure that a negative control must show, where this case is one.
pub(super) fn must_fail(
    section: Option<(&Key, &Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<MustFail> {
    let (key, node) = section?;
    let applies = applies(node, scope, diagnostics);
    let must_fail: MustFail = typed::read(&key.at, &without(node, &["when"]), scope, diagnostics)?;
    if let Some(pattern) = node.get("match") {
        diagnostics.extend(bad_regex(&pattern.at, &must_fail.pattern));
    }
    // Decided here, and so left out of the resolved case.
    applies.then_some(MustFail { when: None, ..must_fail })
}

/// Whether a `when` says yes; no, where it hangs on a version that nobody has asked.
fn applies(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> bool {
    let Some(when) = node.get("when") else {
        return true;
    };
    match typed::render(when, scope, diagnostics) {
        Some(piece) if piece.late => {
            typed::settle(when, scope, diagnostics);
            false
        }
        Some(piece) => piece.raw.is_none() && template::is_true(&piece.value),
        None => false,
    }
}
