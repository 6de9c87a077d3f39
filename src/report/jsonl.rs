//! `reports/events.jsonl`: the event stream, one event per line, for `lockstep report` and for scripts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Deserialize;

use crate::event::{Event, STREAM_VERSION, Subscriber, What};

/// Writes every event to a file, one per line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    out: BufWriter<File>,
    /// How many events the file has already.
    there: usize,
}

impl JsonLines {
    /// Creates the file, and its directory if missing; replaces an existing file.
    ///
    /// # Errors
    /// When the directory or the file cannot be created, or another run writes it; the message names it.
    pub fn create(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        let create = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = File::options().create(true).write(true).truncate(false).open(&path)?;
            lock(&file)?;
            // A pipe or a device has no length.
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            Ok::<_, io::Error>(file)
        };
        let file = create().with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, out: BufWriter::new(file), there: 0 })
    }

    /// Continues a file that has the first events of the stream already: so many.
    ///
    /// # Errors
    /// When the file cannot be opened, or another run writes it; the message names it.
    pub fn append(path: impl Into<PathBuf>, there: usize) -> anyhow::Result<Self> {
        let path = path.into();
        let open = || {
            let file = File::options().append(true).open(&path)?;
            lock(&file)?;
            Ok::<_, io::Error>(file)
        };
        let file = open().with_context(|| format!("cannot continue {}", path.display()))?;
        Ok(Self { path, out: BufWriter::new(file), there })
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        // Flush after each step and case, since a killed run loses buffered data. The buffer is also flushed on drop.
        match event.what {
            What::StepEnded { .. } | What::CaseEnded { .. } | What::RunEnded { .. } => self.out.flush(),
            _ => Ok(()),
        }
    }
}

impl Subscriber for JsonLines {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.there > 0 {
            self.there -= 1;
            return Ok(());
        }
        self.write(event).with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.out.flush().with_context(|| format!("cannot write {}", self.path.display()))?;
        // Writes to a file that was removed meanwhile succeed but are lost.
        let own = self.out.get_ref().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => Ok(()),
            // A pipe or a device cannot be compared.
            _ if !own.is_file() => Ok(()),
            _ => anyhow::bail!("{} was removed or replaced during the run", self.path.display()),
        }
    }
}

/// Reserves the file for one run, until it is closed.
///
/// # Errors
/// When another run has reserved it.
fn lock(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) if file.metadata()?.is_file() => {
            Err(io::Error::other("another run is writing events.jsonl"))
        }
        // Some file systems have no locks.
        _ => Ok(()),
    }
}

/// Checks that the run that wrote a file has ended.
///
/// # Errors
/// When it is writing it.
pub(super) fn check_idle(path: &Path) -> io::Result<()> {
    // Opening a pipe would wait for its other end.
    if path.is_file() { lock(&File::open(path)?) } else { Ok(()) }
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not an event.
    #[error("{}:{line}: not a valid event", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file was written by a newer Lockstep.
    #[error(
        "{} has event stream version {found}, but this Lockstep reads up to version {STREAM_VERSION}; \
         read it with the Lockstep that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file does not start like a stream.
    #[error("{} is not an event stream: its first line is not `run_started`", path.display())]
    NoStream {
        /// The file.
        path: PathBuf,
    },
}

/// Opens a stream that [`JsonLines`] wrote.
///
/// # Errors
/// When the file cannot be opened. The [`Reader`] reports errors in its content.
pub fn read(path: impl AsRef<Path>) -> Result<Reader<BufReader<File>>, ReadError> {
    let path = path.as_ref();
    match File::open(path) {
        Ok(file) => Ok(Reader::new(path, BufReader::with_capacity(256 << 10, file))),
        Err(source) => Err(ReadError::Io { path: path.to_owned(), source }),
    }
}

/// The events of a stream, in order; it ends after the first error.
///
/// A killed run may leave half a line at the end of its file; that is not an error, see [`Reader::cut`].
#[derive(Debug)]
pub struct Reader<R> {
    path: PathBuf,
    input: R,
    line: usize,
    text: Vec<u8>,
    only: Option<&'static [&'static str]>,
    cut: bool,
    done: bool,
}

/// The part of the first line needed to check the version before parsing the rest.
#[derive(Deserialize)]
struct FirstLine {
    what: First,
}

#[derive(Deserialize)]
struct First {
    event: String,
    #[serde(default)]
    version: u32,
}

impl<R: BufRead> Reader<R> {
    /// Reads the stream from `input`; `path` is used in messages.
    pub fn new(path: impl Into<PathBuf>, input: R) -> Self {
        Self { path: path.into(), input, line: 0, text: Vec::new(), only: None, cut: false, done: false }
    }

    /// Leaves out events of other kinds without parsing them; `run_started` is always read.
    #[must_use]
    pub const fn only(mut self, kinds: &'static [&'static str]) -> Self {
        self.only = Some(kinds);
        self
    }

    /// Whether the last line was truncated and therefore ignored.
    #[must_use]
    pub const fn cut(&self) -> bool {
        self.cut
    }

    fn next_event(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            self.text.clear();
            if let Err(source) = self.input.read_until(b'\n', &mut self.text) {
                return Err(ReadError::Io { path: self.path.clone(), source });
            }
            if self.text.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            let other = |only: &[&str]| kind(&self.text).is_some_and(|kind| !only.contains(&kind));
            if self.line == 1 || !self.only.is_some_and(other) {
                break;
            }
        }
        let line = self.text.as_slice();
        let whole = line.ends_with(b"\n");
        let parsed = match self.line {
            1 => self.first(line)?,
            _ => serde_json::from_slice(line),
        };
        match parsed {
            Ok(event) => Ok(Some(event)),
            Err(_) if !whole => {
                self.cut = true;
                Ok(None)
            }
            Err(source) => Err(ReadError::Garbage { path: self.path.clone(), line: self.line, source }),
        }
    }

    fn first(&self, line: &[u8]) -> Result<Result<Event, serde_json::Error>, ReadError> {
        match serde_json::from_slice::<FirstLine>(line) {
            Ok(FirstLine { what }) if what.event != "run_started" => {
                Err(ReadError::NoStream { path: self.path.clone() })
            }
            Ok(FirstLine { what }) if what.version > STREAM_VERSION => {
                Err(ReadError::Newer { path: self.path.clone(), found: what.version })
            }
            Ok(_) => Ok(serde_json::from_slice(line)),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// The kind of an event, if the line begins as [`JsonLines`] writes it.
fn kind(line: &[u8]) -> Option<&str> {
    // Only numbers come before it.
    const KEY: &[u8] = b"\"what\":{\"event\":\"";
    let at = line.iter().take(64).position(|byte| *byte == b'w')?.checked_sub(1)?;
    let rest = line.get(at..)?.strip_prefix(KEY)?;
    std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == b'"')?]).ok()
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_event().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn lines(events: &[Event]) -> String {
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }

    fn error_of(text: &[u8]) -> String {
        let error = Reader::new("events.jsonl", text).find_map(Result::err).unwrap();
        format!("{:#}", anyhow::Error::from(error))
    }

    #[test]
    fn a_written_stream_reads_back_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports/events.jsonl");
        let mut report = JsonLines::create(&path).unwrap();
        for event in sample::run() {
            report.take(&event).unwrap();
        }
        report.finish().unwrap();
        let back: Vec<Event> = read(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, sample::run());
    }

    #[test]
    fn events_are_flushed_at_the_end_of_a_step_and_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut report = JsonLines::create(&path).unwrap();
        let count = || read(&path).unwrap().count();
        report.take(&sample::run_started(1)).unwrap();
        report.take(&sample::step(0, 1, "one")).unwrap();
        report.take(&sample::step_ended(0, 1, 0.1, None)).unwrap();
        assert_eq!(count(), 3);
        report.take(&sample::step(0, 2, "two")).unwrap();
        drop(report);
        assert_eq!(count(), 4);
    }

    #[test]
    fn events_of_other_kinds_are_left_out() {
        let text = lines(&sample::run());
        let only = || Reader::new("x", text.as_bytes()).only(&["case_ended", "metric"]).map(Result::unwrap);
        let wanted = |event: &Event| {
            matches!(event.what, What::RunStarted { .. } | What::CaseEnded(_) | What::Metric { .. })
        };
        let expected: Vec<Event> = sample::run().into_iter().filter(wanted).collect();
        assert_eq!(only().collect::<Vec<_>>(), expected);
        // A line in another form is parsed, so what is wrong with it is reported.
        let text = lines(&sample::run()[..1]) + "{\"event\":\"step_began\"}\n";
        let last = Reader::new("x", text.as_bytes()).only(&["metric"]).last();
        assert!(matches!(last, Some(Err(ReadError::Garbage { line: 2, .. }))));
    }

    #[test]
    fn a_removed_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut report = JsonLines::create(&path).unwrap();
        report.take(&sample::run_started(1)).unwrap();
        assert!(report.finish().is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(report.finish().unwrap_err().to_string().contains("was removed or replaced"));
    }

    #[test]
    fn a_truncated_last_line_is_omitted() {
        let text = lines(&sample::run()[..3]);
        let second = text.find('\n').unwrap() + 1;
        for end in second..text.len() {
            let mut reader = Reader::new("events.jsonl", &text.as_bytes()[..end]);
            let events: Vec<Event> = reader.by_ref().map(Result::unwrap).collect();
            assert!((1..=3).contains(&events.len()), "cut at {end}");
            let whole = text.as_bytes()[end - 1] == b'\n' || text.as_bytes()[end] == b'\n';
            assert_eq!(reader.cut(), !whole, "cut at {end}");
        }
    }

    #[test]
    fn a_newer_stream_is_refused_even_if_its_first_line_has_another_format() {
        let message = error_of(b"{\"what\":{\"event\":\"run_started\",\"version\":2,\"new\":[]}}\n{}\n");
        assert!(message.contains("version 2") && message.contains("up to version 1"), "{message}");
    }

    #[test]
    fn an_invalid_line_is_reported_and_ends_the_stream() {
        let text = lines(&sample::run()[..2]) + "what?\n" + &lines(&sample::run()[2..]);
        let message = error_of(text.as_bytes());
        assert!(message.starts_with("events.jsonl:3: not a valid event: expected value"), "{message}");
        assert_eq!(Reader::new("events.jsonl", text.as_bytes()).count(), 3);
        assert!(error_of(b"\xff\xfe\n").starts_with("events.jsonl:1: "));
    }

    #[test]
    fn a_file_that_is_not_a_stream_is_detected() {
        let message = error_of(lines(&sample::run()[1..]).as_bytes());
        assert!(message.contains("not an event stream"), "{message}");
        let missing = read("/nowhere/events.jsonl").unwrap_err();
        assert!(missing.to_string().contains("/nowhere/events.jsonl"));
    }

    #[test]
    fn a_metric_that_is_not_a_number_reads_back() {
        let metric = sample::at(
            1.0,
            Some(0),
            What::Metric { name: "ratio".into(), value: f64::NAN, unit: "1".into(), vm: None, spread: None },
        );
        let text = lines(&[sample::run_started(1), metric]);
        let events: Vec<Event> = Reader::new("x", text.as_bytes()).map(Result::unwrap).collect();
        assert!(matches!(events[1].what, What::Metric { value, .. } if value.is_nan()));
    }
}
