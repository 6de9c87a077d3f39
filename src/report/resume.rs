//! The part of a run that was before it was cut off, to continue it.

use std::collections::BTreeSet;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::earlier::remove_artifacts_of;
use super::jsonl::{Reader, check_idle, read};
use super::{Summary, feed, file, text};
use crate::event::{CaseEnd, Event, Verdict, What};

/// The events of a run that was cut off.
#[derive(Debug)]
pub struct Earlier {
    reports: PathBuf,
    events: PathBuf,
    /// The first event.
    header: What,
    done: BTreeSet<usize>,
    has_ended: bool,
    last: f64,
}

impl Earlier {
    /// Reads the events in a reports directory.
    ///
    /// # Errors
    /// When they cannot be read, or the run has not ended.
    pub fn read(reports: &Path) -> anyhow::Result<Self> {
        let events = reports.join("events.jsonl");
        let mut stream = read(&events)?;
        check_idle(&events).with_context(|| format!("cannot continue the run in {}", reports.display()))?;
        let Some(first) = stream.next().transpose()? else {
            bail!("{} is empty or truncated in its first line", events.display());
        };
        let mut earlier = Self {
            reports: reports.to_owned(),
            events,
            header: first.what,
            done: BTreeSet::new(),
            has_ended: false,
            last: 0.0,
        };
        for event in stream {
            let Event { at, case, what } = event?;
            earlier.last = earlier.last.max(at);
            match (what, case) {
                (What::RunEnded { .. }, _) => earlier.has_ended = true,
                (What::CaseEnded(end), Some(number)) if !is_interrupted(&end) => {
                    earlier.done.insert(number);
                }
                _ => {}
            }
        }
        Ok(earlier)
    }

    /// The seed of the run.
    #[must_use]
    pub const fn seed(&self) -> Option<u64> {
        match self.header {
            What::RunStarted { seed, .. } => seed,
            _ => None,
        }
    }

    /// The numbers of the cases that have a verdict.
    #[must_use]
    pub const fn done(&self) -> &BTreeSet<usize> {
        &self.done
    }

    /// The result of the run, if it has ended and each case has a verdict.
    ///
    /// # Errors
    /// When the events cannot be read.
    pub fn finished(&self) -> anyhow::Result<Option<Summary>> {
        let What::RunStarted { cases, .. } = self.header else { return Ok(None) };
        if !self.has_ended || self.done.len() < cases {
            return Ok(None);
        }
        Ok(Some(feed(read(&self.events)?.map_while(Result::ok), Vec::new())))
    }

    /// Checks that a run with this first event is the same run.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, now: &What) -> anyhow::Result<()> {
        let (earlier, now) = (serde_json::to_value(&self.header)?, serde_json::to_value(now)?);
        if earlier.get("shards").is_some() {
            bail!("{} is from `lockstep merge`; continue the shards", self.events.display());
        }
        if earlier.get("selection").is_none() {
            bail!("{} is from a Lockstep without --resume", self.events.display());
        }
        for (at, what) in [
            ("/options", "options"),
            ("/qemus", "QEMUs"),
            ("/shard/index", "parts of --shard"),
            ("/shard/total", "numbers of shards"),
            ("/shard/partition", "partitions of --shard, by cases and --durations,"),
            ("/cases", "numbers of cases, all rounds counted,"),
        ] {
            let (earlier, now) = (earlier.pointer(at), now.pointer(at));
            if earlier != now {
                let (earlier, now) = (shown(earlier), shown(now));
                bail!("the {what} of the earlier run and of this one differ: {earlier}, and {now}");
            }
        }
        if earlier["selection"] != now["selection"] {
            bail!("the cases or parameters of the earlier run and of this one differ");
        }
        Ok(())
    }

    /// Removes from the file what belongs to cases without a verdict, and the end of the run; and their artifacts. Returns
    /// the events that remain, how many they are, and how long ago the run started.
    ///
    /// # Errors
    /// When a file cannot be read or written; `events.jsonl` is whole in any case.
    pub fn prepare(self) -> anyhow::Result<(impl Iterator<Item = Event> + Send + 'static, usize, Duration)> {
        let Self { reports, events, header, done, last, .. } = self;
        let write = || -> anyhow::Result<(u64, usize)> {
            let mut out = BufWriter::new(file::beside(&events)?);
            let mut count = 0;
            for event in read(&events)? {
                let event = event?;
                let is_kept = event.case.is_none_or(|number| done.contains(&number));
                if is_kept && !matches!(event.what, What::RunEnded { .. }) {
                    serde_json::to_writer(&mut out, &event)?;
                    out.write_all(b"\n")?;
                    count += 1;
                }
            }
            remove_artifacts_of(&reports, |case| case.is_some_and(|number| !done.contains(&number)))?;
            let whole = out.into_inner()?;
            whole.as_file().sync_all()?;
            let size = whole.as_file().metadata()?.len();
            whole.persist(&events).map_err(|failed| failed.error)?;
            Ok((size, count))
        };
        let (size, count) = write().with_context(|| format!("cannot continue {}", events.display()))?;
        let input = std::fs::File::open(&events)?.take(size);
        let kept = Reader::new(&events, BufReader::new(input)).map_while(Result::ok);
        Ok((kept, count, ago(&header, last)))
    }
}

/// Whether the case was ended by the end of its run, so that it has no verdict of its own.
fn is_interrupted(end: &CaseEnd) -> bool {
    let is_so = |why: &String| why.starts_with("interrupted by SIG");
    end.verdict == Verdict::Error && end.reason.as_ref().is_some_and(is_so)
}

/// A part of the first event, in one line.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text::one_line(text),
        Some(Value::Array(items)) => items.iter().map(|item| shown(Some(item))).collect::<Vec<_>>().join(" "),
        Some(Value::Object(qemu)) => {
            format!("{} ({})", shown(qemu.get("path")), shown(qemu.get("version")))
        }
        Some(other) => other.to_string(),
    }
}

/// How long ago a run started; not before its last event, if the clock was set back.
fn ago(header: &What, last: f64) -> Duration {
    let last = Duration::try_from_secs_f64(last).unwrap_or_default();
    let What::RunStarted { time, .. } = header else { return last };
    let began = humantime::parse_rfc3339(time).ok();
    began.and_then(|began| SystemTime::now().duration_since(began).ok()).unwrap_or_default().max(last)
}
