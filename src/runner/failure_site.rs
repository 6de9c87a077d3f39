//! The place of a failure in a scenario, and how the run got there.

use serde_json::{Map, Value};

use crate::diagnostic::Location;
use crate::scenario::model::{Case, CaseStep};

/// The place of a failure.
#[derive(Debug, Clone)]
pub(super) struct FailureSite {
    /// The step, or the case if no step failed.
    pub at: Location,
    /// See [`CaseStep::via`].
    via: Vec<Location>,
    /// See [`CaseStep::locals`].
    locals: Map<String, Value>,
    /// See [`CaseStep::names`].
    pub names: Vec<String>,
}

impl FailureSite {
    /// A place without a call chain.
    pub(super) fn plain(at: &Location) -> Self {
        Self { at: at.clone(), via: Vec::new(), locals: Map::new(), names: Vec::new() }
    }

    /// The place of a step.
    pub(super) fn of(step: &CaseStep) -> Self {
        let names = step.names().cloned().collect();
        Self { at: step.at.clone(), via: step.via.clone(), locals: step.locals.clone(), names }
    }

    /// The lines around the place with their numbers; the failing line is marked.
    #[must_use]
    pub(super) fn excerpt(&self) -> String {
        const AROUND: usize = 4;
        let line = self.at.line;
        let lines = self.at.file.text.lines().enumerate().map(|(index, text)| (index + 1, text));
        let near = lines.filter(|(number, _)| number.abs_diff(line) <= AROUND);
        let lines: Vec<String> = near
            .map(|(number, text)| {
                let mark = if number == line { '>' } else { ' ' };
                format!("{mark}{number:>5} | {text}")
            })
            .collect();
        lines.join("\n")
    }

    /// The line of the step, how it was reached, and the values of the case, in a few lines.
    #[must_use]
    pub(super) fn description(&self, case: &Case) -> String {
        let mut lines = Vec::new();
        if self.at != case.at {
            lines.push(self.at.shown());
        }
        for place in &self.via {
            let how = match place.excerpt() {
                "use" => "used",
                "hook" => "hook placed",
                "repeat" => "repeated",
                _ => "placed",
            };
            lines.push(format!("  {how} at {place}"));
        }
        let axes = case.axes.iter().filter_map(|name| Some((name, case.params.get(name)?)));
        let axes: Vec<String> = axes.map(pair).collect();
        if !axes.is_empty() {
            lines.push(format!("  in the cell {}", axes.join(", ")));
        }
        let locals: Vec<String> = self.locals.iter().map(pair).collect();
        if !locals.is_empty() {
            lines.push(format!("  with {}", locals.join(", ")));
        }
        lines.join("\n")
    }
}

fn pair((name, value): (&String, &Value)) -> String {
    format!("{name}={}", crate::step::brief(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::Block;
    use crate::scenario::{Options, load};
    use crate::template::NoVersions;

    #[test]
    fn a_failure_shows_its_line_the_way_to_it_and_the_cell() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("nap.yaml", "params: {unit: s}\nsteps:\n- sleep: '1{{unit}}'\n");
        write("base.yaml", "vms: {a: {}}\nsteps:\n- hook: nap\n- quit: a\n");
        let main = "extends: base.yaml\nmatrix: {side: [left, {name: right}]}\nhooks:\n  nap:\n  - repeat: {times: 2, steps: [{use: {file: nap.yaml}}]}\n";
        write("main.yaml", main);
        let loaded = load(&[folder.path().join("main.yaml")], &Options::default(), &NoVersions);
        assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
        let case = &loaded.cases[0];
        let Block::Step(step) = &case.steps[0] else { panic!() };
        let description =
            FailureSite::of(step).description(case).replace(&folder.path().display().to_string(), "D");
        let expected = " --> D/nap.yaml:3:3\n  |\n3 | - sleep: '1{{unit}}'\n  |   ^^^^^\n\
             \x20 used at D/main.yaml:5:33\n  repeated at D/main.yaml:5:5\n  hook placed at D/base.yaml:3:3\n\
             \x20 in the cell side=left\n  with unit=s";
        assert_eq!(description, expected);
        assert_eq!(FailureSite::plain(&case.at).description(case), "  in the cell side=left");
        let around = FailureSite::of(step).excerpt();
        assert_eq!(around, "     1 | params: {unit: s}\n     2 | steps:\n>    3 | - sleep: '1{{unit}}'");
    }
}
