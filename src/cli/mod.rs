//! The command line: one file per subcommand.

mod audit;
mod bisect;
mod check;
mod compare;
mod completions;
mod conditions;
mod config;
mod docs;
mod engine;
mod explain;
mod failed;
mod file;
mod format;
mod history;
mod import;
mod invalid_value;
mod list;
mod lsp;
mod man;
mod merge;
mod new;
mod options;
mod probe;
mod qemu;
mod render;
mod repeat;
mod report;
mod run;
mod schema;
mod selection;
mod serve;
mod sharding;
mod watch;

use std::process::ExitCode;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::{ArgMatches, Parser, Subcommand, ValueEnum};

use crate::diagnostic::Diagnostics;
use options::Parsed;
use qemu::Qemu;
use selection::Selection;

/// A declarative scenario runner for QEMU fault tolerance (COLO) and migration.
///
/// Exit codes: 0, every selected case passed, was skipped, or failed with a known issue; 1, a case failed or had an
/// error; 2, nothing was run (usage, a mistake in a file, no QEMU, no case selected); 130, interrupted.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, about, long_about, max_term_width = 110)]
struct Cli {
    /// When to use colours. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        env = "LOCKSTEP_COLOR",
        help_heading = "Output"
    )]
    color: Color,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Audit(audit::Audit),
    Report(report::Report),
    Compare(compare::Compare),
    History(history::History),
    Bisect(bisect::Bisect),
    Merge(merge::Merge),
    Engine(engine::Engine),
    Check(check::Check),
    List(list::List),
    Render(render::Render),
    Config(config::Config),
    Schema(schema::Schema),
    Lsp(lsp::Lsp),
    Probe(probe::Probe),
    New(new::New),
    Import(import::Import),
    Docs(docs::Docs),
    Explain(explain::Explain),
    Completions(completions::Completions),
    Man(man::Man),
}

/// When to use colours.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Sets it for everything that is printed.
    fn apply(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

impl Command {
    /// Whether `lockstep.toml` sets its options.
    const fn uses_file(&self) -> bool {
        match self {
            Self::Run(_)
            | Self::Bisect(_)
            | Self::Engine(_)
            | Self::Audit(_)
            | Self::Report(_)
            | Self::Check(_)
            | Self::List(_)
            | Self::Render(_)
            | Self::Probe(_)
            | Self::Config(_) => true,
            Self::Compare(_)
            | Self::History(_)
            | Self::Merge(_)
            | Self::Schema(_)
            | Self::Lsp(_)
            | Self::New(_)
            | Self::Import(_)
            | Self::Docs(_)
            | Self::Explain(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }

    /// The options that several commands have.
    fn parts(&mut self) -> (Option<&mut Selection>, Option<&mut Qemu>) {
        match self {
            Self::Run(run)
            | Self::Bisect(bisect::Bisect { run, .. })
            | Self::Engine(engine::Engine { run, .. })
            | Self::Config(config::Config { run }) => (Some(&mut run.selection), Some(&mut run.qemu)),
            Self::Audit(audit) => (Some(&mut audit.selection), Some(&mut audit.qemu)),
            Self::Check(check) => (Some(&mut check.selection), Some(&mut check.qemu)),
            Self::List(list) => (Some(&mut list.selection), None),
            Self::Render(render) => (Some(&mut render.selection), Some(&mut render.qemu)),
            Self::Probe(probe) => (None, Some(&mut probe.qemu)),
            _ => (None, None),
        }
    }

    /// Prints the mistakes of `lockstep.toml` as those of a scenario.
    fn print(&self, mistakes: &Diagnostics) -> std::io::Result<()> {
        match self {
            Self::Check(check) => check.format.print(mistakes, &mut std::io::stdout()),
            Self::List(list) => list.format.print(mistakes, &mut std::io::stderr()),
            Self::Run(run)
            | Self::Bisect(bisect::Bisect { run, .. })
            | Self::Engine(engine::Engine { run, .. })
            | Self::Config(config::Config { run }) => run.format.print(mistakes, &mut std::io::stderr()),
            _ => {
                format::print(mistakes);
                Ok(())
            }
        }
    }

    fn run(&self, matches: &ArgMatches, file: Option<&file::File>) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(run) => run.run(),
            Self::Audit(audit) => audit.run(),
            Self::Report(report) => report.run(),
            Self::Compare(compare) => compare.run(),
            Self::History(history) => history.run(),
            Self::Bisect(bisect) => bisect.run(),
            Self::Merge(merge) => merge.run(),
            Self::Engine(engine) => engine.run(matches),
            Self::Check(check) => check.run(),
            Self::List(list) => list.run(),
            Self::Render(render) => render.run(),
            Self::Config(config) => config.run(matches, file),
            Self::Schema(schema) => schema.run(),
            Self::Lsp(lsp) => lsp.run(),
            Self::Probe(probe) => probe.run(),
            Self::New(new) => new.run(),
            Self::Import(import) => import.run(),
            Self::Docs(docs) => docs.run(),
            Self::Explain(explain) => explain.run(),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
        }
    }
}

/// Runs the command given on the command line.
#[must_use]
pub fn main() -> ExitCode {
    completions::complete();
    let done = options::parse().and_then(|parsed| match parsed {
        Ok(Parsed { cli, matches, file }) => cli.command.run(&matches, file.as_ref()),
        Err(code) => Ok(code),
    });
    done.unwrap_or_else(|error| {
        // Standard output was closed (`| head`): stop quietly.
        let piped = error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
        });
        if piped {
            return ExitCode::SUCCESS;
        }
        anstream::eprintln!("{} {error:#}", bold("error:"));
        ExitCode::from(NOTHING_RUN)
    })
}

/// The exit code for bad usage and bad files: no cases run.
const NOTHING_RUN: u8 = 2;

/// The exit code after an interrupt.
const INTERRUPTED: u8 = 130;

/// Whether this output may be coloured.
fn colourful(out: &impl RawStream) -> bool {
    AutoStream::choice(out) != ColorChoice::Never
}

/// The event stream of a run: the file itself, or the one in its reports directory.
fn events_of(run: &std::path::Path) -> std::path::PathBuf {
    if run.is_dir() { run.join("events.jsonl") } else { run.to_owned() }
}

fn bold(text: &str) -> String {
    let style = anstyle::AnsiColor::Red.on_default().effects(anstyle::Effects::BOLD);
    format!("{style}{text}{style:#}")
}
