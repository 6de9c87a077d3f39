//! `lockstep audit`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, FromArgMatches as _, ValueEnum};

use super::conditions::Conditions;
use super::format::Format;
use super::qemu::Qemu;
use super::run::{check_binaries, handle_signals};
use super::selection::Selection;
use super::{Cli, Command, INTERRUPTED, NOTHING_RUN};
use crate::audit::{Audit as Audited, Header, Journal, Noticed, Options, Progress, audit, names, report};
use crate::report::text::one_line;
use crate::runner::{Interrupt, Job, Keep, Rounds, Settings};
use crate::scenario::model::Case;

/// Say how strong scenarios are: run each case, then again and again with one thing sabotaged each time, and show which
/// sabotage nothing noticed, and which step would have.
#[derive(Debug, Clone, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) qemu: Qemu,

    #[command(flatten)]
    conditions: Conditions,

    /// Try only these sabotages: kinds or names, separated by commas. `--only list` lists them, `--only hints` the steps that they suggest.
    #[arg(long, value_name = "KIND|NAME", value_delimiter = ',', help_heading = "Sabotages")]
    only: Vec<String>,

    /// Try each sabotage at up to N places of each case. Default: 1, and with `--budget` all. The seed selects them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Sabotages")]
    sites: Option<u16>,

    /// Begin no trial after this time, such as `10m`. The trials are in an order that the seed selects.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Sabotages")]
    budget: Option<Duration>,

    /// Continue the audit that wrote this reports directory and was cut off, with its files and options.
    #[arg(long, value_name = "DIR", help_heading = "Execution")]
    resume: Option<PathBuf>,

    /// Exit with 1 if the score is below this percentage.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100), help_heading = "Output")]
    min: Option<u8>,

    /// How to print the result.
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    format: Shape,

    /// Show only the result, not each trial.
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Markdown,
    Json,
}

impl Audit {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.only == ["list"] {
            for (kind, name, does) in crate::audit::table() {
                writeln!(std::io::stdout(), "{kind:9} {name:20} {does}")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if self.only == ["hints"] {
            for hint in crate::audit::hints() {
                writeln!(std::io::stdout(), "{hint}")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        match &self.resume {
            None => self.begin(None),
            Some(reports) => {
                let (header, journal) = Journal::resume(reports)?;
                let original = original(&header, reports)?;
                original.begin(Some((header, journal)))
            }
        }
    }

    fn begin(&self, earlier: Option<(Header, Journal)>) -> anyhow::Result<ExitCode> {
        for name in &self.only {
            if !names().any(|known| known == name) {
                let help = crate::diagnostic::suggest(name, names());
                bail!("--only {name}: not a kind or a sabotage; {help}");
            }
        }
        let binaries = self.qemu.binaries()?;
        let format = Format::human();
        let checked = self.selection.checked(&binaries, Some(&binaries), &format, &mut std::io::stderr())?;
        let Some(cases) = checked else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        check_binaries(&binaries, &cases)?;
        let binaries = Arc::new(binaries);
        let job = |(number, case): (usize, Case)| Job {
            number,
            case: Arc::new(case),
            binaries: Arc::clone(&binaries),
            qemu: None,
            interference: None,
        };
        let jobs: Vec<Job> = cases.into_iter().enumerate().map(job).collect();
        let reports = &self.selection.reports;
        std::fs::create_dir_all(reports)
            .with_context(|| format!("cannot create the reports directory {}", reports.display()))?;
        let mut settings = self.settings();
        let qemus = crate::audit::qemus(&jobs);
        let journal = match earlier {
            Some((header, _)) if header.qemus != qemus => {
                bail!("it was run on QEMU {}, not {}", header.qemus.join(" and "), qemus.join(" and "));
            }
            Some((header, journal)) => {
                settings.seed = header.seed;
                journal
            }
            None => {
                let directory = std::env::current_dir().context("the working directory")?;
                let (command, directory) = (std::env::args().collect(), directory.display().to_string());
                Journal::create(reports, &Header { command, directory, seed: settings.seed, qemus })?
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let audited = runtime.block_on(async {
            let interrupt = handle_signals()?;
            self.audited(jobs, &settings, journal, &interrupt).await
        });
        drop(runtime);
        self.conclude(&audited?)
    }

    async fn audited(
        &self,
        jobs: Vec<Job>,
        settings: &Settings,
        journal: Journal,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Audited> {
        let all = if self.budget.is_some() { usize::MAX } else { 1 };
        let options = Options {
            only: self.only.clone(),
            sites: self.sites.map_or(all, usize::from),
            budget: self.budget,
        };
        let quiet = self.quiet;
        let count = std::sync::Mutex::new((0_usize, 0_usize));
        let tell = move |progress: Progress<'_>| {
            let mut count = count.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let line = match progress {
                Progress::Refused(case, why) => format!("{case}: not audited: {}", one_line(why)),
                Progress::Planned(left, done) => {
                    count.1 = left;
                    let earlier = if done > 0 { format!(", {done} were done before") } else { String::new() };
                    format!("{left} trials{earlier}")
                }
                Progress::Tried(outcome) => {
                    count.0 += 1;
                    let by = match (&outcome.by, outcome.noticed) {
                        (Some(by), Noticed::Caught | Noticed::Late) => format!(" in {by}"),
                        (Some(why), _) => format!(": {why}"),
                        (None, _) => String::new(),
                    };
                    let noticed = outcome.noticed.name();
                    let (done, all) = (count.0, count.1);
                    one_line(&format!(
                        "[{done}/{all}] {noticed:9} {} of {} {}{by} ({})",
                        outcome.sabotage, outcome.target, outcome.moment, outcome.case
                    ))
                }
            };
            if !quiet {
                anstream::eprintln!("{line}");
            }
        };
        audit(jobs, settings, &options, journal, interrupt, tell).await
    }

    fn settings(&self) -> Settings {
        Settings {
            accel: self.conditions.accel,
            guests: self.conditions.guests.clone(),
            slow: self.conditions.slow,
            jobs: usize::from(self.conditions.jobs),
            fail_fast: false,
            keep: Keep::Never,
            reports: self.selection.reports.clone(),
            pause_on_failure: false,
            step_by_step: false,
            begin_until: None,
            rounds: Rounds::Times(1),
            retries: 0,
            flaky_passes: false,
            done: None,
            seed: self.selection.seed(),
            command: std::env::args().collect(),
            options: Vec::new(),
            shard: None,
        }
    }

    /// Writes the reports and prints the result.
    fn conclude(&self, audit: &Audited) -> anyhow::Result<ExitCode> {
        let reports = &self.selection.reports;
        let write = |name: &str, text: String| {
            let path = reports.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let json = serde_json::to_string_pretty(audit)? + "\n";
        write("audit.html", report::page(audit)?)?;
        write("audit.xml", report::junit(audit)?)?;
        write("audit.json", json.clone())?;
        let mut out = std::io::stdout().lock();
        match self.format {
            Shape::Table => {
                out.write_all(report::table(audit).as_bytes())?;
                writeln!(out, "report: {}", reports.join("audit.html").display())?;
            }
            Shape::Markdown => out.write_all(report::markdown(audit).as_bytes())?,
            Shape::Json => out.write_all(json.as_bytes())?,
        }
        if audit.interrupted {
            anstream::eprintln!("continue with: lockstep audit --resume {}", reports.display());
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if audit.cases.iter().all(|case| case.refused.is_some()) {
            anstream::eprintln!("no case can be audited");
            return Ok(ExitCode::from(NOTHING_RUN));
        }
        let least = f64::from(self.min.unwrap_or(0));
        Ok(match audit.tally().score() {
            Some(score) if score < least => {
                anstream::eprintln!("the score is below --min {least}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        })
    }
}

/// The command that is continued.
fn original(header: &Header, reports: &Path) -> anyhow::Result<Audit> {
    let reports = std::path::absolute(reports)?;
    std::env::set_current_dir(&header.directory)
        .with_context(|| format!("the working directory of the audit, {}", header.directory))?;
    let matches = super::options::command().try_get_matches_from(&header.command)?;
    match Cli::from_arg_matches(&matches)?.command {
        Command::Audit(mut audit) => {
            audit.selection.reports = reports;
            audit.resume = None;
            Ok(audit)
        }
        _ => bail!("it is not the command line of an audit: {}", header.command.join(" ")),
    }
}
