//! Two rounds side by side.

use serde::Serialize;

use super::table::Table;
use super::{Align, Round};
use crate::report::compare::Rendering;
use crate::report::text;

/// How many marks are shown around one that only one of the rounds has.
const CONTEXT: usize = 2;
/// How many lines are shown from the start, and from the end.
const LINES: usize = 30;
/// How many marks of each round are compared; of a longer one, the nearest to its end.
const COMPARED: usize = 1_000;

/// Two rounds, and what happened in both or in one of them.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    rounds: [Shown; 2],
    marks: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Shown {
    round: String,
    failed: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

/// A mark, with its time in each round that has it there, in milliseconds from the alignment.
#[derive(Debug, Serialize)]
struct Row {
    mark: String,
    at: [Option<f64>; 2],
}

impl Pair {
    /// A passing and a failing round, which can be given; if there are not both, two others.
    pub(super) fn new(table: &Table<'_>, failing: Option<usize>) -> Self {
        let first = |failed: bool| table.rounds.iter().position(|round| round.failed == failed);
        let other = match failing.or(first(true)).filter(|_| first(false).is_some()) {
            Some(failing) => (nearest(table, failing), failing),
            // One of each run, if there are two.
            None => {
                let run = table.rounds[0].run;
                (0, table.rounds.iter().position(|round| round.run != run).unwrap_or(1))
            }
        };
        let has_two_runs = table.rounds.iter().any(|round| round.run != table.rounds[0].run);
        let rounds = [other.0, other.1].map(|number| table.rounds[number]);
        // A passing round goes on where the failing one ends.
        let end = rounds[1].failure.step.filter(|_| rounds[1].failed && !rounds[0].failed);
        let end = end.and_then(|step| rounds[0].nth(step.marks[1], step.count)).unwrap_or(f64::INFINITY);
        let origins = [other.0, other.1].map(|number| table.origins[number]);
        let shown = rounds.map(|round| Shown {
            round: round.title(has_two_runs),
            failed: round.failed,
            reason: text::fit(&round.reason, 200).into_owned(),
        });
        Self { rounds: shown, marks: rows(table, rounds, origins, end) }
    }

    pub(super) fn render(&self, out: &mut Rendering, align: Align) {
        let [one, other] = &self.rounds;
        let verdict = |shown: &Shown| if shown.failed { "failed" } else { "passed" };
        out.heading(&format!(
            "{} ({}) and {} ({}), in ms from {align}",
            one.round,
            verdict(one),
            other.round,
            verdict(other)
        ));
        out.fence();
        let lines = self.lines();
        let cut = lines.len().saturating_sub(2 * LINES);
        for (number, line) in lines.iter().enumerate() {
            if number < LINES || number >= LINES + cut {
                out.line(line.trim_end());
            } else if number == LINES {
                out.line(&format!("  … {cut} lines …"));
            }
        }
        for shown in self.rounds.iter().filter(|shown| shown.failed) {
            out.line(&format!("  {} failed: {}", shown.round, shown.reason));
        }
        out.fence();
    }

    /// The marks that only one round has, with some around them; `-` is for the first round, `+` for the second.
    fn lines(&self) -> Vec<String> {
        let differs: Vec<bool> = self.marks.iter().map(|row| row.at.contains(&None)).collect();
        let mut lines = Vec::new();
        let mut hidden = 0;
        for (number, row) in self.marks.iter().enumerate() {
            let near = number.saturating_sub(CONTEXT)..(number + CONTEXT + 1).min(differs.len());
            if !differs[near].contains(&true) {
                hidden += 1;
                continue;
            }
            lines.extend(same(&mut hidden));
            let sign = match row.at {
                [Some(_), Some(_)] => ' ',
                [Some(_), None] => '-',
                [None, _] => '+',
            };
            let [one, other] = row.at.map(|at| at.map(|at| format!("{at:.1}")).unwrap_or_default());
            lines.push(format!("{sign} {one:>10} {other:>10}  {}", row.mark));
        }
        lines.extend(same(&mut hidden));
        lines
    }
}

fn same(hidden: &mut usize) -> Option<String> {
    let count = std::mem::take(hidden);
    (count > 0).then(|| format!("  … {count} in both …"))
}

/// The passing round with the fewest marks that the failing one does not have, or has in addition.
fn nearest(table: &Table<'_>, failing: usize) -> usize {
    let differs = |round: usize| {
        let columns = table.columns.iter();
        columns.filter(|column| column.times[round].is_nan() != column.times[failing].is_nan()).count()
    };
    let passing = (0..table.rounds.len()).filter(|round| !table.rounds[*round].failed);
    passing.min_by_key(|round| differs(*round)).unwrap_or(0)
}

/// The marks of two rounds, those that both have in the same order on one row: the longest common subsequence.
fn rows(table: &Table<'_>, rounds: [&Round; 2], origins: [f64; 2], end: f64) -> Vec<Row> {
    let [one, other] = rounds.map(|round| &round.marks);
    let one = &one[..one.partition_point(|mark| mark.at <= end)];
    let (one, other) =
        (&one[one.len().saturating_sub(COMPARED)..], &other[other.len().saturating_sub(COMPARED)..]);
    // The length of the longest one from each pair of marks on.
    let width = other.len() + 1;
    let mut common = vec![0_u16; (one.len() + 1) * width];
    for (at, mark) in one.iter().enumerate().rev() {
        for (beside, twin) in other.iter().enumerate().rev() {
            common[at * width + beside] = if mark.name == twin.name {
                common[(at + 1) * width + beside + 1] + 1
            } else {
                common[(at + 1) * width + beside].max(common[at * width + beside + 1])
            };
        }
    }
    let time = |number: usize, at: f64| Some(((at - origins[number]) * 1e6).round() / 1e3);
    let (mut at, mut beside) = (0, 0);
    let mut rows = Vec::new();
    while at < one.len() || beside < other.len() {
        let (mark, twin) = (one.get(at), other.get(beside));
        // If either keeps the rows in common, the earlier one is first.
        let rest = [(at + 1, beside), (at, beside + 1)]
            .map(|(at, beside)| common[at.min(one.len()) * width + beside.min(other.len())]);
        let is_first = mark.zip(twin).is_none_or(|(mark, twin)| {
            rest[0] > rest[1] || rest[0] == rest[1] && time(0, mark.at) <= time(1, twin.at)
        });
        let row = match (mark, twin) {
            (Some(mark), Some(twin)) if mark.name == twin.name => {
                (at, beside) = (at + 1, beside + 1);
                (mark.name, [time(0, mark.at), time(1, twin.at)])
            }
            (Some(mark), _) if is_first => {
                at += 1;
                (mark.name, [time(0, mark.at), None])
            }
            (_, Some(twin)) => {
                beside += 1;
                (twin.name, [None, time(1, twin.at)])
            }
            _ => break,
        };
        rows.push(Row { mark: table.names.get(row.0).0.to_owned(), at: row.1 });
    }
    rows
}
