//! `durations.json`: how long each case took in the last runs, to balance shards by time. It can be committed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::jsonl::read;
use super::{Case, Fold, file};
use crate::event::{Event, Subscriber, Verdict};
use crate::repository::Repository;

/// The seconds of each case, by its file and its title (the name, and the QEMU if there are several).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Durations(BTreeMap<String, BTreeMap<String, f64>>);

/// The name of a file in the durations: its path in the repository.
#[must_use]
pub fn file_name(repository: &Repository, file: &str) -> String {
    repository.inside(Path::new(file)).map_or_else(|| file.to_owned(), |inside| inside.display().to_string())
}

impl Durations {
    /// The name of the file in the reports directory.
    pub const NAME: &str = "durations.json";

    /// Reads a file of durations, an event stream, or a directory with one of them.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let inside = |name: &str| Some(path.join(name)).filter(|file| file.is_file());
        let found = if path.is_dir() {
            inside(Self::NAME).or_else(|| inside("events.jsonl")).with_context(|| {
                format!("{} is not the reports directory of a run: it has no events.jsonl", path.display())
            })?
        } else {
            path.to_owned()
        };
        if found.extension().is_some_and(|extension| extension == "json") {
            Self::of_file(&found)
        } else {
            Self::of_run(&found)
        }
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a file of durations", path.display()))?;
        if let Some((name, seconds)) = parsed.0.values().flatten().find(|(_, seconds)| **seconds < 0.0) {
            bail!("{}: `{name}` has {seconds} seconds, which is not a duration", path.display());
        }
        Ok(parsed)
    }

    fn of_run(path: &Path) -> anyhow::Result<Self> {
        let (mut fold, mut told) = (Fold::default(), Taken::default());
        for event in read(path)?.only(&["case_started", "case_ended"]) {
            if let Some(case) = fold.take(&event?) {
                told.add(&case);
            }
        }
        Ok(told.into_durations(Self::default()))
    }

    /// The seconds of a case; the file as [`file_name`] says.
    #[must_use]
    pub fn of(&self, file: &str, title: &str) -> Option<f64> {
        self.0.get(file)?.get(title).copied()
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut out = file::beside(path)?;
        out.write_all((serde_json::to_string_pretty(self)? + "\n").as_bytes())?;
        out.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

/// What the cases of a run took.
#[derive(Debug, Default)]
struct Taken {
    /// The sum over the rounds and the number of rounds, by file and title; whether the case was skipped.
    cases: BTreeMap<(String, String), (f64, f64, bool)>,
}

impl Taken {
    fn add(&mut self, case: &Case) {
        // An error says little about the time that the case takes.
        let Some(end) = case.end.as_ref().filter(|end| end.verdict != Verdict::Error) else {
            return;
        };
        let title = Case { round: None, ..case.clone() }.title();
        let file = file_name(&Repository::here(), &case.file);
        let (sum, count, skipped) = self.cases.entry((file, title)).or_default();
        *sum += end.seconds;
        *count += 1.0;
        *skipped = end.verdict == Verdict::Skip;
    }

    /// Adds them to earlier ones. A case that was skipped keeps what it took elsewhere.
    fn into_durations(self, mut earlier: Durations) -> Durations {
        for ((file, title), (sum, count, skipped)) in self.cases {
            let seconds = (sum / count * 100.0).round() / 100.0;
            let cases = earlier.0.entry(file).or_default();
            if skipped {
                cases.entry(title).or_insert(seconds);
            } else {
                cases.insert(title, seconds);
            }
        }
        earlier
    }
}

/// Writes `durations.json` when the stream ends: what is in it, and what the cases of this run took.
#[derive(Debug)]
pub struct DurationsFile {
    path: PathBuf,
    fold: Fold,
    taken: Taken,
}

impl DurationsFile {
    /// The file to be written.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fold: Fold::default(), taken: Taken::default() }
    }
}

impl Subscriber for DurationsFile {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Some(case) = self.fold.take(event) {
            self.taken.add(&case);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let earlier = if self.path.exists() { Durations::of_file(&self.path)? } else { Durations::default() };
        let durations = std::mem::take(&mut self.taken).into_durations(earlier);
        durations.write(&self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::report::sample;
    use crate::shard::{Weights, partition};

    #[test]
    fn a_run_adds_what_its_cases_took_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports/durations.json");
        let add = |events: Vec<Event>| {
            let mut file = DurationsFile::new(&path);
            events.iter().for_each(|event| file.take(event).unwrap());
            file.finish().unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let one = |case: usize, name: &str, verdict: Verdict, seconds: f64| {
            [sample::started(case, name, "./x/../b.yaml"), sample::ended(case, verdict, None, seconds)]
        };
        let first = [
            one(0, "b", Verdict::Pass, 2.0),
            one(1, "a", Verdict::Fail, 1.004),
            one(2, "c", Verdict::Skip, 0.0),
        ];
        let text = add(first.concat());
        assert_eq!(text, "{\n  \"b.yaml\": {\n    \"a\": 1.0,\n    \"b\": 2.0,\n    \"c\": 0.0\n  }\n}\n");
        // Skips and errors do not replace what is known.
        let next = [
            one(0, "b", Verdict::Skip, 0.0),
            one(1, "a", Verdict::Error, 9.0),
            one(2, "c", Verdict::Pass, 3.0),
        ];
        assert_eq!(add(next.concat()), text.replace("\"c\": 0.0", "\"c\": 3.0"));
        let read = Durations::read(&folder.path().join("reports")).unwrap();
        assert_eq!(
            (read.of("b.yaml", "b"), read.of("b.yaml", "d"), read.of("d", "b")),
            (Some(2.0), None, None)
        );
    }

    #[test]
    fn the_rounds_of_a_case_count_as_their_mean() {
        let mut events = Vec::new();
        for (number, seconds) in [1.0, 2.0].into_iter().enumerate() {
            let mut began = sample::started(number, "a", "a.yaml");
            if let What::CaseStarted { round, qemu, .. } = &mut began.what {
                (*round, *qemu) = (Some(number + 1), Some("old".into()));
            }
            events.extend([began, sample::ended(number, Verdict::Pass, None, seconds)]);
        }
        let mut taken = Taken::default();
        let mut fold = Fold::default();
        events.iter().filter_map(|event| fold.take(event)).for_each(|case| taken.add(&case));
        assert_eq!(taken.into_durations(Durations::default()).of("a.yaml", "a on old"), Some(1.5));
    }

    #[test]
    fn what_is_neither_durations_nor_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let error = |path: &Path| format!("{:#}", Durations::read(path).unwrap_err());
        assert!(
            error(folder.path()).ends_with("is not the reports directory of a run: it has no events.jsonl")
        );
        assert!(error(&put("a.json", "[1]")).contains("a.json is not a file of durations: "));
        assert!(error(&put("b.json", r#"{"f": {"x": -1}}"#)).contains("`x` has -1 seconds"));
        assert!(error(&put("c.jsonl", "{}\n")).contains("c.jsonl"));
        assert!(error(&folder.path().join("none.json")).contains("cannot read"));
    }

    /// The table in `docs/scale.md`.
    #[test]
    fn the_shipped_suite_is_divided_within_a_tenth_of_the_best_possible() {
        let durations = Durations::read(Path::new("tests/data/durations.json")).unwrap();
        let cases: Vec<(&str, Option<f64>)> = durations
            .0
            .iter()
            .flat_map(|(file, cases)| cases.values().map(|seconds| (file.as_str(), Some(*seconds))))
            .collect();
        let weights = Weights::of(&cases);
        let mut table = "| shards | longest shard | best possible | excess |\n|---|---|---|---|\n".to_owned();
        for shards in [2, 4, 8, 16, 32, 64] {
            let mut loads = vec![0; shards];
            for (shard, weight) in partition(&weights, shards).into_iter().zip(&weights.0) {
                loads[shard] += weight;
            }
            let (longest, bound) = (loads.into_iter().max().unwrap(), weights.bound(shards));
            assert!(longest * 10 <= bound * 11, "{shards}: {longest} ms, at best {bound} ms");
            let excess = (longest - bound) as f64 * 100.0 / bound as f64;
            let [longest, bound] = [longest, bound].map(|time| time as f64 / 1000.0);
            table.push_str(&format!("| {shards} | {longest:.1} s | {bound:.1} s | {excess:.1} % |\n"));
        }
        let docs = std::fs::read_to_string("docs/scale.md").unwrap();
        assert!(docs.contains(&table), "docs/scale.md must have this table:\n{table}");
    }
}
