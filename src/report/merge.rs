//! Puts the event streams of shards together into the stream of one run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use super::jsonl::read;
use super::{Case, Fold, text};
use crate::event::{Event, MergedShard, Shard, Verdict, What};

/// The streams of shards, each read once.
#[derive(Debug)]
pub struct Merge {
    runs: Vec<Run>,
    /// Which run has the case of a number.
    chosen: BTreeMap<usize, usize>,
    /// What is to be said of the runs, one line each.
    notes: Vec<String>,
    /// Whether a shard is missing or was cut off.
    is_incomplete: bool,
}

/// The stream of a shard.
#[derive(Debug)]
struct Run {
    folder: PathBuf,
    events: PathBuf,
    header: What,
    shard: Shard,
    began: SystemTime,
    told: MergedShard,
    /// The verdicts of its cases; `None` for one that was cut off.
    cases: BTreeMap<usize, (String, Option<Verdict>)>,
    interrupted: Option<bool>,
    last: f64,
}

impl Run {
    fn read(folder: &Path, events: PathBuf) -> anyhow::Result<Self> {
        let mut stream = read(&events)?;
        let first = stream.next().transpose()?;
        let Some(Event { what: header, .. }) = first else {
            bail!("{} is empty or truncated in its first line", events.display());
        };
        let What::RunStarted { shard: Some(shard), time, host, .. } = &header else {
            bail!("{} was run without --shard", folder.display());
        };
        let began =
            humantime::parse_rfc3339(time).with_context(|| format!("{}: {time}", events.display()))?;
        let told = MergedShard {
            index: shard.index,
            host: host.as_ref().map(|host| host.name.clone()),
            time: time.clone(),
            cases: 0,
            seconds: 0.0,
            cut_off: false,
        };
        let shard = shard.clone();
        let (mut fold, mut cases) = (Fold::default(), BTreeMap::new());
        fold.take(&Event { at: 0.0, case: None, what: header.clone() });
        let mut add = |case: &Case, verdict| cases.insert(case.number, (case.title(), verdict));
        for event in stream {
            if let Some(case) = fold.take(&event?) {
                add(&case, Some(case.verdict()));
            }
        }
        let (interrupted, last) = (fold.interrupted(), fold.last());
        fold.cut_off().iter().for_each(|case| drop(add(case, None)));
        let told = MergedShard { cases: cases.len(), seconds: last, cut_off: interrupted.is_none(), ..told };
        Ok(Self { folder: folder.to_owned(), events, header, shard, began, told, cases, interrupted, last })
    }

    /// The shard as messages name it.
    fn name(&self) -> String {
        let host = self.told.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        format!("shard {} of {}{host} ({})", self.shard.index, self.shard.total, self.folder.display())
    }

    /// Its start by its own clock, and its cases.
    fn summary(&self) -> String {
        let cases = if self.cases.len() == 1 { "case" } else { "cases" };
        format!(
            "{}: {} {cases} in {}, begun {} by its clock",
            self.name(),
            self.cases.len(),
            text::seconds(self.last),
            self.told.time
        )
    }
}

impl Merge {
    /// Reads the event streams of shards, each named by its folder.
    ///
    /// # Errors
    /// When one cannot be read, or they are not shards of the same selection.
    pub fn read(runs: &[(PathBuf, PathBuf)]) -> anyhow::Result<Self> {
        let read = |(folder, events): &(PathBuf, PathBuf)| Run::read(folder, events.clone());
        let mut runs = runs.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let Some(first) = runs.first() else { bail!("name at least one run") };
        let key = |run: &Run| (run.shard.total, run.shard.cases, run.shard.partition.clone());
        if let Some(other) = runs.iter().find(|run| key(run) != key(first)) {
            bail!(
                "{} and {} are not shards of the same run: their selections or durations differ",
                first.name(),
                other.name()
            );
        }
        runs.sort_by_key(|run| (run.shard.index, run.began));
        let mut merge = Self { runs, chosen: BTreeMap::new(), notes: Vec::new(), is_incomplete: false };
        merge.look();
        Ok(merge)
    }

    /// Chooses the run of each case, and notes what is wrong.
    fn look(&mut self) {
        let total = self.runs[0].shard.total;
        let there: BTreeSet<usize> = self.runs.iter().map(|run| run.shard.index).collect();
        for (at, run) in self.runs.iter().enumerate() {
            self.notes.push(run.summary());
            for (number, (title, verdict)) in &run.cases {
                let Some(other) = self.chosen.get(number) else {
                    self.chosen.insert(*number, at);
                    continue;
                };
                let earlier = self.runs[*other].cases[number].1;
                if let (Some(earlier), Some(verdict)) = (earlier, verdict) {
                    let (other, run) = (self.runs[*other].name(), run.name());
                    self.notes.push(format!("{title} ran twice: {earlier} in {other}, {verdict} in {run}"));
                }
                // A verdict counts, and a bad one more than a good one.
                if earlier.is_none()
                    || (verdict.is_some_and(Verdict::is_bad) && !earlier.is_some_and(Verdict::is_bad))
                {
                    self.chosen.insert(*number, at);
                }
            }
        }
        for missing in (1..=total).filter(|index| !there.contains(index)) {
            self.is_incomplete = true;
            self.notes.push(format!("shard {missing} of {total} is missing"));
        }
        for run in self.runs.iter().filter(|run| run.interrupted != Some(false)) {
            let how = if run.interrupted.is_some() { "interrupted" } else { "cut off" };
            // Another run of the shard may have gone on.
            let is_done = self
                .runs
                .iter()
                .any(|other| other.shard.index == run.shard.index && other.interrupted == Some(false));
            self.is_incomplete |= !is_done;
            self.notes.push(format!("{} was {how}", run.name()));
        }
    }

    /// The events of the merged run, for [`super::feed`]. The times are those of the hosts' own clocks.
    pub fn events(&self, command: Vec<String>) -> impl Iterator<Item = Event> {
        let began = self.runs.iter().map(|run| run.began).min().unwrap_or(SystemTime::UNIX_EPOCH);
        let offset = move |run: &Run| run.began.duration_since(began).unwrap_or(Duration::ZERO).as_secs_f64();
        let note = |text: &String| Event { at: 0.0, case: None, what: What::Note { text: text.clone() } };
        let seconds = self.runs.iter().map(|run| offset(run) + run.last).fold(0.0, f64::max);
        let end = Event { at: seconds, case: None, what: What::RunEnded { interrupted: false, seconds } };
        let all = self.runs.iter().enumerate().flat_map(move |(at, run)| self.of_run(at, offset(run)));
        std::iter::once(self.header(command, began))
            .chain(self.notes.iter().map(note))
            .chain(all)
            .chain((!self.is_incomplete).then_some(end))
    }

    /// The events of a run that are in the merged one.
    fn of_run(&self, at: usize, offset: f64) -> impl Iterator<Item = Event> {
        let run = &self.runs[at];
        // It was read before without an error.
        let events = read(&run.events).into_iter().flatten().map_while(Result::ok);
        events.filter_map(move |mut event| {
            if matches!(event.what, What::RunStarted { .. } | What::RunEnded { .. })
                || event.case.is_some_and(|number| self.chosen.get(&number) != Some(&at))
            {
                return None;
            }
            event.at += offset;
            match &mut event.what {
                What::CaseStarted { host, .. } => host.clone_from(&run.told.host),
                What::AttemptEnded { end, .. } | What::CaseEnded(end) => {
                    end.artifacts = end.artifacts.take().map(|path| moved(&run.folder, path));
                }
                What::Trace { emitted: Some(emitted), .. } => *emitted += offset,
                _ => {}
            }
            Some(event)
        })
    }

    fn header(&self, line: Vec<String>, began: SystemTime) -> Event {
        let mut what = self.runs[0].header.clone();
        let mut all = BTreeSet::new();
        for run in &self.runs {
            if let What::RunStarted { qemus, .. } = &run.header {
                all.extend(qemus.iter().cloned());
            }
        }
        if let What::RunStarted { time, cases, command, host, qemus, shard, shards, .. } = &mut what {
            *time = humantime::format_rfc3339_seconds(began).to_string();
            // With `--repeat N`, each shard has its cases N times.
            let last = self.chosen.last_key_value().map_or(0, |(number, _)| *number);
            *cases = self.runs[0].shard.cases * (last / self.runs[0].shard.cases.max(1) + 1);
            (*command, *host, *shard) = (line, None, None);
            *qemus = all.into_iter().collect();
            *shards = self.runs.iter().map(|run| run.told.clone()).collect();
        }
        Event { at: 0.0, case: None, what }
    }
}

/// Where artifacts are now: in the folder of their run, which may have been moved.
fn moved(folder: &Path, path: PathBuf) -> PathBuf {
    let parts: Vec<_> = path.components().collect();
    let tails = (0..parts.len()).map(|from| folder.join(parts[from..].iter().collect::<PathBuf>()));
    let found = tails.filter(|tail| !path.is_absolute() || tail != &path).find(|tail| tail.is_dir());
    found.unwrap_or(path)
}
