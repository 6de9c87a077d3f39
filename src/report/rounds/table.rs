//! The marks of all rounds of a case in one table: one column for each occurrence of a mark.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::marks::{Id, Names, Step};
use super::set::Set;
use super::{Align, Round};

/// How many occurrences of a mark are columns: from the start, and on each side of the alignment.
const FROM_START: usize = 4;
const BESIDE: usize = 3;
/// The maximum number of columns: the nearest to the failures.
const COLUMNS: usize = 200;

/// The rounds of a case, aligned.
pub(super) struct Table<'r> {
    pub names: &'r Names,
    pub rounds: &'r [&'r Round],
    pub failing: Set,
    pub columns: Vec<Column>,
    /// When each round reached the mark at which it is aligned, in seconds since its start.
    pub origins: Vec<f64>,
    /// When the step that fails started, relative to the alignment; in rounds that passed, a step that fails in others.
    pub ends: Vec<f64>,
    /// The steps that failed, by the name of their start and how many with that name had started.
    steps: HashMap<(Id, usize), Passed>,
    /// The names of each round with occurrences that are left out.
    left_out: Vec<HashSet<Id>>,
}

/// A step that failed, in the rounds that passed.
struct Passed {
    /// When it started in each round, in seconds since its start; NaN where it did not, and for failing rounds.
    began: Vec<f64>,
    /// The longest that it took; infinite if it never ended.
    longest: f64,
}

/// An occurrence of a mark in each round.
pub(super) struct Column {
    pub name: Id,
    pub label: String,
    /// The time in each round, relative to the alignment; NaN where it is missing.
    pub times: Vec<f64>,
    /// Its median.
    pub usual: f64,
}

impl Column {
    /// The earliest and the latest time.
    pub(super) fn extent(&self) -> (f64, f64) {
        let times = self.times.iter().filter(|at| at.is_finite());
        times.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(*at), high.max(*at)))
    }
}

/// Which occurrence of a mark, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Before(usize),
    After(usize),
    FromStart(usize),
}

impl<'r> Table<'r> {
    pub(super) fn new(names: &'r Names, rounds: &'r [&'r Round], align: Align) -> Self {
        let failing = Set::of(rounds.len(), |round| rounds[round].failed);
        let found: Vec<Option<f64>> = rounds.iter().map(|round| round.origin(names, align)).collect();
        let usual = median(found.iter().flatten().copied()).unwrap_or_default();
        let origins: Vec<f64> = found.iter().map(|at| at.unwrap_or(usual)).collect();
        let mut failed: BTreeMap<(Id, usize), (usize, Step)> = BTreeMap::new();
        for step in rounds.iter().filter(|round| round.failed).filter_map(|round| round.failure.step) {
            failed.entry((step.marks[0], step.count)).or_insert((0, step)).0 += 1;
        }
        let steps: HashMap<_, _> =
            failed.iter().map(|(key, (_, step))| (*key, Passed::new(rounds, step))).collect();
        let most = failed.iter().max_by_key(|(_, (count, _))| *count).and_then(|(key, _)| steps.get(key));
        let end = |number: usize| match rounds[number] {
            Round { failed: true, failure, .. } => failure.step.map_or(failure.at, |step| step.began),
            _ => most.map_or(f64::NAN, |step| step.began[number]),
        };
        let ends = (0..rounds.len()).map(|number| end(number) - origins[number]).collect();
        let (columns, left_out) = (Vec::new(), Vec::new());
        let mut table = Self { names, rounds, failing, columns, origins, ends, steps, left_out };
        table.fill(&found, align);
        table
    }

    fn fill(&mut self, found: &[Option<f64>], align: Align) {
        let least = self.least();
        let used: Vec<_> = self.rounds.iter().map(|round| self.used(round, &least)).collect();
        let (used, left_out): (Vec<BTreeMap<Id, Vec<f64>>>, _) = used.into_iter().unzip();
        self.left_out = left_out;
        let repeated: HashSet<Id> =
            used.iter().flatten().filter_map(|(name, times)| (times.len() > 1).then_some(*name)).collect();
        let mut columns: BTreeMap<(Id, Which), Vec<f64>> = BTreeMap::new();
        for (round, marks) in used.iter().enumerate() {
            for (name, times) in marks {
                let origin = found[round].filter(|_| align != Align::Start && repeated.contains(name));
                for (which, at) in occurrences(times, origin) {
                    let column = columns.entry((*name, which)).or_insert_with(|| vec![f64::NAN; used.len()]);
                    column[round] = at - self.origins[round];
                }
            }
        }
        let mut known: HashSet<Vec<u64>> = HashSet::new();
        let mut all = Vec::new();
        for ((name, which), times) in columns {
            // The second one from the start may be the last one before the alignment in all rounds.
            if known.insert(times.iter().map(|at| at.to_bits()).collect()) {
                let (text, _) = self.names.get(name);
                let label = if repeated.contains(&name) { which.label(text, align) } else { text.to_owned() };
                let usual = median(times.iter().copied()).unwrap_or_default();
                all.push(Column { name, label, times, usual });
            }
        }
        let failures = self.rounds.iter().zip(&self.origins).filter(|(round, _)| round.failed);
        let end = median(failures.map(|(round, origin)| round.failure.at - origin)).unwrap_or_default();
        all.sort_by(|one, other| (one.usual - end).abs().total_cmp(&(other.usual - end).abs()));
        all.truncate(COLUMNS);
        all.sort_by(|one, other| one.usual.total_cmp(&other.usual));
        self.columns = all;
    }

    /// How often each mark occurs at least in a round that passed.
    fn least(&self) -> HashMap<Id, usize> {
        let passing: Vec<HashMap<Id, usize>> =
            self.rounds.iter().filter(|round| !round.failed).map(|round| round.counts()).collect();
        let names: HashSet<Id> = passing.iter().flat_map(|counts| counts.keys().copied()).collect();
        let least = |name| passing.iter().map(|counts| counts.get(name).copied().unwrap_or(0)).min();
        names.iter().filter_map(|name| Some((*name, least(name)?))).collect()
    }

    /// The times of each mark of a round that can say something about its failure, and the names of the others. A step
    /// that fails by a timeout takes longer than one that succeeds; what is repeated meanwhile is repeated more often,
    /// which is a consequence.
    fn used(&self, round: &Round, least: &HashMap<Id, usize>) -> (BTreeMap<Id, Vec<f64>>, HashSet<Id>) {
        let step = round.failure.step.filter(|_| round.failed);
        let end =
            step.and_then(|step| Some(step.began + self.steps.get(&(step.marks[0], step.count))?.longest));
        let end = end.unwrap_or(f64::INFINITY);
        let mut used: BTreeMap<Id, Vec<f64>> = BTreeMap::new();
        let mut left_out = HashSet::new();
        for mark in &round.marks {
            let times = used.entry(mark.name).or_default();
            if mark.at <= end || least.get(&mark.name).is_none_or(|least| times.len() < *least) {
                times.push(mark.at);
            } else {
                left_out.insert(mark.name);
            }
        }
        used.retain(|_, times| !times.is_empty());
        (used, left_out)
    }

    /// Whether a round got to a step before which this column always comes, without it.
    pub(super) fn is_missing(&self, column: &Column, round: usize) -> bool {
        column.times[round].is_nan()
            && match (self.rounds[round].failed, self.rounds[round].failure.step) {
                (false, _) => true,
                (true, Some(step)) => {
                    !self.left_out[round].contains(&column.name) && self.is_before(column, &step)
                }
                (true, None) => false,
            }
    }

    /// Whether this column comes before this step starts in each round that passed and has both.
    fn is_before(&self, column: &Column, step: &Step) -> bool {
        let Some(Passed { began, .. }) = self.steps.get(&(step.marks[0], step.count)) else { return false };
        let ahead = began
            .iter()
            .zip(&column.times)
            .zip(&self.origins)
            .map(|((began, at), origin)| began - (at + origin));
        let mut ahead = ahead.filter(|ahead| ahead.is_finite()).peekable();
        ahead.peek().is_some() && ahead.all(|ahead| ahead > 0.0)
    }
}

impl Passed {
    fn new(rounds: &[&Round], step: &Step) -> Self {
        let nth = |round: &Round, end: usize| {
            let at = if round.failed { None } else { round.nth(step.marks[end], step.count) };
            at.unwrap_or(f64::NAN)
        };
        let began: Vec<f64> = rounds.iter().map(|round| nth(round, 0)).collect();
        let took = rounds.iter().zip(&began).map(|(round, began)| nth(round, 1) - began);
        let longest = took.filter(|took| took.is_finite()).max_by(f64::total_cmp).unwrap_or(f64::INFINITY);
        Self { began, longest }
    }
}

/// The occurrences of a mark that are columns.
fn occurrences(times: &[f64], origin: Option<f64>) -> Vec<(Which, f64)> {
    let mut all: Vec<(Which, f64)> = Vec::new();
    if let Some(origin) = origin {
        let (before, after) = times.split_at(times.partition_point(|at| *at < origin));
        all.extend(before.iter().rev().take(BESIDE).zip(1..).map(|(at, count)| (Which::Before(count), *at)));
        all.extend(after.iter().take(BESIDE).zip(1..).map(|(at, count)| (Which::After(count), *at)));
    }
    all.extend(times.iter().take(FROM_START).zip(1..).map(|(at, count)| (Which::FromStart(count), *at)));
    all
}

impl Which {
    fn label(self, name: &str, align: Align) -> String {
        // `the exit of …` and `the first exit of …`.
        let bare = name.strip_prefix("the ").unwrap_or(name);
        match self {
            Self::Before(1) => format!("the last {bare} before {align}"),
            Self::Before(count) => format!("the {}last {bare} before {align}", ordinal(count)),
            Self::After(count) => format!("the {}{bare} after {align}", ordinal(count)),
            Self::FromStart(count) => format!("the {}{bare}", ordinal(count)),
        }
    }
}

fn ordinal(count: usize) -> String {
    match count {
        1 => "first ".to_owned(),
        2 => "second ".to_owned(),
        3 => "third ".to_owned(),
        count => format!("{count}th "),
    }
}

/// The median of some values; NaN does not count.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The columns of each VM, link and client and of the steps, each in their usual order, and then all of them.
pub(super) fn lanes(table: &Table<'_>) -> Vec<Vec<usize>> {
    let mut lanes: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, column) in table.columns.iter().enumerate() {
        lanes.entry(&table.names.get(column.name).1.lane).or_default().push(number);
    }
    let mut lanes: Vec<Vec<usize>> = lanes.into_values().collect();
    lanes.push((0..table.columns.len()).collect());
    lanes.sort();
    lanes
}
