//! The overview at the end of the console report: a table of cases and QEMUs, rates, kinds of failures.

use std::fmt::Write as _;

use indexmap::{IndexMap, IndexSet};

use crate::event::Verdict;
use crate::report::stats::Stats;
use crate::report::text;

/// The maximum number of lines per table.
const SHOWN: usize = 200;

/// The overview; empty if each case ran once on one QEMU.
#[must_use]
pub(super) fn of(stats: &Stats) -> String {
    let mut out = grid(stats);
    let repeated: Vec<_> = stats.repeated().collect();
    if repeated.is_empty() {
        return out;
    }
    out.push('\n');
    for (name, case) in repeated.iter().take(SHOWN) {
        let _ = writeln!(out, "{}: {}", text::one_line(name), case.rate());
        for ((metric, vm), measured) in &case.metrics {
            let whose = vm.as_ref().map(|vm| format!(" ({vm})")).unwrap_or_default();
            let _ =
                writeln!(out, "    {}: {}", text::one_line(&format!("{metric}{whose}")), measured.summary());
        }
    }
    if repeated.len() > SHOWN {
        let _ = writeln!(out, "and {} more", repeated.len() - SHOWN);
    }
    for (signature, kind) in stats.kinds().iter().take(SHOWN) {
        let example = &kind.example;
        let place = example.place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
        let _ = writeln!(
            out,
            "\n{}: {signature}\n    such as {}: {}",
            stats.often(kind),
            text::one_line(&example.title),
            text::one_line(&format!("{place}{}", example.reason)),
        );
    }
    out
}

/// A line per case, a column per QEMU.
fn grid(stats: &Stats) -> String {
    let qemus: IndexSet<&str> = stats.cases.keys().filter_map(|(_, qemu)| qemu.as_deref()).collect();
    if qemus.is_empty() {
        return String::new();
    }
    let mut rows: IndexMap<&str, IndexMap<&str, Verdict>> = IndexMap::new();
    for ((name, qemu), case) in &stats.cases {
        rows.entry(name).or_default().insert(qemu.as_deref().unwrap_or_default(), case.worst());
    }
    let wide = rows.keys().map(|name| text::width(&text::one_line(name))).max().unwrap_or(0).min(70);
    let columns: Vec<usize> = qemus.iter().map(|qemu| text::width(qemu).max(5)).collect();
    let line = |name: &str, words: Vec<String>| {
        let name = text::fit(name, 70).into_owned();
        let gap = " ".repeat(wide.saturating_sub(text::width(&name)));
        let cells: Vec<String> =
            words.iter().zip(&columns).map(|(word, width)| format!("{word:<width$}")).collect();
        format!("{name}{gap}  {}", cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let mut out = "\n".to_owned() + &line("", qemus.iter().map(|qemu| (*qemu).to_owned()).collect());
    for (name, found) in rows.iter().take(SHOWN) {
        let word = |qemu: &&str| found.get(qemu).map_or_else(|| "none".to_owned(), ToString::to_string);
        out.push_str(&line(&text::one_line(name), qemus.iter().map(word).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::report::{Fold, sample};

    fn stats(cases: &[(&str, Option<&str>, Verdict)]) -> Stats {
        let (mut fold, mut stats) = (Fold::default(), Stats::default());
        for (number, (name, on, verdict)) in cases.iter().enumerate() {
            let mut began = sample::started(number, name, "a.yaml");
            if let What::CaseStarted { qemu, .. } = &mut began.what {
                *qemu = on.map(str::to_owned);
            }
            fold.take(&began);
            let reason = verdict.is_bad().then_some("waited 3s for 2 ticks; saw none");
            stats.add(&fold.take(&sample::ended(number, *verdict, reason, 1.0)).unwrap());
        }
        stats
    }

    #[test]
    fn each_case_once_on_one_qemu_needs_no_overview() {
        assert_eq!(of(&stats(&[("a", None, Verdict::Pass), ("b", None, Verdict::Fail)])), "");
    }

    #[test]
    fn several_qemus_are_a_table() {
        let out = of(&stats(&[
            ("colo/a", Some("old"), Verdict::Skip),
            ("b", Some("old"), Verdict::Pass),
            ("colo/a", Some("new"), Verdict::Pass),
        ]));
        assert_eq!(out, "\n        old    new\ncolo/a  skip   pass\nb       pass   none\n");
    }

    #[test]
    fn rounds_have_a_rate_and_each_kind_of_failure_has_an_example() {
        let out = of(&stats(&[("a", None, Verdict::Pass), ("a", None, Verdict::Fail)]));
        assert_eq!(
            out,
            "\na: 1 of 2 failed: 50 % (95 %: 9.5 to 91 %)\n\n\
             1 of 2 failed: 50 % (95 %: 9.5 to 91 %): waited TIME for N ticks\n    \
             such as a: waited 3s for 2 ticks; saw none\n"
        );
    }
}
