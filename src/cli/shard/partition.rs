//! The partition of cases by the time that they take.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;

use crate::event::{Spread, Verdict};
use crate::report::history::Run;
use crate::scenario::model::Case;

/// What a case takes if the time of none is known.
const UNKNOWN: f64 = 1.0;

/// How long cases take, in seconds, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::cli) struct Durations(BTreeMap<String, f64>);

impl Durations {
    /// Reads a `durations.json`, or a run.
    pub(in crate::cli) fn read(path: &Path) -> anyhow::Result<Self> {
        if path.extension().is_some_and(|extension| extension == "json") {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let durations: BTreeMap<String, f64> = serde_json::from_str(&text)
                .with_context(|| format!("{}: not an object of names with seconds", path.display()))?;
            return Ok(Self(durations));
        }
        let run = Run::read(path.display().to_string(), &crate::cli::events_of(path))?;
        let took = run.results().filter(|(_, cell)| cell.verdict != Verdict::Error);
        let seconds = took.map(|(case, cell)| {
            let seconds = cell.values.iter().find(|(name, ..)| name == "duration");
            (case.to_owned(), seconds.map_or(0.0, |(.., seconds)| *seconds))
        });
        Ok(Self(seconds.collect()))
    }

    /// Those of an earlier file with these in their place. A case that is skipped here keeps its time.
    pub(in crate::cli) fn over(mut self, earlier: Self) -> Self {
        for (case, seconds) in earlier.0 {
            let own = self.0.entry(case).or_insert(seconds);
            if *own == 0.0 {
                *own = seconds;
            }
        }
        self
    }

    /// A file of them: an object, a line for each case, sorted.
    pub(in crate::cli) fn to_json(&self) -> anyhow::Result<String> {
        let rounded: BTreeMap<&str, f64> =
            self.0.iter().map(|(case, seconds)| (case.as_str(), (seconds * 100.0).round() / 100.0)).collect();
        Ok(serde_json::to_string_pretty(&rounded)? + "\n")
    }

    /// The seconds of cases with their files. An unknown one counts as the median of its file, or of all.
    pub(in crate::cli) fn of<'c>(
        &self,
        cases: impl Iterator<Item = (&'c str, &'c Path)> + Clone,
    ) -> Vec<f64> {
        let mut by_file: HashMap<&Path, Vec<f64>> = HashMap::new();
        let mut all = Vec::new();
        for (seconds, file) in cases.clone().filter_map(|(case, file)| Some((*self.0.get(case)?, file))) {
            by_file.entry(file).or_default().push(seconds);
            all.push(seconds);
        }
        let median = |values: &mut Vec<f64>| Spread::of(values).map(|spread| spread.median);
        let usual = median(&mut all).unwrap_or(UNKNOWN);
        let of_file: HashMap<&Path, f64> = by_file
            .into_iter()
            .map(|(file, mut values)| (file, median(&mut values).unwrap_or(usual)))
            .collect();
        let seconds = |(case, file): (&str, &Path)| {
            self.0.get(case).copied().unwrap_or_else(|| of_file.get(file).copied().unwrap_or(usual))
        };
        cases.map(seconds).collect()
    }
}

/// The part of each case, counted from 0: the longest case first, each to the part that has the least so far. Depends on the
/// names and times only, not on their order.
pub(super) fn partition(names: &[&str], seconds: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|one, other| {
        seconds[*other].total_cmp(&seconds[*one]).then_with(|| names[*one].cmp(names[*other]))
    });
    // Of equally loaded parts, the one with the fewest cases: such as skipped ones, which take no time.
    let mut parts: std::collections::BinaryHeap<Reverse<(Load, usize, usize)>> =
        (0..count.min(names.len())).map(|part| Reverse((Load(0.0), 0, part))).collect();
    let mut of = vec![0; names.len()];
    for case in order {
        let Some(Reverse((load, cases, part))) = parts.pop() else { break };
        of[case] = part;
        parts.push(Reverse((Load(load.0 + seconds[case]), cases + 1, part)));
    }
    of
}

/// Seconds, in a total order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load(f64);

impl Eq for Load {}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A number for a partition: parts with different ones do not fit together.
pub(super) fn digest(cases: &[Case], parts: &[usize]) -> String {
    let mut named: Vec<(&str, usize)> =
        cases.iter().zip(parts).map(|(case, part)| (case.name.as_str(), *part)).collect();
    named.sort_unstable();
    let text: String = named.iter().map(|(name, part)| format!("{name}\n{part}\n")).collect();
    format!("{:016x}", crate::random::Random::new(&text, 0).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_case_counts_as_the_median_of_its_file() {
        let durations =
            Durations([("a", 1.0), ("b", 5.0), ("c", 9.0), ("d", 20.0)].map(|(n, s)| (n.into(), s)).into());
        let (x, y, z) = (Path::new("x"), Path::new("y"), Path::new("z"));
        let cases = [("a", x), ("b", x), ("c", x), ("new", x), ("d", y), ("other", y), ("far", z)];
        assert_eq!(durations.of(cases.into_iter()), [1.0, 5.0, 9.0, 5.0, 20.0, 20.0, 5.0]);
        assert_eq!(Durations::default().of([("a", x)].into_iter()), [UNKNOWN]);
    }

    #[test]
    fn each_part_computes_the_same_partition_in_any_order_of_the_cases() {
        let names = ["a", "b", "c", "d", "e"];
        let seconds = [5.0, 4.0, 3.0, 3.0, 3.0];
        assert_eq!(partition(&names, &seconds, 2), [0, 1, 1, 0, 1]);
        let back: Vec<&str> = names.iter().rev().copied().collect();
        assert_eq!(partition(&back, &[3.0, 3.0, 3.0, 4.0, 5.0], 2), [1, 0, 1, 1, 0]);
        // More parts than cases: some are empty, none is lost.
        assert_eq!(partition(&names, &seconds, 8), [0, 1, 2, 3, 4]);
        assert_eq!(partition(&names, &[0.0; 5], 2), [0, 1, 0, 1, 0]);
    }

    #[test]
    fn new_durations_replace_those_of_a_file() {
        let of = |pairs: &[(&str, f64)]| {
            Durations(pairs.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect())
        };
        let merged =
            of(&[("a", 2.0), ("skipped", 0.0)]).over(of(&[("a", 1.0), ("b", 3.0), ("skipped", 7.0)]));
        assert_eq!(merged, of(&[("a", 2.0), ("b", 3.0), ("skipped", 7.0)]));
        assert_eq!(merged.to_json().unwrap(), "{\n  \"a\": 2.0,\n  \"b\": 3.0,\n  \"skipped\": 7.0\n}\n");
    }

    /// The seconds of each part, for a number of parts.
    fn loads(durations: &Durations, count: usize) -> Vec<f64> {
        let (names, seconds): (Vec<&str>, Vec<f64>) =
            durations.0.iter().map(|(name, seconds)| (name.as_str(), *seconds)).unzip();
        let mut loads = vec![0.0; count];
        for (part, seconds) in partition(&names, &seconds, count).into_iter().zip(seconds) {
            loads[part] += seconds;
        }
        loads
    }

    #[test]
    fn the_shipped_scenarios_are_balanced_as_docs_scale_says() {
        let durations = Durations::read(Path::new("tests/data/durations.json")).unwrap();
        let all: f64 = durations.0.values().sum();
        let longest = durations.0.values().copied().fold(0.0, f64::max);
        let mut table = format!(
            "{} cases, {all:.0} s together, the longest {longest:.0} s.\n\n| parts | longest part | best possible | more |\n|---|---|---|---|\n",
            durations.0.len()
        );
        for count in [2, 4, 8, 16, 32, 64] {
            let load = loads(&durations, count).into_iter().fold(0.0, f64::max);
            let best = f64::max(longest, all / count as f64);
            assert!(
                count > 16 || load <= best * 1.1,
                "{count} parts: {load:.0} s, the best possible {best:.0} s"
            );
            let more = (load / best - 1.0) * 100.0;
            table += &format!("| {count} | {load:.1} s | {best:.1} s | {more:.1} % |\n");
        }
        let path = Path::new("docs/scale.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once("<!-- partition -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        let expected = format!("{before}<!-- partition -->\n{table}<!-- end -->{after}");
        snapbox::assert_data_eq!(expected, snapbox::Data::read_from(path, None));
    }
}
