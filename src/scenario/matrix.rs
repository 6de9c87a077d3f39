//! The matrix: the product of its axes, without the cells of `exclude`, and with those of `include`.

use std::sync::Arc;

use serde_json::Value;

use super::params::{Param, Setting, check_name, word};
use super::sweep::Range;
use super::typed::Reader;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::yaml::{Key, Kind, Node};

/// The maximum number of cells.
const MAX_CELLS: usize = 100_000;

/// One combination of the axes' values.
pub(super) type Cell = Vec<Arc<Setting>>;

struct Axis<'m> {
    key: &'m Key,
    values: Vec<Arc<Setting>>,
}

/// The axes of a file as they are written.
pub(super) fn written(root: &Node) -> impl Iterator<Item = &(Key, Node)> {
    root.section("matrix").iter().filter(|(key, _)| !["include", "exclude"].contains(&key.name.as_str()))
}

/// The cells of a file's matrix, the last axis fastest; one empty cell if there is no matrix. `None` after reporting an
/// error.
pub(super) fn cells(
    root: &Node,
    params: &[Param],
    defines: &[Setting],
    seed: u64,
    reader: &mut Reader<'_, '_>,
) -> Option<Vec<Cell>> {
    let Some(matrix) = root.get("matrix") else {
        return Some(vec![Vec::new()]);
    };
    let before = reader.diagnostics.errors_added();
    let mut axes: Vec<Axis<'_>> =
        written(root).filter_map(|(key, node)| axis(key, node, seed, reader)).collect();
    let exclude = partial("exclude", matrix, &axes, &[], reader);
    let include = partial("include", matrix, &axes, params, reader);
    check_cells(&axes, &exclude, &include, params, reader.diagnostics);
    if reader.diagnostics.errors_added() > before {
        return None;
    }
    let mut narrowed = false;
    for axis in &mut axes {
        if let Some(define) = defines.iter().rev().find(|define| define.name == axis.key.name) {
            let is_added = include.iter().flatten().any(|set| set.name == define.name && set.is(define));
            if is_added || axis.has(define) {
                axis.values.retain(|value| value.is(define));
            } else {
                reader.diagnostics.push(no_value(axis, define));
            }
            narrowed = true;
        }
    }
    let size = axes.iter().try_fold(1usize, |size, axis| size.checked_mul(axis.values.len()));
    if size.is_none_or(|size| size > MAX_CELLS) {
        let size = size.map_or_else(|| "more than 2^64".to_owned(), |size| format!("{size}"));
        let message = format!("the matrix has {size} cells; the limit is {MAX_CELLS}");
        let at = axes.first().map_or(&matrix.at, |axis| &axis.key.at);
        reader.error(Code::TooMuch, at, message, "remove an axis, or split the file");
    }
    if reader.diagnostics.errors_added() > before {
        return None;
    }
    let mut cells = product(&axes);
    cells.retain(|cell| !exclude.iter().any(|partial| matches(partial, cell)));
    // If an axis is restricted to a value, keep only the added cells with that value.
    let is_selected = |cell: &Cell| {
        let axis_of = |define: &&Setting| axes.iter().any(|axis| axis.key.name == define.name);
        let agrees = |define: &Setting| cell.iter().all(|set| set.name != define.name || set.is(define));
        defines.iter().filter(axis_of).all(agrees)
    };
    cells.extend(include.into_iter().filter(is_selected));
    if cells.is_empty() && !narrowed {
        let at = matrix.entries().first().map_or(&matrix.at, |(key, _)| &key.at);
        reader.error(Code::Matrix, at, "the matrix has no cells", "");
        return None;
    }
    Some(cells)
}

/// All combinations of the values of the axes.
fn product(axes: &[Axis<'_>]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = if axes.is_empty() { Vec::new() } else { vec![Vec::new()] };
    let longer = |cell: &Cell, value: &Arc<Setting>| cell.iter().chain([value]).cloned().collect::<Cell>();
    for axis in axes {
        cells =
            cells.iter().flat_map(|cell| axis.values.iter().map(move |value| longer(cell, value))).collect();
    }
    cells
}

fn axis<'m>(key: &'m Key, node: &Node, seed: u64, reader: &mut Reader<'_, '_>) -> Option<Axis<'m>> {
    if !check_name(key, reader.diagnostics) {
        return None;
    }
    let name = &key.name;
    let list = reader.render_now(node)?;
    let list = if Range::is_range(&list) {
        let values = reader.fit::<Range>(&list, &key.at, node)?.values(name, seed);
        values.map_err(|(message, help)| (format!("the axis `{name}`: {message}"), help))
    } else {
        match list {
            Value::Array(list) if list.is_empty() => {
                Err((format!("the axis `{name}` is empty"), "list at least one value"))
            }
            Value::Array(list) => Ok(list),
            _ => Err((
                format!("the axis `{name}` is a list of values, not {}", node.what()),
                "write `[…]` around it; a range is `{from, to, step}`",
            )),
        }
    };
    let wrong = |(message, help)| reader.error(Code::Matrix, &node.at, message, help);
    let mut values = Vec::new();
    for (index, value) in list.map_err(wrong).ok()?.into_iter().enumerate() {
        let at = node.items().get(index).map_or(&node.at, |item| &item.at);
        if value.is_array() {
            reader.error(Code::Matrix, at, "an axis value is a scalar or a map, not a list", "");
        }
        values.push(Arc::new(Setting { name: name.clone(), value, at: at.clone() }));
    }
    Some(Axis { key, values })
}

/// The cells of `include` or `exclude`.
fn partial(
    section: &str,
    matrix: &Node,
    axes: &[Axis<'_>],
    params: &[Param],
    reader: &mut Reader<'_, '_>,
) -> Vec<Cell> {
    let Some(node) = matrix.get(section) else {
        return Vec::new();
    };
    if !matches!(node.kind, Kind::Seq(_)) {
        let message = format!("`{section}` is a list of cells, not {}", node.what());
        reader.error(Code::Matrix, &node.at, message, "write `[{axis: value}]`");
    }
    let names = axes.iter().map(|axis| &axis.key.name).chain(params.iter().map(|param| &param.name));
    let names: Vec<&String> = names.collect();
    let mut cells = Vec::new();
    for item in node.items() {
        if item.entries().is_empty() {
            let message = "a cell is a map from axes to values";
            reader.error(Code::Matrix, &item.at, message, "write `{axis: value}`");
        }
        let mut cell = Vec::new();
        for (key, value) in item.entries() {
            if !names.contains(&&key.name) {
                let help = suggest(&key.name, &names);
                reader.error(Code::Matrix, &key.at, format!("there is no axis `{}`", key.name), help);
            } else if let Some(rendered) = reader.render_now(value) {
                let (name, at) = (key.name.clone(), value.at.clone());
                cell.push(Arc::new(Setting { name, value: rendered, at }));
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
        diagnostics.extend(axis.filter(|axis| !axis.has(setting)).map(|axis| no_value(axis, setting)));
    }
    for cell in include.iter().filter(|cell| !cell.is_empty()) {
        for Axis { key: Key { name, .. }, .. } in axes {
            let set = cell.iter().any(|setting| setting.name == *name);
            let default = params.iter().any(|param| param.name == *name && param.default.is_some());
            if !set && !default {
                let help = "each cell of `include` needs a value for every axis";
                let message = format!("the added cell lacks the axis `{name}`");
                diagnostics.error(Code::Matrix, &cell[0].at, message, help);
            }
        }
    }
}

fn no_value(axis: &Axis<'_>, setting: &Setting) -> Diagnostic {
    let word_of = word(&setting.value);
    let message = format!("the axis `{}` has no value `{word_of}`", setting.name);
    Diagnostic::error(Code::Matrix, &setting.at, message)
        .help(suggest(&word_of, axis.values.iter().map(|value| word(&value.value))))
        .related(&axis.key.at, "the axis")
}

impl Axis<'_> {
    fn has(&self, wanted: &Setting) -> bool {
        self.values.iter().any(|value| value.is(wanted))
    }
}

fn matches(partial: &Cell, cell: &Cell) -> bool {
    partial.iter().all(|wanted| cell.iter().any(|set| set.name == wanted.name && set.is(wanted)))
}

impl Setting {
    /// Whether its value is selected by another one: an equal one, or for a map by some of its fields or by its `name`.
    fn is(&self, wanted: &Self) -> bool {
        match (&self.value, &wanted.value) {
            (Value::Object(map), Value::Object(some)) => {
                some.iter().all(|(key, value)| map.get(key) == Some(value))
            }
            (Value::Object(map), single) => map.get("name") == Some(single),
            (value, wanted) => word(value) == word(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::scenario::tests::node;
    use crate::template::{NoVersions, Scope};

    fn all(text: &str, defines: &[(&str, Value)]) -> Result<Vec<String>, Vec<String>> {
        let root = node(&format!("matrix: {text}"));
        let mut diagnostics = Diagnostics::default();
        let set = |(name, value): &(&str, Value)| {
            let (name, value) = ((*name).to_owned(), value.clone());
            Setting { name, value, at: root.at.clone() }
        };
        let defines: Vec<Setting> = defines.iter().map(set).collect();
        let scope = &Scope::new(Map::new(), &NoVersions);
        let mut reader = Reader { scope, diagnostics: &mut diagnostics };
        let cells = cells(&root, &[], &defines, 7, &mut reader);
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
    fn a_matrix_without_cells_or_with_a_part_of_one_is_refused() {
        let error = |text: &str| all(text, &[]).unwrap_err().join("; ");
        assert!(error("{a: [1], exclude: [{a: 1}]}").contains("no cells"));
        assert!(error("{a: [1], b: [1], include: [{a: 1}]}").contains("lacks the axis `b`"));
    }
}
