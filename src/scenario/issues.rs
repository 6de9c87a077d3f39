//! Expected failures of a case: `known_issue` and `must_fail`.

use std::collections::BTreeSet;

use regex::Regex;

use super::model::{Case, CaseStep, KnownIssue, MustFail};
use super::steps::bad_regex;
use super::typed::Reader;
use crate::diagnostic::{Code, Diagnostics, suggest};
use crate::step::Action;
use crate::template;
use crate::units::{OneOrMany, Share};
use crate::yaml::Node;

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
pub(super) fn read<'n>(root: &'n Node, reader: &mut Reader<'_, '_>) -> Vec<Issue<'n>> {
    let Some((key, node)) = root.entry("known_issue") else {
        return Vec::new();
    };
    let mut issues = Vec::new();
    for node in node.several() {
        let applies = applies(node, reader);
        if let Some((sometimes, _)) = node.entry("sometimes") {
            let message = "unknown key `sometimes`: an intermittent issue needs a limit";
            let help = "write in which share of the runs it may occur, such as `at_most: 5%`";
            reader.error(Code::UnknownKey, &sometimes.at, message, help);
        }
        let issue: Option<KnownIssue> = reader.read(&key.at, &node.without(&["when", "sometimes"]));
        if let Some(issue) = issue {
            check(&issue, node, reader.diagnostics);
            issues.push(Issue { issue, node, applies });
        }
    }
    issues
}

/// Checks a known issue by itself.
fn check(issue: &KnownIssue, node: &Node, diagnostics: &mut Diagnostics) {
    let mut wrong = |key: &str, message: String, help: &str| {
        diagnostics.error(Code::WrongValue, node.place_of(key), message, help);
    };
    let [least, most] = AT_MOST;
    if let Some(share) = issue.at_most.filter(|share| !(least..=most).contains(share)) {
        let help = "for an issue that occurs more often, use `attempts` instead of `at_most`, such as `attempts: 10`";
        let help = if share > most { help } else { "" };
        wrong("at_most", format!("`at_most` must be from {least} to {most}, not {share}"), help);
    }
    if let Some(attempts) = issue.attempts.filter(|attempts| !ATTEMPTS.contains(attempts)) {
        let (least, most) = (ATTEMPTS.start(), ATTEMPTS.end());
        wrong("attempts", format!("`attempts` must be from {least} to {most}, not {attempts}"), "");
    }
    if issue.attempts.is_some() && issue.at_most.is_some() {
        let message = "`attempts` cannot be combined with `at_most`".to_owned();
        wrong("attempts", message, "keep one of `attempts` and `at_most`");
    }
    if matches_anything(&issue.pattern) {
        let message = format!("/{}/ matches every failure: the case could never fail", issue.pattern);
        wrong("match", message, "match only the message of the known failure");
    }
    diagnostics.extend(bad_regex(node.place_of("match"), &issue.pattern));
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
            let named = node.get("step").unwrap_or(node);
            let item = named.items().iter().find(|item| item.text() == Some(step));
            let at = item.map_or(&named.at, |item| &item.at);
            let help = match names.is_empty() {
                true => "give the step a `name`".to_owned(),
                false => suggest(step, names),
            };
            let message = format!("no step of this case has the name `{step}`");
            diagnostics.error(Code::WrongValue, at, message, help);
        }
    }
}

/// Reports each issue whose pattern matches the text of a command: every failure of a command quotes its text.
pub(super) fn check_commands(issues: &[Issue<'_>], case: &Case, diagnostics: &mut Diagnostics) {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for step in case.all_steps() {
        if let Action::Exec(exec) = &step.step.action {
            commands.push((exec.command(), step.names().cloned().collect()));
        }
    }
    for Issue { issue, node, .. } in issues.iter().filter(|issue| issue.applies) {
        if commands.iter().any(|(command, names)| issue.covers(command, names)) {
            let message = format!(
                "/{}/ matches the text of a command, and so every failure of that command",
                issue.pattern
            );
            let help = "match its output or its exit, such as `got 3`; or name another `step`";
            diagnostics.error(Code::WrongValue, node.place_of("match"), message, help);
        }
    }
}

/// The issues that apply to a case, each with those of its steps that the case runs. An issue is dropped if the case runs
/// none of its steps.
pub(super) fn applying(issues: Vec<Issue<'_>>, case: &Case) -> Vec<KnownIssue> {
    let run: BTreeSet<&String> = case.all_steps().into_iter().flat_map(CaseStep::names).collect();
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
pub(super) fn must_fail(root: &Node, reader: &mut Reader<'_, '_>) -> Option<MustFail> {
    let (key, node) = root.entry("must_fail")?;
    let applies = applies(node, reader);
    let must_fail: MustFail = reader.read(&key.at, &node.without(&["when"]))?;
    reader.diagnostics.extend(bad_regex(node.place_of("match"), &must_fail.pattern));
    // Decided here, so the resolved case has no `when`.
    applies.then_some(MustFail { when: None, ..must_fail })
}

/// Whether the `when` is true; false if it depends on a version that was not probed.
fn applies(node: &Node, reader: &mut Reader<'_, '_>) -> bool {
    let Some(when) = node.get("when") else {
        return true;
    };
    let Some(piece) = super::when::render(when, reader) else {
        return false;
    };
    let is_probed = piece.raw.is_none();
    reader.now(piece).is_some_and(|value| is_probed && template::is_true(&value))
}
