//! `lockstep report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::event::Subscriber;
use crate::report::{Html, Junit, Perfetto, feed, read};

/// Rebuild a report from a run's events.jsonl.
///
/// The extension of the output file selects the report, `.html` or `.xml` (JUnit), unless `--format` does.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The run's reports directory, or its events.jsonl.
    #[arg(value_name = "DIR|events.jsonl", default_value = "reports", env = "LOCKSTEP_REPORTS")]
    reports: PathBuf,

    /// The report. `perfetto` is the trace-event JSON that Perfetto and chrome://tracing open: VMs as processes, their
    /// run states, migrations, checkpoints, QMP commands, events, serial lines and trace events as threads.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The file to write. Default: index.html, junit.xml or trace.json next to the events.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Html,
    Junit,
    Perfetto,
}

impl Format {
    /// The name of its file.
    const fn file(self) -> &'static str {
        match self {
            Self::Html => "index.html",
            Self::Junit => "junit.xml",
            Self::Perfetto => "trace.json",
        }
    }

    /// The one that the name of a file selects.
    fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "html" | "htm" => Some(Self::Html),
            "xml" => Some(Self::Junit),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let events = super::events_of(&self.reports);
        let format = self.format.or_else(|| match &self.output {
            Some(output) => Format::of(output),
            None => Some(Format::Html),
        });
        let Some(format) = format else {
            let output = self.output.as_deref().unwrap_or(&events).display();
            bail!(
                "{output}: the name of a report must end in .html or .xml, or `--format` must say what it is"
            );
        };
        let output = self.output.clone().unwrap_or_else(|| events.with_file_name(format.file()));
        let report: Box<dyn Subscriber + Send> = match format {
            Format::Html => Box::new(Html::new(&output)),
            Format::Junit => Box::new(Junit::new(&output)),
            Format::Perfetto => Box::new(Perfetto::new(&output)),
        };
        let mut events = read(&events)?;
        // Do not overwrite an existing report if the input is not an event stream.
        let Some(first) = events.next().transpose()? else {
            bail!("{} is empty or truncated in its first line", self.reports.display());
        };
        let mut error = None;
        let rest = events.by_ref().map_while(|event| event.map_err(|why| error = Some(why)).ok());
        let summary = feed(std::iter::once(first).chain(rest), vec![report]);
        let mut code = ExitCode::SUCCESS;
        if let Some(error) = error {
            let error = anyhow::Error::from(error);
            anstream::eprintln!("{} {error:#}; the report stops before it", super::bold("error:"));
            code = ExitCode::FAILURE;
        }
        if events.cut() {
            anstream::eprintln!("note: ignored the last line, which is truncated");
        }
        for error in &summary.errors {
            anstream::eprintln!("{} {error:#}", super::bold("error:"));
            code = ExitCode::FAILURE;
        }
        if summary.errors.is_empty() {
            anstream::println!("{}", output.display());
        }
        Ok(code)
    }
}
