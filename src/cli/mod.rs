//! The command line: one file per subcommand.

mod check;
mod compare;
mod docs;
mod explain;
mod format;
mod list;
mod new;
mod probe;
mod render;
mod repeat;
mod report;
mod run;
mod schema;
mod selection;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A declarative scenario runner for QEMU fault tolerance (COLO) and migration.
///
/// Exit codes: 0, every selected case passed, was skipped, or failed with a known issue; 1, a case failed or had an
/// error; 2, nothing was run (usage, a mistake in a file, no QEMU, no case selected); 130, interrupted.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, about, long_about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Report(report::Report),
    Compare(compare::Compare),
    Check(check::Check),
    List(list::List),
    Render(render::Render),
    Schema(schema::Schema),
    Probe(probe::Probe),
    New(new::New),
    Docs(docs::Docs),
    Explain(explain::Explain),
}

/// Runs the command given on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Run(run) => run.run(),
        Command::Report(report) => report.run(),
        Command::Compare(compare) => compare.run(),
        Command::Check(check) => check.run(),
        Command::List(list) => list.run(),
        Command::Render(render) => render.run(),
        Command::Schema(schema) => schema.run(),
        Command::Probe(probe) => probe.run(),
        Command::New(new) => new.run(),
        Command::Docs(docs) => docs.run(),
        Command::Explain(explain) => explain.run(),
    };
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

/// Whether the output may be coloured.
fn colourful() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The event stream of a run: the file itself, or the one in its reports directory.
fn events_of(run: &std::path::Path) -> std::path::PathBuf {
    if run.is_dir() { run.join("events.jsonl") } else { run.to_owned() }
}

fn bold(text: &str) -> String {
    let style = anstyle::AnsiColor::Red.on_default().effects(anstyle::Effects::BOLD);
    format!("{style}{text}{style:#}")
}
