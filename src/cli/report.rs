//! `lockstep report`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::event::Subscriber;
use crate::report::{Html, Junit, feed, read};

/// Rebuild a report from a run's events.jsonl.
///
/// The extension of the output file selects the report: `.html` or `.xml` (JUnit).
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The run's reports directory, or its events.jsonl.
    #[arg(value_name = "DIR|events.jsonl", default_value = "reports", env = "LOCKSTEP_REPORTS")]
    reports: PathBuf,

    /// The file to write. Default: index.html next to the events.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let events = super::events_of(&self.reports);
        let output = self.output.clone().unwrap_or_else(|| events.with_file_name("index.html"));
        let report: Box<dyn Subscriber + Send> = match output.extension().and_then(|end| end.to_str()) {
            Some("html" | "htm") => Box::new(Html::new(&output)),
            Some("xml") => Box::new(Junit::new(&output)),
            _ => bail!("{}: the name of a report must end in .html or .xml", output.display()),
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
