//! `lockstep run`.

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::conditions::Conditions;
use super::format::{Format, Kind};
use super::qemu::{Named, Qemu, QemuMatrix};
use super::repeat::Repeat;
use super::selection::Selection;
use super::sharding::{Entry, Part, Ready, Sharding};
use super::watch::watch as watch_files;
use super::{INTERRUPTED, NOTHING_RUN};
use crate::event::{Sink, Subscriber};
use crate::report::{
    Console, Durations, DurationsFile, Earlier, Github, Html, JsonLines, Junit, Markdown, Summary, text,
};
use crate::runner::{Binaries, Interrupt, Job, Jobs, Keep, Rounds, Settings, not_given};
use crate::scenario::model::Case;

/// Run scenarios on real QEMUs and write the reports.
#[derive(Debug, Clone, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    sharding: Sharding,

    #[command(flatten)]
    pub(super) qemu: Qemu,

    #[command(flatten)]
    qemu_matrix: QemuMatrix,

    #[command(flatten)]
    pub(super) format: Format,

    #[command(flatten)]
    repeat: Repeat,

    #[command(flatten)]
    conditions: Conditions,

    /// When to keep a case's QMP transcripts, serial output, command lines and resolved scenario.
    #[arg(long, value_enum, default_value = "on-failure", env = "LOCKSTEP_KEEP", help_heading = "Output")]
    keep: KeepWhen,

    /// Stop the run at the first case that fails.
    #[arg(long, env = "LOCKSTEP_FAIL_FAST", help_heading = "Execution")]
    fail_fast: bool,

    /// When a case fails, show how to inspect its VMs (monitor, serial output, gdb) and wait for Enter before
    /// stopping them.
    #[arg(long, env = "LOCKSTEP_PAUSE_ON_FAILURE", help_heading = "Inspection")]
    pause_on_failure: bool,

    /// Wait for Enter before each step; deadlines are paused meanwhile.
    #[arg(long, env = "LOCKSTEP_STEP", help_heading = "Inspection")]
    step: bool,

    /// Show what would run, in which order and with what, and what would be skipped and why; only probes the QEMUs.
    #[arg(long, env = "LOCKSTEP_DRY_RUN", help_heading = "Inspection")]
    dry_run: bool,

    /// End with the exit codes of `git bisect run`: 0, all passed; 1, a case failed; 125, nothing was learnt, since all cases
    /// were skipped, a case had an error, or a QEMU cannot be used; 128, which ends the bisection, for a mistake in the
    /// options or a scenario. Stops at the first failure.
    #[arg(long, env = "LOCKSTEP_BISECT", help_heading = "Execution",
          conflicts_with_all = ["dry_run", "watch", "pause_on_failure", "step"])]
    bisect: bool,

    /// Continue the run that wrote this reports directory and was cut off: run the cases of the same selection that have no
    /// verdict there, and make the reports of both parts one. Takes the place of --reports; the options must be those of the
    /// earlier part, whose seed is the default.
    #[arg(long, value_name = "DIR", help_heading = "Execution",
          conflicts_with_all = ["dry_run", "watch", "bisect", "last_failed"])]
    resume: Option<PathBuf>,

    /// After the run, wait until a scenario file is saved, and run the cases that it belongs to; until Ctrl-C.
    #[arg(long, env = "LOCKSTEP_WATCH", help_heading = "Execution",
          conflicts_with_all = ["dry_run", "last_failed", "failed_in", "shard"])]
    watch: bool,

    /// Serve the page of the run while it runs, on a port or an address such as `127.0.0.1:8000`; without one, on a free
    /// port of the loopback interface. Whoever can reach the address can read the reports.
    #[arg(long, value_name = "ADDR", env = "LOCKSTEP_SERVE", help_heading = "Output", num_args = 0..=1, require_equals = true,
          default_missing_value = "127.0.0.1:0", value_parser = super::serve::address, conflicts_with = "dry_run")]
    serve: Option<SocketAddr>,

    /// Show the steps of every case.
    #[arg(short, long, env = "LOCKSTEP_VERBOSE", overrides_with = "quiet", help_heading = "Output")]
    verbose: bool,

    /// Show only the cases that failed, had an error or were flaky, and the summary.
    #[arg(short, long, env = "LOCKSTEP_QUIET", overrides_with = "verbose", help_heading = "Output")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeepWhen {
    Always,
    OnFailure,
    Never,
}

/// What came of a run.
pub(super) enum Outcome {
    /// There are mistakes in a scenario, which have been printed.
    Mistakes,
    /// A QEMU cannot be used.
    NoQemu(anyhow::Error),
    /// Only the plan was shown.
    Shown,
    /// It ran.
    Ran(Summary),
}

impl Outcome {
    /// The exit code.
    fn exit(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Mistakes => Ok(ExitCode::from(NOTHING_RUN)),
            Self::NoQemu(error) => Err(error),
            Self::Shown => Ok(ExitCode::SUCCESS),
            Self::Ran(summary) => Ok(ExitCode::from(summary.exit_code())),
        }
    }
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.bisect {
            return Ok(super::bisect::exit(self));
        }
        let mut listener = self.serve.map(super::serve::listen).transpose()?;
        if !self.watch {
            return self.once(listener)?.exit();
        }
        // Each run has a server, at the same address.
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        watch_files(&self.selection, |selection| {
            let listener =
                listener.take().map(Ok).or_else(|| address.map(super::serve::listen)).transpose()?;
            Self { selection: selection.clone(), ..self.clone() }.once(listener)?.exit()
        })
    }

    /// Runs until the first failure on the QEMU at this path, with the reports there.
    pub(super) fn on(&self, qemu: &str, reports: PathBuf) -> anyhow::Result<Outcome> {
        let mut run = self.clone();
        run.qemu.set_default(qemu);
        run.selection.reports = reports;
        run.until_first()
    }

    /// Runs until the first failure.
    pub(super) fn until_first(&self) -> anyhow::Result<Outcome> {
        let listener = self.serve.map(super::serve::listen).transpose()?;
        let mut run = self.clone();
        run.repeat.until_first = true;
        run.once(listener)
    }

    /// Runs the selected cases, and serves the page there.
    fn once(&self, listener: Option<TcpListener>) -> anyhow::Result<Outcome> {
        let mut run = self.clone();
        let earlier = run.earlier()?;
        let sharding = self.sharding.ready(&mut run.selection)?;
        run.started(listener, &sharding, earlier)
    }

    fn started(
        &self,
        listener: Option<TcpListener>,
        sharding: &Ready,
        earlier: Option<Earlier>,
    ) -> anyhow::Result<Outcome> {
        let jobs = match self.jobs()? {
            Ok(jobs) => jobs,
            Err(outcome) => return Ok(outcome),
        };
        let entries: Vec<Entry> = jobs.iter().map(|job| Entry::of(&job.case, job.qemu.as_deref())).collect();
        let part = sharding.part(&entries);
        let mut settings = self.settings()?;
        settings.shard.clone_from(&part.shard);
        if self.dry_run {
            print_plan(&jobs, &part, &settings)?;
            return Ok(Outcome::Shown);
        }
        // One after the other, they take the same time in any order.
        let jobs = if settings.jobs.are_several() {
            part.longest_first.iter().map(|number| jobs[*number].clone()).collect()
        } else {
            jobs.into_iter().filter(|job| part.has(job.number)).collect()
        };
        self.execute(jobs, settings, earlier, listener)
    }

    /// The selected cases on each QEMU, or why there are none.
    fn jobs(&self) -> anyhow::Result<Result<Vec<Job>, Outcome>> {
        let mut jobs = Vec::new();
        let qemus = match self.qemu_matrix.binaries(&self.qemu) {
            Ok(qemus) => qemus,
            Err(error) => return Ok(Err(Outcome::NoQemu(error))),
        };
        for (qemu, binaries) in qemus {
            let checked =
                self.selection.checked(&binaries, Some(&binaries), &self.format, &mut std::io::stderr())?;
            let Some(cases) = checked else {
                return Ok(Err(Outcome::Mistakes));
            };
            if let Err(error) = check_binaries(&binaries, &cases) {
                return Ok(Err(Outcome::NoQemu(error)));
            }
            let binaries = Arc::new(binaries);
            for case in cases {
                jobs.push(Job {
                    number: jobs.len(),
                    case: Arc::new(case),
                    binaries: Arc::clone(&binaries),
                    qemu: qemu.clone(),
                    interference: None,
                });
            }
        }
        Ok(Ok(jobs))
    }

    /// The run to be continued. Its seed becomes the default.
    fn earlier(&mut self) -> anyhow::Result<Option<Earlier>> {
        let Some(reports) = &self.resume else { return Ok(None) };
        if !self.has_known_rounds()? {
            bail!("--resume needs a known number of rounds");
        }
        let earlier = Earlier::read(reports).context("--resume")?;
        self.selection.reports.clone_from(reports);
        earlier.seed().into_iter().for_each(|seed| self.selection.default_seed(seed));
        Ok(Some(earlier))
    }

    /// Runs the jobs without those that an earlier part of the run has done, and writes the reports.
    fn execute(
        &self,
        jobs: Vec<Job>,
        mut settings: Settings,
        earlier: Option<Earlier>,
        listener: Option<TcpListener>,
    ) -> anyhow::Result<Outcome> {
        let is_shard = settings.shard.is_some();
        let (mut sink, stream) = Sink::new();
        let reports = if let Some(earlier) = earlier {
            earlier.check(&crate::runner::started(&jobs, &settings)).context("--resume")?;
            if let Some(summary) = earlier.finished()? {
                let reports = self.selection.reports.display();
                anstream::eprintln!("note: nothing is left to run: the run in {reports} has finished");
                self.conclude(&summary);
                return Ok(Outcome::Ran(summary));
            }
            settings.done = Some(earlier.done().clone());
            let (events, there, ago) = earlier.prepare()?;
            sink = sink.of_run_since(ago);
            let file = JsonLines::append(self.selection.reports.join("events.jsonl"), there)?;
            crate::report::resume(events, stream, self.subscribers(file, listener, is_shard)?)
        } else {
            let file = self.new_events()?;
            crate::report::run(stream, self.subscribers(file, listener, is_shard)?)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ran = runtime.block_on(async {
            let interrupt = handle_signals()?;
            crate::runner::run(jobs, settings, sink, interrupt).await
        });
        // Tasks hold clones of the sink; the stream ends when they are dropped.
        drop(runtime);
        let summary = reports.join();
        ran.context("cannot start the run")?;
        self.conclude(&summary);
        Ok(Outcome::Ran(summary))
    }

    /// The file of a new run, in an empty directory.
    fn new_events(&self) -> anyhow::Result<JsonLines> {
        let reports = self.selection.reports.display();
        std::fs::create_dir_all(&self.selection.reports)
            .with_context(|| format!("cannot create the reports directory {reports}"))?;
        crate::report::remove_artifacts(&self.selection.reports)
            .with_context(|| format!("cannot remove the artifacts of an earlier run from {reports}"))?;
        JsonLines::create(self.selection.reports.join("events.jsonl"))
    }

    /// The reports; they serve the page there.
    fn subscribers(
        &self,
        events: JsonLines,
        listener: Option<TcpListener>,
        is_shard: bool,
    ) -> anyhow::Result<Vec<Box<dyn Subscriber + Send>>> {
        let junit = Junit::new(self.selection.reports.join("junit.xml"));
        let mut subscribers: Vec<Box<dyn Subscriber + Send>> = vec![Box::new(events), Box::new(junit)];
        subscribers.push(match listener {
            Some(listener) => Box::new(super::serve::start(listener, &self.selection.reports)?),
            None => Box::new(Html::new(self.selection.reports.join("index.html"))),
        });
        // The shards of a run must find the same durations, whichever of them has ended.
        if !is_shard {
            subscribers.push(Box::new(DurationsFile::new(self.selection.reports.join(Durations::NAME))));
        }
        if self.format.kind() == Kind::Github {
            subscribers.push(Box::new(Github::new(std::io::stdout())));
        }
        if let Some(summary) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
            subscribers.push(Box::new(Markdown::new(summary)));
        }
        subscribers.push(Box::new(self.console()));
        Ok(subscribers)
    }

    /// Prints where the report is, or what is wrong with the reports.
    fn conclude(&self, summary: &Summary) {
        for error in &summary.errors {
            anstream::eprintln!("{} a report is incomplete: {error:#}", super::bold("error:"));
        }
        if summary.errors.is_empty() {
            let page = self.selection.reports.join("index.html");
            // As with the other lines of the run, a reader that has left is not an error.
            let _ = writeln!(std::io::stdout(), "report: {}", link(&page));
        }
    }
}

/// Prints what the jobs of this part would run on, for each QEMU.
fn print_plan(jobs: &[Job], part: &Part, settings: &Settings) -> anyhow::Result<()> {
    let mine: Vec<&Job> = jobs.iter().filter(|job| part.has(job.number)).collect();
    if let Some(shard) = &part.shard {
        writeln!(std::io::stdout(), "shard {shard}: {} of {} cases", mine.len(), shard.cases)?;
    }
    for jobs in mine.chunk_by(|one, other| one.qemu == other.qemu) {
        let cases: Vec<Case> = jobs.iter().map(|job| (*job.case).clone()).collect();
        let on = jobs[0].qemu.as_ref().map(|qemu| format!("on {qemu}:\n")).unwrap_or_default();
        let text = on + &crate::runner::dry_run(&cases, &jobs[0].binaries, settings);
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A path that a terminal opens: a link on those that are shown colours, else the path itself.
fn link(path: &Path) -> String {
    let shown = path.display();
    let out = std::io::stdout();
    match std::path::absolute(path) {
        Ok(whole) if out.is_terminal() && super::colourful(&out) => {
            let address = text::encoded(whole.as_os_str().as_encoded_bytes());
            format!("\u{1b}]8;;file://{address}\u{1b}\\{shown}\u{1b}]8;;\u{1b}\\")
        }
        _ => shown.to_string(),
    }
}

impl Run {
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            accel: self.conditions.accel,
            guests: self.conditions.guests.clone(),
            slow: self.conditions.slow,
            // Interactive runs are sequential.
            jobs: if self.pause_on_failure || self.step { Jobs::Count(1) } else { self.conditions.jobs },
            fail_fast: self.fail_fast || self.repeat.until_failure || self.repeat.until_first,
            keep: match self.keep {
                KeepWhen::Always => Keep::Always,
                KeepWhen::OnFailure => Keep::OnFailure,
                KeepWhen::Never => Keep::Never,
            },
            reports: self.selection.reports.clone(),
            pause_on_failure: self.pause_on_failure,
            step_by_step: self.step,
            begin_until: None,
            rounds: self.repeat.rounds()?,
            retries: self.repeat.retries(),
            flaky_passes: self.repeat.flaky_passes(),
            done: None,
            seed: self.selection.seed(),
            command: std::env::args().collect(),
            options: self.options(),
            shard: None,
        })
    }

    /// The CPUs for a job file: one for each case that runs in parallel; with `-j auto` as many as one case needs, which the
    /// user raises.
    pub(super) const fn cpus(&self) -> u16 {
        match self.conditions.jobs {
            Jobs::Count(count) => count,
            Jobs::Auto => 2,
        }
    }

    /// Whether it is known how often each case is repeated, so that the run can be continued.
    pub(super) fn has_known_rounds(&self) -> anyhow::Result<bool> {
        Ok(matches!(self.repeat.rounds()?, Rounds::Times(_)))
    }

    /// The options needed to reproduce this run, besides its files.
    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        let mut add = |option: &str, value: String| options.extend([option.to_owned(), value]);
        for Named { name, path, .. } in self.qemu.named() {
            add(
                "--qemu",
                if name == "default" && !path.contains('=') { path } else { format!("{name}={path}") },
            );
        }
        self.selection.defines().iter().for_each(|define| add("-D", define.clone()));
        let Conditions { guests, accel, slow, .. } = &self.conditions;
        if let Some(accel) = accel {
            add("--accel", accel.name().to_owned());
        }
        if guests != Path::new(".guests") {
            add("--guests", guests.display().to_string());
        }
        if (slow - 1.0).abs() > f64::EPSILON {
            add("--slow", slow.to_string());
        }
        add("--seed", self.selection.seed().to_string());
        options
    }

    /// Live lines would interfere with prompts.
    fn console(&self) -> Console {
        let mut settings = crate::report::Settings::of_stdout(self.verbose && !self.quiet);
        settings.quiet = self.quiet;
        settings.live &= !(self.pause_on_failure || self.step || self.quiet);
        Console::new(Box::new(std::io::stdout()), settings)
    }
}

/// Every QEMU named by a case must respond before the first case is run.
pub(super) fn check_binaries(binaries: &Binaries, cases: &[Case]) -> anyhow::Result<()> {
    for case in cases {
        // A case that needs a QEMU which was not given, or an architecture that a folder does not have, is skipped.
        for (name, vm) in case.vms.iter().filter(|_| not_given(&case.requires, binaries).is_none()) {
            // A name that depends on a step is resolved when that step runs.
            if !vm.qemu.contains("{{") && !binaries.lacks(&vm.qemu, vm.arch()) {
                binaries.get(&vm.qemu, vm.arch()).map_err(|error| {
                    anyhow::anyhow!(
                        "{error} (VM `{name}` of case `{}`; choose another one with --qemu)",
                        case.name
                    )
                })?;
            }
        }
    }
    Ok(())
}

/// The first signal ends the run in order; the second one exits at once and kills what is left.
pub(super) fn handle_signals() -> std::io::Result<Interrupt> {
    let (sender, receiver) = watch::channel(None);
    let kinds = [
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::hangup(), "SIGHUP"),
    ];
    let sender = Arc::new(sender);
    for (kind, name) in kinds {
        let mut signals = signal(kind)?;
        let sender = Arc::clone(&sender);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.borrow().is_some() {
                    // The kernel kills the QEMUs; the janitor cleans up the rest.
                    std::process::exit(i32::from(INTERRUPTED));
                }
                sender.send_replace(Some(name));
            }
        });
    }
    Ok(Interrupt(receiver))
}
