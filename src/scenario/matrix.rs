//! The matrix: the product of its axes, without the cells of `exclude`, and with those of `include`.

use serde_json::Value;

use super::params::{Param, Setting, check_name, word};
use super::sweep::Range;
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::template::Scope;
use crate::yaml::{Key, Kind, Node};

/// The maximum number of cells.
const MAX_CELLS: usize = 100_000;

/// One combination of the axes' values.
pub(super) type Cell = Vec<Setting>;

struct Axis<'m> {
    key: &'m Key,
    values: Vec<Setting>,
}

/// The cells of a matrix, the last axis fastest; one empty cell if there is no matrix. `None` after reporting an error.
pub(super) fn cells(
    matrix: Option<&Node>,
    params: &[Param],
    defines: &[Setting],
    scope: &Scope<'_>,
    seed: u64,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Cell>> {
    let Some(matrix) = matrix else {
        return Some(vec![Vec::new()]);
    };
    let before = diagnostics.errors_added();
    let mut axes: Vec<Axis<'_>> = Vec::new();
    for (key, node) in matrix.entries() {
        if !["include", "exclude"].contains(&key.name.as_str()) {
            axes.extend(axis(key, node, scope, seed, diagnostics));
        }
    }
    let exclude = partial("exclude", matrix, &axes, &[], scope, diagnostics);
    let include = partial("include", matrix, &axes, params, scope, diagnostics);
    check_cells(&axes, &exclude, &include, params, diagnostics);
    if diagnostics.errors_added() > before {
        return None;
    }
    let mut narrowed = false;
    for axis in &mut axes {
        if let Some(define) = defines.iter().rev().find(|define| define.name == axis.key.name) {
            narrow(axis, define, &include, diagnostics);
            narrowed = true;
        }
    }
    let size = axes.iter().try_fold(1usize, |size, axis| size.checked_mul(axis.values.len()));
    if size.is_none_or(|size| size > MAX_CELLS) {
        let size = size.map_or_else(|| "more than 2^64".to_owned(), |size| format!("{size}"));
        let message = format!("the matrix has {size} cells; the limit is {MAX_CELLS}");
        let at = axes.first().map_or(&matrix.at, |axis| &axis.key.at);
        diagnostics
            .push(Diagnostic::error(Code::TooMuch, at, message).help("remove an axis, or split the file"));
    }
    if diagnostics.errors_added() > before {
        return None;
    }
    let mut cells: Vec<Cell> = if axes.is_empty() { Vec::new() } else { vec![Vec::new()] };
    for axis in &axes {
        let longer = |cell: &Cell, value: &Setting| cell.iter().chain([value]).cloned().collect::<Cell>();
        cells =
            cells.iter().flat_map(|cell| axis.values.iter().map(move |value| longer(cell, value))).collect();
    }
    cells.retain(|cell| !exclude.iter().any(|partial| matches(partial, cell)));
    // If an axis is restricted to a value, keep only the added cells with that value.
    let is_selected = |cell: &Cell| {
        let axis_of = |define: &&Setting| axes.iter().any(|axis| axis.key.name == define.name);
        defines.iter().filter(axis_of).all(|define| {
            cell.iter().all(|setting| setting.name != define.name || same(&setting.value, &define.value))
        })
    };
    cells.extend(include.into_iter().filter(is_selected));
    if cells.is_empty() && !narrowed {
        let at = matrix.entries().first().map_or(&matrix.at, |(key, _)| &key.at);
        diagnostics.push(Diagnostic::error(Code::Matrix, at, "the matrix has no cells"));
        return None;
    }
    Some(cells)
}

fn axis<'m>(
    key: &'m Key,
    node: &Node,
    scope: &Scope<'_>,
    seed: u64,
    diagnostics: &mut Diagnostics,
) -> Option<Axis<'m>> {
    if !check_name(key, diagnostics) {
        return None;
    }
    let list = typed::render_now(node, scope, diagnostics)?;
    if Range::is_range(&list) {
        let range: Range = typed::fit_all(&list, &key.at, node, scope, diagnostics)?;
        return match range.values(&key.name, seed) {
            Ok(values) => {
                let setting = |value| Setting { name: key.name.clone(), value, at: node.at.clone() };
                Some(Axis { key, values: values.into_iter().map(setting).collect() })
            }
            Err((message, help)) => {
                let message = format!("the axis `{}`: {message}", key.name);
                diagnostics.push(Diagnostic::error(Code::Matrix, &node.at, message).help(help));
                None
            }
        };
    }
    let (message, help) = match list {
        Value::Array(values) if !values.is_empty() => {
            let at = |index: usize| node.items().get(index).map_or(&node.at, |item| &item.at).clone();
            let mut settings = Vec::new();
            for (index, value) in values.into_iter().enumerate() {
                if value.is_array() {
                    let message = "an axis value is a scalar or a map, not a list";
                    diagnostics.push(Diagnostic::error(Code::Matrix, &at(index), message));
                }
                settings.push(Setting { name: key.name.clone(), value, at: at(index) });
            }
            return Some(Axis { key, values: settings });
        }
        Value::Array(_) => (format!("the axis `{}` is empty", key.name), "list at least one value"),
        _ => (
            format!("the axis `{}` is a list of values, not {}", key.name, node.what()),
            "write `[…]` around it; a range is `{from, to, step}`",
        ),
    };
    diagnostics.push(Diagnostic::error(Code::Matrix, &node.at, message).help(help));
    None
}

/// The cells of `include` or `exclude`.
fn partial(
    section: &str,
    matrix: &Node,
    axes: &[Axis<'_>],
    params: &[Param],
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Cell> {
    let Some(node) = matrix.get(section) else {
        return Vec::new();
    };
    if !matches!(node.kind, Kind::Seq(_)) {
        let message = format!("`{section}` is a list of cells, not {}", node.what());
        diagnostics.push(Diagnostic::error(Code::Matrix, &node.at, message).help("write `[{axis: value}]`"));
    }
    let mut cells = Vec::new();
    for item in node.items() {
        if item.entries().is_empty() {
            let message = "a cell is a map from axes to values";
            diagnostics
                .push(Diagnostic::error(Code::Matrix, &item.at, message).help("write `{axis: value}`"));
        }
        let mut cell = Vec::new();
        for (key, value) in item.entries() {
            let names = axes.iter().map(|axis| axis.key.name.as_str());
            let names: Vec<&str> = names.chain(params.iter().map(|param| param.name.as_str())).collect();
            if !names.contains(&key.name.as_str()) {
                let message = format!("there is no axis `{}`", key.name);
                let help = suggest(&key.name, names);
                diagnostics.push(Diagnostic::error(Code::Matrix, &key.at, message).help(help));
            } else if let Some(rendered) = typed::render_now(value, scope, diagnostics) {
                cell.push(Setting { name: key.name.clone(), value: rendered, at: value.at.clone() });
            }
        }
        cells.push(cell);
    }
    cells
}

/// Checks that an excluded value is one of its axis, and that an added cell has all axes.
fn check_cells(
    axes: &[Axis<'_>],
    exclude: &[Cell],
    include: &[Cell],
    params: &[Param],
    diagnostics: &mut Diagnostics,
) {
    for setting in exclude.iter().flatten() {
        let axis = axes.iter().find(|axis| axis.key.name == setting.name);
        if let Some(axis) =
            axis.filter(|axis| !axis.values.iter().any(|value| same(&value.value, &setting.value)))
        {
            diagnostics.push(no_value(axis, setting));
        }
    }
    for cell in include.iter().filter(|cell| !cell.is_empty()) {
        for axis in axes {
            let set = cell.iter().any(|setting| setting.name == axis.key.name);
            let default = params.iter().any(|param| param.name == axis.key.name && param.default.is_some());
            if !set && !default {
                let message = format!("the added cell lacks the axis `{}`", axis.key.name);
                let help = "each cell of `include` needs a value for every axis";
                diagnostics.push(Diagnostic::error(Code::Matrix, &cell[0].at, message).help(help));
            }
        }
    }
}

fn no_value(axis: &Axis<'_>, setting: &Setting) -> Diagnostic {
    let word_of = word(&setting.value);
    let words: Vec<String> = axis.values.iter().map(|value| word(&value.value)).collect();
    Diagnostic::error(
        Code::Matrix,
        &setting.at,
        format!("the axis `{}` has no value `{word_of}`", setting.name),
    )
    .help(suggest(&word_of, words.iter().map(String::as_str)))
    .related(&axis.key.at, "the axis")
}

fn narrow(axis: &mut Axis<'_>, define: &Setting, include: &[Cell], diagnostics: &mut Diagnostics) {
    let added = include.iter().flatten().any(|s| s.name == define.name && same(&s.value, &define.value));
    if !added && !axis.values.iter().any(|value| same(&value.value, &define.value)) {
        diagnostics.push(no_value(axis, define));
        return;
    }
    axis.values.retain(|value| same(&value.value, &define.value));
}

fn matches(partial: &Cell, cell: &Cell) -> bool {
    partial.iter().all(|wanted| {
        cell.iter().any(|setting| setting.name == wanted.name && same(&setting.value, &wanted.value))
    })
}

/// Whether a value selects another one: an equal one, or a map by some of its fields or by its `name`.
fn same(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(map), Value::Object(some)) => {
            some.iter().all(|(key, value)| map.get(key) == Some(value))
        }
        (Value::Object(map), single) => map.get("name") == Some(single),
        _ => word(value) == word(wanted),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::template::NoVersions;
    use crate::yaml;

    fn all(text: &str, defines: &[(&str, Value)]) -> Result<Vec<String>, Vec<String>> {
        let file = Arc::new(SourceFile { path: "a.yaml".into(), text: text.to_owned() });
        let node = yaml::parse(&file).unwrap();
        let mut diagnostics = Diagnostics::default();
        let defines: Vec<Setting> = defines
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).to_owned(),
                value: value.clone(),
                at: node.at.clone(),
            })
            .collect();
        let scope = Scope::new(Map::new(), &NoVersions);
        let cells = cells(Some(&node), &[], &defines, &scope, 7, &mut diagnostics);
        let name = |cell: &Cell| cell.iter().map(|s| word(&s.value)).collect::<Vec<_>>().join("-");
        match cells {
            Some(cells) => Ok(cells.iter().map(name).collect()),
            None => Err(diagnostics.sorted().iter().map(|d| d.message.clone()).collect()),
        }
    }

    #[test]
    fn the_cells_are_in_file_order_with_the_last_axis_fastest() {
        assert_eq!(all("{a: [1, 2], b: [x, y]}", &[]).unwrap(), ["1-x", "1-y", "2-x", "2-y"]);
    }

    #[test]
    fn an_axis_may_be_a_range() {
        let text = "{a: {from: 0ms, to: 40ms, step: 20ms}, b: [x], exclude: [{a: 20ms}]}";
        assert_eq!(all(text, &[]).unwrap(), ["0ms-x", "40ms-x"]);
        assert_eq!(all("{a: {from: 1, to: 3, step: 1}}", &[("a", json!(2))]).unwrap(), ["2"]);
        let wrong = all("{a: {from: 1, step: 1}}", &[]).unwrap_err();
        assert_eq!(wrong, ["`a` needs the key `to`"]);
    }

    #[test]
    fn cells_are_dropped_and_added() {
        let text = "{a: [1, 2], b: [x, y], exclude: [{a: 2}, {a: 1, b: y}], include: [{a: 3, b: z}]}";
        assert_eq!(all(text, &[]).unwrap(), ["1-x", "3-z"]);
        assert_eq!(all("{include: [{}]}", &[]).unwrap_err(), ["a cell is a map from axes to values"]);
    }

    #[test]
    fn a_define_narrows_an_axis_to_a_value_it_has() {
        assert_eq!(all("{a: [1, 2], b: [x, y]}", &[("b", json!("y"))]).unwrap(), ["1-y", "2-y"]);
        assert_eq!(all("{a: [{name: p, v: 1}, {name: q}], b: [1]}", &[("a", json!("q"))]).unwrap().len(), 1);
        assert_eq!(all("{a: [1, 2]}", &[("a", json!(3))]).unwrap_err(), ["the axis `a` has no value `3`"]);
        let text = "{a: [1], include: [{a: 2}]}";
        assert_eq!(all(text, &[("a", json!(2))]).unwrap(), ["2"]);
    }

    #[test]
    fn a_matrix_without_cells_or_with_too_many_is_refused() {
        let error = |text: &str| all(text, &[]).unwrap_err().join("; ");
        assert!(error("{a: []}").contains("is empty"));
        assert!(error("{a: 1}").contains("a list of values"));
        assert!(error("{a: [1], exclude: [{a: 1}]}").contains("no cells"));
        assert!(error("{a: [1], exclude: [{a: 2}]}").contains("no value `2`"));
        assert!(error("{a: [1], b: [1], include: [{a: 1}]}").contains("lacks the axis `b`"));
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let text = format!("{{a: {ten}, b: {ten}, c: {ten}, d: {ten}, e: {ten}, f: [1, 2]}}");
        assert!(error(&text).contains("200000 cells; the limit is 100000"));
    }
}
