//! Matrix cells as a table: a coloured cell for each case.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use crate::event::Verdict;
use crate::report::record::Case;
use crate::report::text;

/// The maximum number of columns.
const COLUMNS: usize = 40;

/// What a grid needs to know about a case.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    number: usize,
    verdict: Verdict,
    axes: Vec<(String, String)>,
}

/// The cells of each file.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells(IndexMap<String, Vec<Cell>>);

/// A table.
#[derive(Debug, Serialize)]
pub(super) struct Grid {
    file: String,
    across: String,
    down: String,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    label: String,
    cells: Vec<Shown>,
}

/// All cases of one table cell.
#[derive(Debug, Serialize)]
struct Shown {
    /// The worst verdict, or `none`.
    verdict: String,
    /// The text in the cell.
    text: String,
    title: String,
    /// The number of the worst case.
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<usize>,
}

impl Cells {
    pub(super) fn add(&mut self, case: &Case) {
        let mut axes: Vec<(String, String)> = case
            .axes
            .iter()
            .filter_map(|name| Some((name.clone(), text::one_line(&word(case.params.get(name)?)))))
            .collect();
        axes.extend(case.qemu.iter().map(|qemu| ("QEMU".to_owned(), qemu.clone())));
        let cell = Cell { number: case.number, verdict: case.verdict(), axes };
        self.0.entry(case.file.clone()).or_default().push(cell);
    }

    /// A grid for each file that has two axes with several values, or one such axis and several QEMUs.
    pub(super) fn grids(&self) -> Vec<Grid> {
        self.0.iter().filter_map(|(file, cells)| grid(file, cells)).collect()
    }
}

fn grid(file: &str, cells: &[Cell]) -> Option<Grid> {
    let mut values: IndexMap<&str, Vec<&str>> = IndexMap::new();
    let mut cells: Vec<&Cell> = cells.iter().collect();
    cells.sort_by_key(|cell| cell.number);
    for (axis, value) in cells.iter().flat_map(|cell| &cell.axes) {
        let known = values.entry(axis).or_default();
        if !known.contains(&value.as_str()) {
            known.push(value);
        }
    }
    values.retain(|_, values| values.len() > 1);
    if values.len() < 2 {
        return None;
    }
    // The longest axis that fits goes across; QEMUs always go across, since they are what is compared.
    let fits = values.iter().filter(|(_, values)| values.len() <= COLUMNS);
    let across = fits.max_by_key(|(axis, values)| (**axis == "QEMU", values.len())).map(|(axis, _)| *axis)?;
    let down: Vec<&str> = values.keys().copied().filter(|axis| *axis != across).collect();
    let of = |cell: &Cell, axis: &str| {
        let found = cell.axes.iter().find(|(name, _)| name == axis);
        found.map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let label = |cell: &Cell| down.iter().map(|axis| of(cell, axis)).collect::<Vec<_>>().join(" · ");
    let mut rows: IndexMap<String, BTreeMap<String, Vec<&Cell>>> = IndexMap::new();
    for cell in cells {
        rows.entry(label(cell)).or_default().entry(of(cell, across)).or_default().push(cell);
    }
    let columns: Vec<String> = values[across].iter().map(|value| (*value).to_owned()).collect();
    let row = |(label, mut found): (String, BTreeMap<String, Vec<&Cell>>)| {
        let cells = columns
            .iter()
            .map(|column| shown(&found.remove(column).unwrap_or_default(), &format!("{label} · {column}")))
            .collect();
        Row { label, cells }
    };
    let rows = rows.into_iter().map(row).collect();
    let down = down.join(" · ");
    Some(Grid { file: text::one_line(file), across: across.to_owned(), down, columns, rows })
}

fn shown(cells: &[&Cell], title: &str) -> Shown {
    let severity = |verdict: Verdict| match verdict {
        Verdict::Fail => 5,
        Verdict::Error => 4,
        Verdict::Flaky => 3,
        Verdict::Xfail => 2,
        Verdict::Pass => 1,
        Verdict::Skip => 0,
    };
    let Some(worst) = cells.iter().max_by_key(|cell| severity(cell.verdict)) else {
        return Shown {
            verdict: "none".into(),
            text: String::new(),
            title: format!("{title}: not run"),
            case: None,
        };
    };
    let sign = match worst.verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Error => "!",
        Verdict::Skip => "–",
        Verdict::Xfail => "x",
        Verdict::Flaky => "~",
    };
    let passed = cells.iter().filter(|cell| cell.verdict == Verdict::Pass).count();
    let text = if cells.len() == 1 { sign.to_owned() } else { format!("{passed}/{}", cells.len()) };
    let verdict = worst.verdict.to_string();
    Shown { title: format!("{title}: {verdict}"), verdict, text, case: Some(worst.number) }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Object(map) => map.get("name").map_or_else(|| value.to_string(), word),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(number: usize, axes: &[(&str, &str)], verdict: Verdict) -> Cell {
        let own = |(axis, value): &(&str, &str)| ((*axis).to_owned(), (*value).to_owned());
        Cell { number, verdict, axes: axes.iter().map(own).collect() }
    }

    #[test]
    fn the_longest_axis_is_horizontal_and_a_cell_shows_its_worst_round() {
        let cells = [
            cell(0, &[("side", "left"), ("delay", "0ms"), ("one", "same")], Verdict::Pass),
            cell(1, &[("side", "left"), ("delay", "20ms"), ("one", "same")], Verdict::Fail),
            cell(2, &[("side", "left"), ("delay", "40ms"), ("one", "same")], Verdict::Skip),
            cell(3, &[("side", "right"), ("delay", "0ms"), ("one", "same")], Verdict::Pass),
            cell(4, &[("side", "left"), ("delay", "20ms"), ("one", "same")], Verdict::Pass),
        ];
        let grid = serde_json::to_value(grid("a.yaml", &cells).unwrap()).unwrap();
        assert_eq!(grid["columns"], json!(["0ms", "20ms", "40ms"]));
        assert_eq!((&grid["across"], &grid["down"]), (&json!("delay"), &json!("side")));
        let texts: Vec<Vec<&str>> = grid["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["cells"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect())
            .collect();
        assert_eq!(texts, [vec!["✓", "1/2", "–"], vec!["✓", "", ""]]);
        assert_eq!(grid["rows"][0]["cells"][1]["verdict"], "fail");
        assert_eq!(grid["rows"][0]["cells"][1]["case"], 1);
    }

    #[test]
    fn one_axis_is_a_grid_only_with_several_qemus() {
        let one = [cell(0, &[("a", "1")], Verdict::Pass), cell(1, &[("a", "2")], Verdict::Pass)];
        assert!(grid("a.yaml", &one).is_none());
        let two = [
            cell(0, &[("a", "1"), ("QEMU", "old")], Verdict::Pass),
            cell(1, &[("a", "2"), ("QEMU", "old")], Verdict::Pass),
            cell(2, &[("a", "3"), ("QEMU", "new")], Verdict::Pass),
        ];
        assert_eq!(grid("a.yaml", &two).unwrap().across, "QEMU");
    }
}
