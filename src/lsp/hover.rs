//! The reference of the key at a place, or the value of the template.

use std::ops::Range;

use indexmap::IndexMap;
use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};
use serde_json::{Map, Value};

use super::keys::reference;
use super::outline::{Entry, Part, outline, unquoted};
use super::place;
use super::view::View;
use crate::scenario::model::{Case, CaseStep};
use crate::template::{NoVersions, Rendered, Scope, is_template, render};

/// The maximum number of values to list.
const LISTED: usize = 8;

/// The entry at a byte of a text, and whether the byte is in its key.
pub(super) fn entry_at(text: &str, at: usize) -> Option<(Entry, bool)> {
    let has = |range: &Option<Range<usize>>| {
        range.as_ref().is_some_and(|range| range.start <= at && at <= range.end)
    };
    let entries = outline(text);
    let in_key = entries.iter().find(|entry| has(&entry.key)).map(|entry| (entry.clone(), true));
    in_key.or_else(|| entries.iter().find(|entry| has(&entry.value)).map(|entry| (entry.clone(), false)))
}

/// What is shown for a byte of the text.
pub(super) fn hover(view: &View<'_>, at: usize) -> Option<Hover> {
    let (entry, is_key) = entry_at(view.text, at)?;
    let of_template =
        entry.value.as_ref().filter(|_| !is_key).and_then(|value| template(view, &entry, value, at));
    let (text, range) = match of_template {
        Some(shown) => shown,
        None => (reference(&entry.path)?, if is_key { entry.key } else { entry.value }?),
    };
    Some(Hover {
        contents: HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value: text }),
        range: Some(place::range(view.text, &range)),
    })
}

/// The values of the template at a byte of a scalar.
fn template(
    view: &View<'_>,
    entry: &Entry,
    scalar: &Range<usize>,
    at: usize,
) -> Option<(String, Range<usize>)> {
    let text = &view.text[scalar.clone()];
    let offset = at - scalar.start;
    let start = text[..(offset + 1).min(text.len())].rfind("{{").or_else(|| text[..offset].rfind("{{"))?;
    let end = start + text[start..].find("}}")? + 2;
    if offset > end {
        return None;
    }
    let expression = &text[start..end];
    let range = scalar.start + start..scalar.start + end;
    let whole = unquoted(text);
    // A block such as `{{#if …}}` has no value of its own.
    let is_block = expression.starts_with("{{#") || expression.starts_with("{{/") || expression == "{{else}}";
    let shown = if is_block { whole.as_str() } else { expression };
    let in_steps = matches!(entry.path.first(), Some(Part::Key(top)) if ["steps", "finally", "hooks"].contains(&top.as_str()));
    let step = (in_steps && !view.is_old).then_some(scalar.start);
    let values = values(view, shown, step);
    Some((format!("`{shown}`\n\n{}", summary(&values)), range))
}

/// The values of a template in all cases, each with the number of cells, or of rounds of a loop, that have it.
fn values(view: &View<'_>, text: &str, step: Option<usize>) -> IndexMap<String, usize> {
    let mut values = IndexMap::new();
    let mut add = |names: Map<String, Value>| {
        let value = match render(text, &Scope::new(names, &NoVersions)) {
            Ok(Rendered::Value(value) | Rendered::Round(value)) => shown(&value),
            Ok(Rendered::Deferred) => "only known when the step runs".to_owned(),
            Ok(Rendered::Unprobed(_)) => "depends on the version of QEMU".to_owned(),
            Err(error) => error.message,
        };
        *values.entry(value).or_insert(0) += 1;
    };
    for case in &view.cases {
        let steps = step.map(|at| steps_at(view, case, at)).unwrap_or_default();
        for step in &steps {
            let mut names = case.context.clone();
            names.extend(step.locals.clone());
            add(names);
        }
        if steps.is_empty() {
            add(case.context.clone());
        }
    }
    values
}

/// The steps of a case that are at a byte of this file: the last ones that start before it.
fn steps_at<'c>(view: &View<'_>, case: &'c Case, at: usize) -> Vec<&'c CaseStep> {
    let mut found: Vec<&CaseStep> = Vec::new();
    for step in case.all_steps() {
        let place = &step.source.at;
        let best = found.first().map_or(0, |best| best.source.at.start);
        if place.path() == view.path && place.start <= at && place.start >= best {
            if place.start > best {
                found.clear();
            }
            found.push(step);
        }
    }
    found
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.is_empty() || is_template(&text) { Value::String(text).to_string() } else { text }
}

/// The values: that of the first cell, then the others.
fn summary(values: &IndexMap<String, usize>) -> String {
    let number = |count: usize| if count == 1 { String::new() } else { format!(" ({count} times)") };
    let mut lines = values.iter().take(LISTED).map(|(value, count)| format!("`{value}`{}", number(*count)));
    match (values.len(), lines.next()) {
        (_, None) => "No case has a value for it.".to_owned(),
        (1, Some(_)) => {
            let value = values.keys().next().map(String::as_str).unwrap_or_default();
            format!("= `{value}`")
        }
        (all, Some(first)) => {
            let mut others: Vec<String> = lines.map(|line| format!("- {line}")).collect();
            if all > LISTED {
                others.push(format!("- and {} others", all - LISTED));
            }
            format!("= {first} in the first cell; in others:\n{}", others.join("\n"))
        }
    }
}
