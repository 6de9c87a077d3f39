//! Compares two runs: changed verdicts, added and removed cases, metrics that changed by more than their spread.

use indexmap::IndexMap;
use serde::Serialize;

use crate::cause::CauseKind;
use crate::event::{Event, Qemu, Spread, Verdict, What};
use crate::report::stats::{Measured, Repeated, Stats, wilson};
use crate::report::{Fold, text};

/// The minimum factor for a changed metric; the second one applies if its spread is unknown.
const FACTORS: [f64; 2] = [1.1, 2.0];
/// Smaller differences are noise on any machine.
const LEAST_SECONDS: f64 = 0.010;
/// The minimum number of cases in which a metric must change in the same direction to be listed for the whole run.
const ALIKE: usize = 5;

/// The data of a run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    name: String,
    time: String,
    qemus: Vec<Qemu>,
    stats: Stats,
    trouble: Option<String>,
}

/// The differences.
#[derive(Debug, Serialize)]
pub struct Comparison {
    runs: [About; 2],
    changed: Vec<Changed>,
    gone: Vec<String>,
    new: Vec<String>,
    /// How many cases have the same verdict in both.
    same: usize,
    moved: Vec<Moved>,
    overall: Vec<Overall>,
    /// The known issues that occur too often in run B.
    exceeded: Vec<String>,
}

#[derive(Debug, Serialize)]
struct About {
    name: String,
    time: String,
    qemus: Vec<String>,
    cases: usize,
    /// Why the run is incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// A case whose verdict or failure rate changed.
#[derive(Debug, Serialize)]
struct Changed {
    case: String,
    from: Side,
    to: Side,
}

#[derive(Debug, Serialize)]
struct Side {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<CauseKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
}

/// A changed metric of one case.
#[derive(Debug, Serialize)]
struct Moved {
    case: String,
    metric: String,
    unit: String,
    from: Spread,
    to: Spread,
    factor: f64,
}

/// A metric that changed in the same direction in most cases.
#[derive(Debug, Serialize)]
struct Overall {
    metric: String,
    /// In how many cases it grew, and how many have it.
    grew: usize,
    of: usize,
    /// The median of the cases' factors.
    factor: f64,
}

impl Run {
    /// Builds a run from its events; `name` is its name in the comparison.
    pub fn new(name: impl Into<String>, events: impl IntoIterator<Item = Event>) -> Self {
        let mut run = Self { name: name.into(), ..Self::default() };
        let mut fold = Fold::default();
        for event in events {
            if let What::RunStarted { time, qemus, .. } = &event.what {
                run.time.clone_from(time);
                run.qemus.clone_from(qemus);
            }
            if let Some(case) = fold.take(&event) {
                run.stats.add(&case);
            }
        }
        run.trouble = fold.trouble();
        fold.cut_off().iter().for_each(|case| run.stats.add(case));
        run
    }

    fn about(&self) -> About {
        let qemus = self.qemus.iter().map(|qemu| format!("QEMU {}", qemu.version)).collect();
        let cases = self.stats.cases.len();
        let trouble = self.trouble.clone();
        About { name: self.name.clone(), time: self.time.clone(), qemus, cases, trouble }
    }

    fn cases(&self) -> IndexMap<String, &Repeated> {
        let named = self.stats.cases.iter().map(|((name, qemu), case)| {
            (qemu.as_ref().map_or_else(|| name.clone(), |qemu| format!("{name} on {qemu}")), case)
        });
        named.collect()
    }
}

/// Compares two runs.
#[must_use]
pub fn compare(old: &Run, new: &Run) -> Comparison {
    let (before, after) = (old.cases(), new.cases());
    let mut comparison = Comparison {
        runs: [old.about(), new.about()],
        changed: Vec::new(),
        gone: before.keys().filter(|name| !after.contains_key(*name)).cloned().collect(),
        new: after.keys().filter(|name| !before.contains_key(*name)).cloned().collect(),
        same: 0,
        moved: Vec::new(),
        overall: Vec::new(),
        exceeded: new.stats.races.exceeded(),
    };
    let mut factors: IndexMap<&str, Vec<f64>> = IndexMap::new();
    for (name, one) in &before {
        let Some(other) = after.get(name) else { continue };
        if has_changed(one, other) {
            comparison.changed.push(Changed { case: name.clone(), from: side(one), to: side(other) });
        } else {
            comparison.same += 1;
        }
        for ((metric, vm), measured) in &one.metrics {
            let Some(again) = other.metrics.get(&(metric.clone(), vm.clone())) else { continue };
            let whose = vm.as_ref().map_or_else(|| metric.clone(), |vm| format!("{metric} ({vm})"));
            let (Some(from), Some(to)) = (measured.spread(), again.spread()) else { continue };
            if from.median > 0.0 && to.median > 0.0 && measured.unit == "s" {
                factors.entry(metric).or_default().push(to.median / from.median);
            }
            if has_moved((measured, from), (again, to)) {
                let factor = to.median / from.median;
                let unit = measured.unit.clone();
                comparison.moved.push(Moved { case: name.clone(), metric: whose, unit, from, to, factor });
            }
        }
    }
    comparison.overall =
        factors.into_iter().filter_map(|(metric, factors)| overall(metric, factors)).collect();
    comparison
}

/// Whether the verdict changed; for a repeated case, whether the failure rate changed beyond chance.
fn has_changed(one: &Repeated, other: &Repeated) -> bool {
    if one.counts.total() == 1 || other.counts.total() == 1 {
        return one.worst() != other.worst();
    }
    let interval = |case: &Repeated| wilson(case.failed(), case.ran());
    let ((low, high), (other_low, other_high)) = (interval(one), interval(other));
    (one.ran() == 0) != (other.ran() == 0) || low > other_high || other_low > high
}

fn side(case: &Repeated) -> Side {
    let rate = (case.counts.total() > 1).then(|| case.rate());
    Side { verdict: case.worst(), reason: case.reason.clone(), cause: case.cause, rate }
}

/// Whether either median lies outside the range of the other run.
fn has_moved((one, from): (&Measured, Spread), (other, to): (&Measured, Spread)) -> bool {
    let known = from.n > 1 && to.n > 1 || one.within.is_some() && other.within.is_some();
    let factor = FACTORS[usize::from(!known)];
    let far = (to.median - from.median).abs();
    let ratio = to.median.max(from.median) / to.median.min(from.median).max(f64::MIN_POSITIVE);
    if ratio < factor || (one.unit == "s" && far < LEAST_SECONDS) || far == 0.0 {
        return false;
    }
    let reach = |measured: &Measured, spread: Spread| {
        let (low, high) = measured.within.unwrap_or((spread.min, spread.max));
        (low.min(spread.min), high.max(spread.max))
    };
    let outside = |value: f64, (low, high): (f64, f64)| value < low || value > high;
    outside(to.median, reach(one, from)) && outside(from.median, reach(other, to))
}

fn overall(metric: &str, mut factors: Vec<f64>) -> Option<Overall> {
    let of = factors.len();
    let grew = factors.iter().filter(|factor| **factor > 1.0).count();
    let factor = Spread::of(&mut factors)?.median;
    let one_way = grew.max(of - grew) * 10 >= of * 9;
    let much = factor.max(1.0 / factor) >= FACTORS[0];
    (of >= ALIKE && one_way && much).then(|| Overall { metric: metric.to_owned(), grew, of, factor })
}

impl Comparison {
    /// Whether a case got worse, or a known issue occurs too often.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let well = |verdict: Verdict| !verdict.is_bad() && verdict != Verdict::Flaky;
        let worse = |changed: &Changed| well(changed.from.verdict) && !well(changed.to.verdict);
        !self.exceeded.is_empty() || self.changed.iter().any(worse)
    }

    /// The comparison as text, or as Markdown.
    #[must_use]
    pub fn render(&self, markdown: bool) -> String {
        let mut out = Rendering::new(markdown);
        for (letter, run) in ["A", "B"].iter().zip(&self.runs) {
            let bullet = if markdown { "- " } else { "" };
            let mark = out.mark;
            let qemus: String = run.qemus.iter().map(|qemu| format!(", {qemu}")).collect();
            let trouble = run.trouble.as_ref().map(|what| format!("; {what}")).unwrap_or_default();
            let (name, time, count) = (&run.name, &run.time, cases(run.cases));
            out.line(&format!("{bullet}{letter}: {mark}{name}{mark}, {time}, {count}{qemus}{trouble}"));
        }
        for exceeded in &self.exceeded {
            out.heading(&format!("B: {}", text::one_line(exceeded)));
        }
        self.render_verdicts(&mut out);
        for (names, what) in [(&self.gone, "only in A"), (&self.new, "only in B")] {
            if !names.is_empty() {
                out.heading(&format!("{} {what}", cases(names.len())));
                names.iter().for_each(|name| out.item(name, ""));
            }
        }
        self.render_metrics(&mut out);
        let same = if self.same == 0 {
            "0 cases are".to_owned()
        } else {
            format!("{} {}", cases(self.same), if self.same == 1 { "is" } else { "are" })
        };
        out.line(&format!("\n{same} unchanged"));
        out.text
    }

    /// The changed verdicts, grouped; those that got worse come first.
    fn render_verdicts(&self, out: &mut Rendering) {
        let mut groups: IndexMap<(Verdict, Verdict), Vec<&Changed>> = IndexMap::new();
        for changed in &self.changed {
            groups.entry((changed.from.verdict, changed.to.verdict)).or_default().push(changed);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|((_, to), _)| !to.is_bad());
        for ((from, to), changed) in groups {
            let reasons: Vec<String> =
                changed.iter().map(|changed| why(&changed.from, &changed.to)).collect();
            // Print a reason shared by all of them once.
            let shared = reasons.len() > 1 && reasons.iter().all(|reason| *reason == reasons[0]);
            let lead = if shared { reasons[0].as_str() } else { "" };
            out.heading(&format!("{}{lead}", turn(from, to, changed.len())));
            for (Changed { case, .. }, reason) in changed.iter().zip(&reasons) {
                out.item(case, if shared { "" } else { reason });
            }
        }
    }

    /// The changed metrics: those of the whole run, then those of single cases.
    fn render_metrics(&self, out: &mut Rendering) {
        if !self.overall.is_empty() {
            out.heading("Overall");
        }
        for Overall { metric, grew, of, factor } in &self.overall {
            let (count, word) = if *factor > 1.0 { (*grew, "longer") } else { (of - grew, "shorter") };
            out.item(metric, &format!(" is {word} in {count} of {of}, ×{factor:.2} at the median"));
        }
        if !self.moved.is_empty() {
            out.heading("Metrics that changed by more than their spread");
        }
        for Moved { case, metric, unit, from, to, factor } in &self.moved {
            let shown = |spread: &Spread| {
                let value = text::value(spread.median, unit);
                if spread.n > 1 { format!("{value} (n {})", spread.n) } else { value }
            };
            out.item(case, &format!(": {metric} {} → {} (×{factor:.2})", shown(from), shown(to)));
        }
    }
}

/// The text of a comparison, with the marks of its format.
pub(super) struct Rendering {
    pub(super) text: String,
    heading: &'static str,
    bullet: &'static str,
    /// Before and after a name.
    mark: &'static str,
}

impl Rendering {
    pub(super) const fn new(markdown: bool) -> Self {
        let (heading, bullet, mark) = if markdown { ("## ", "- ", "`") } else { ("", "  ", "") };
        Self { text: String::new(), heading, bullet, mark }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    /// The start or the end of lines that Markdown keeps as they are.
    pub(super) fn fence(&mut self) {
        if !self.mark.is_empty() {
            self.line("```");
        }
    }

    pub(super) fn heading(&mut self, title: &str) {
        self.line(&format!("\n{}{title}", self.heading));
    }

    pub(super) fn item(&mut self, name: &str, text: &str) {
        self.line(&format!("{}{mark}{name}{mark}{text}", self.bullet, mark = self.mark));
    }
}

fn cases(count: usize) -> String {
    format!("{count} {}", if count == 1 { "case" } else { "cases" })
}

/// `3 cases passed and now fail`.
fn turn(from: Verdict, to: Verdict, count: usize) -> String {
    let was = match from {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Error => "had an error",
        Verdict::Skip if count == 1 => "was skipped",
        Verdict::Skip => "were skipped",
        Verdict::Xfail => "failed with a known issue",
        Verdict::Flaky if count == 1 => "was flaky",
        Verdict::Flaky => "were flaky",
    };
    let one = count == 1;
    let is = match to {
        Verdict::Pass if one => "passes",
        Verdict::Pass => "pass",
        Verdict::Fail if one => "fails",
        Verdict::Fail => "fail",
        Verdict::Error if one => "has an error",
        Verdict::Error => "have an error",
        Verdict::Skip if one => "is skipped",
        Verdict::Skip => "are skipped",
        Verdict::Xfail if one => "fails with a known issue",
        Verdict::Xfail => "fail with a known issue",
        Verdict::Flaky if one => "is flaky",
        Verdict::Flaky => "are flaky",
    };
    if from == to {
        format!("{}: a different share {is} now", cases(count))
    } else {
        format!("{} {was} and now {is}", cases(count))
    }
}

/// The reasons of the old and the new run.
fn why(from: &Side, to: &Side) -> String {
    let line = |reason: &String| text::fit(&text::one_line(reason), 160).into_owned();
    if let (Some(was), Some(is)) = (&from.rate, &to.rate) {
        let reason = to.reason.as_ref().map(|reason| format!("; {}", line(reason))).unwrap_or_default();
        return format!(": {was}; now {is}{reason}");
    }
    // A current failure is more informative than a past one.
    let reason = if to.verdict == Verdict::Pass { &from.reason } else { &to.reason };
    let lead = if to.verdict == Verdict::Pass && reason.is_some() { "before: " } else { "" };
    reason.as_ref().map(|reason| format!(": {lead}{}", line(reason))).unwrap_or_default()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
