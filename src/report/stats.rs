//! Statistics over a run: failure rates, metrics over the rounds, kinds of failures.

use indexmap::IndexMap;

use crate::cause::CauseKind;
use crate::event::{CaseEnd, Spread, Verdict};
use crate::report::races::Races;
use crate::report::record::{Case, Counts, Metric};
use crate::report::signature::signature;
use crate::report::text;

/// How many values of a metric are kept per case, for very long runs.
const KEPT: usize = 10_000;

/// The statistics of all cases.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// The cases by name and QEMU, in the order they ended.
    pub cases: IndexMap<(String, Option<String>), Repeated>,
    /// The failures by their signature.
    pub failures: IndexMap<String, Kind>,
    /// How many cases ran.
    pub ran: usize,
    /// The intermittent known issues.
    pub races: Races,
}

/// One case in all its rounds.
#[derive(Debug, Clone, Default)]
pub struct Repeated {
    /// The verdicts of its rounds.
    pub counts: Counts,
    /// The reason of the first round that did not pass.
    pub reason: Option<String>,
    /// The kind of that round's cause.
    pub cause: Option<CauseKind>,
    /// The seconds of each round that ran.
    pub seconds: Vec<f64>,
    /// The values of each metric, by name and VM.
    pub metrics: IndexMap<(String, Option<String>), Measured>,
}

/// The values of a metric.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Its unit.
    pub unit: String,
    /// One value for each round.
    pub values: Vec<f64>,
    /// The smallest and largest value within one round, if it was measured repeatedly.
    pub within: Option<(f64, f64)>,
}

/// Failures of one kind.
#[derive(Debug, Clone)]
pub struct Kind {
    /// How often it occurred.
    pub count: usize,
    /// The first case in which it occurred.
    pub example: Example,
    /// How often each case failed this way.
    pub cases: IndexMap<String, usize>,
}

/// One failure of a kind.
#[derive(Debug, Clone)]
pub struct Example {
    /// The case's number.
    pub number: usize,
    /// Its name, with its QEMU and round.
    pub title: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The whole reason.
    pub reason: String,
    /// The place.
    pub place: Option<String>,
}

impl Stats {
    /// Adds a finished case.
    pub fn add(&mut self, case: &Case) {
        let verdict = case.verdict();
        let known = self.cases.entry((case.name.clone(), case.qemu.clone())).or_default();
        known.counts.add(verdict);
        if verdict != Verdict::Pass && known.reason.is_none() {
            known.cause = case.end.as_ref().and_then(|end| end.cause.as_ref()).map(|cause| cause.kind);
            known.reason = case.reason().map(|reason| text::cut(reason, text::LINE_LIMIT).into_owned());
        }
        if verdict != Verdict::Skip {
            self.ran += 1;
            if known.seconds.len() < KEPT {
                known.seconds.extend(case.end.as_ref().map(|end| end.seconds));
            }
        }
        case.metrics.iter().for_each(|metric| known.measured(metric));
        self.races.add(case);
        if verdict.is_bad() || verdict == Verdict::Flaky {
            self.failed(case, verdict);
        }
    }

    fn failed(&mut self, case: &Case, verdict: Verdict) {
        let failed = failure(case);
        let reason = failed.and_then(|end| end.reason.clone()).unwrap_or_default();
        let place = failed.and_then(|end| end.place.clone());
        let kind = self.failures.entry(signature_of(case)).or_insert_with(|| Kind {
            count: 0,
            example: Example { number: case.number, title: case.title(), verdict, reason, place },
            cases: IndexMap::new(),
        });
        kind.count += 1;
        *kind.cases.entry(case.name.clone()).or_default() += 1;
    }

    /// The kinds of failures, the most frequent first.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&str, &Kind)> {
        let mut kinds: Vec<_> = self.failures.iter().map(|(name, kind)| (name.as_str(), kind)).collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
        kinds
    }

    /// How often a kind of failure occurred. Only the runs of one case have a rate: different cases are not samples of
    /// the same thing.
    #[must_use]
    pub fn often(&self, kind: &Kind) -> String {
        let mut cases =
            self.cases.iter().filter(|((name, _), case)| kind.cases.contains_key(name) && case.ran() > 0);
        match (cases.next(), cases.next()) {
            (Some((_, case)), None) if case.ran() > 1 => rate(kind.count, case.ran()),
            _ => format!("{} of {} failed", kind.count, self.ran),
        }
    }

    /// The cases that ran more than once.
    pub fn repeated(&self) -> impl Iterator<Item = (String, &Repeated)> {
        self.cases.iter().filter(|(_, case)| case.counts.total() > 1).map(|((name, qemu), case)| {
            (qemu.as_ref().map_or_else(|| name.clone(), |qemu| format!("{name} on {qemu}")), case)
        })
    }
}

impl Repeated {
    fn measured(&mut self, metric: &Metric) {
        let known = self.metrics.entry((metric.name.clone(), metric.vm.clone())).or_default();
        known.unit.clone_from(&metric.unit);
        if known.values.len() < KEPT && metric.value.is_finite() {
            known.values.push(metric.value);
        }
        if let Some(Spread { min, max, .. }) = metric.spread {
            let (low, high) = known.within.unwrap_or((min, max));
            known.within = Some((low.min(min), high.max(max)));
        }
    }

    /// How many of the rounds that ran did not pass.
    #[must_use]
    pub const fn failed(&self) -> usize {
        let Counts { fail, error, xfail, flaky, .. } = self.counts;
        fail + error + xfail + flaky
    }

    /// How many rounds ran.
    #[must_use]
    pub const fn ran(&self) -> usize {
        self.counts.total() - self.counts.skip
    }

    /// The failure rate as text, with its confidence interval.
    #[must_use]
    pub fn rate(&self) -> String {
        rate(self.failed(), self.ran())
    }

    /// The worst verdict.
    #[must_use]
    pub const fn worst(&self) -> Verdict {
        match self.counts {
            Counts { fail: 1.., .. } => Verdict::Fail,
            Counts { error: 1.., .. } => Verdict::Error,
            Counts { flaky: 1.., .. } => Verdict::Flaky,
            Counts { xfail: 1.., .. } => Verdict::Xfail,
            Counts { pass: 1.., .. } => Verdict::Pass,
            _ => Verdict::Skip,
        }
    }
}

impl Measured {
    /// The spread over the rounds.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&mut self.values.clone())
    }

    /// The spread in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(Spread { n, min, median, p95, max }) = self.spread() else { return "no value".to_owned() };
        let unit = &self.unit;
        let [min, median, p95, max] = [min, median, p95, max].map(|value| text::value(value, unit));
        format!("median {median} (n {n}, min {min}, p95 {p95}, max {max})")
    }
}

/// `3 of 20 failed: 15 % (95 %: 5.2 to 36 %)`.
#[must_use]
pub fn rate(failed: usize, of: usize) -> String {
    if of == 0 {
        return "none ran".to_owned();
    }
    let (low, high) = wilson(failed, of);
    let percent = |share: f64| {
        let share = share * 100.0;
        let decimals = usize::from(share < 10.0 && share > 0.0);
        format!("{share:.decimals$}")
    };
    format!(
        "{failed} of {of} failed: {} % (95 %: {} to {} %)",
        percent(failed as f64 / of as f64),
        percent(low),
        percent(high)
    )
}

/// The 95 % confidence interval of a rate, by Wilson's score; also good for few runs and rare failures.
#[must_use]
pub fn wilson(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    // The quantile of the normal distribution that leaves 2.5 % on each side.
    let z = 1.959_964_f64;
    let (hits, n) = (hits as f64, of as f64);
    let share = hits / n;
    let square = z * z / n;
    let centre = (share + square / 2.0) / (1.0 + square);
    let half = z / (1.0 + square) * (share * (1.0 - share) / n + square / (4.0 * n)).sqrt();
    // Avoid rounding errors such as 1e-17 at the ends.
    let low = if hits == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits >= n { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// The failure of a case. A flaky case failed like its first attempt.
fn failure(case: &Case) -> Option<&CaseEnd> {
    case.attempts.first().next().filter(|_| case.verdict() == Verdict::Flaky).or(case.end.as_ref())
}

/// The signature of the failure of a case.
#[must_use]
pub fn signature_of(case: &Case) -> String {
    let failed = failure(case);
    let reason = failed.and_then(|end| end.reason.as_deref()).unwrap_or_default();
    signature(failed.and_then(|end| end.cause.as_ref()), reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::report::{Fold, sample};

    fn stats() -> Stats {
        let (mut fold, mut stats) = (Fold::default(), Stats::default());
        for event in sample::run() {
            if let Some(case) = fold.take(&event) {
                stats.add(&case);
            }
        }
        stats
    }

    #[test]
    fn the_interval_of_a_rate_equals_published_values() {
        // Values worked out by hand from the formula, and known from tables: 0 of 20 and 10 of 20.
        let rounded = |(low, high): (f64, f64)| [low, high].map(|share| (share * 1000.0).round() as u32);
        assert_eq!(rounded(wilson(0, 20)), [0, 161]);
        assert_eq!(rounded(wilson(10, 20)), [299, 701]);
        assert_eq!(rounded(wilson(20, 20)), [839, 1000]);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn a_rate_is_shown_with_its_interval() {
        assert_eq!(rate(0, 20), "0 of 20 failed: 0 % (95 %: 0 to 16 %)");
        assert_eq!(rate(3, 20), "3 of 20 failed: 15 % (95 %: 5.2 to 36 %)");
        assert_eq!(rate(0, 0), "none ran");
    }

    #[test]
    fn a_kind_of_failure_has_a_rate_only_among_runs_of_one_case() {
        let of = |cases: &[(&str, Option<&str>, Verdict)]| {
            let (mut fold, mut stats) = (Fold::default(), Stats::default());
            for (number, (name, on, verdict)) in cases.iter().enumerate() {
                let mut began = sample::started(number, name, "a.yaml");
                if let What::CaseStarted { qemu, .. } = &mut began.what {
                    *qemu = on.map(str::to_owned);
                }
                fold.take(&began);
                stats.add(&fold.take(&sample::ended(number, *verdict, Some("no"), 1.0)).unwrap());
            }
            stats.often(stats.kinds()[0].1)
        };
        use Verdict::{Fail, Pass, Skip};
        let once = [("a", None, Fail), ("b", None, Pass), ("c", None, Skip)];
        assert_eq!(of(&once), "1 of 2 failed");
        let rounds = [("a", None, Fail), ("b", None, Pass), ("a", None, Pass), ("b", None, Pass)];
        assert_eq!(of(&rounds), "1 of 2 failed: 50 % (95 %: 9.5 to 91 %)", "only the runs of `a` count");
        let both = [("a", None, Fail), ("b", None, Fail), ("a", None, Pass), ("b", None, Pass)];
        assert_eq!(of(&both), "2 of 4 failed");
        let qemus = [("a", Some("old"), Fail), ("a", Some("new"), Pass)];
        assert_eq!(of(&qemus), "1 of 2 failed");
    }

    #[test]
    fn failures_are_grouped_by_their_message() {
        let stats = stats();
        let kinds: Vec<_> =
            stats.kinds().iter().map(|(name, kind)| ((*name).to_owned(), kind.count)).collect();
        assert_eq!(
            kinds,
            [
                ("secondary: no event STOP within TIME".to_owned(), 1),
                ("qemu-system-x86_64: no such program".to_owned(), 1)
            ]
        );
        assert_eq!((stats.ran, stats.repeated().count()), (4, 0));
    }

    #[test]
    fn the_rounds_of_a_case_are_counted_together_with_their_values() {
        let (mut fold, mut stats) = (Fold::default(), Stats::default());
        for number in 0..3 {
            fold.take(&sample::started(number, "again", "a.yaml"));
            fold.take(&sample::metric(number, "failover", 0.1 * (number + 1) as f64));
            let verdict = if number == 1 { Verdict::Fail } else { Verdict::Pass };
            stats.add(&fold.take(&sample::ended(number, verdict, Some("no"), 1.0)).unwrap());
        }
        let (name, case) = stats.repeated().next().unwrap();
        assert_eq!(
            (name.as_str(), case.rate().as_str()),
            ("again", "1 of 3 failed: 33 % (95 %: 6.1 to 79 %)")
        );
        let summaries: Vec<String> = case.metrics.values().map(Measured::summary).collect();
        assert_eq!(summaries, ["median 200 ms (n 3, min 100 ms, p95 300 ms, max 300 ms)"]);
    }
}
