//! The output format of diagnostics.

use std::io::Write;

use clap::{Args, ValueEnum};

use crate::diagnostic::Diagnostics;

/// The output format of diagnostics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Format {
    /// How to print diagnostics. `human`: with an excerpt of the file, on standard error. `json`: one object per
    /// line. `github`: like `human`, plus workflow annotations on standard output. Default: `human`, or `github`
    /// under GitHub Actions.
    #[arg(long, value_enum, env = "LOCKSTEP_FORMAT")]
    format: Option<Kind>,
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// For people.
    Human,
    /// For programs.
    Json,
    /// For GitHub Actions.
    Github,
}

impl Format {
    /// The requested format, or the default for this environment.
    pub(super) fn kind(&self) -> Kind {
        let in_actions = || std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
        self.format.unwrap_or(if in_actions() { Kind::Github } else { Kind::Human })
    }

    /// Prints the diagnostics. JSON goes to `data`: standard output for commands whose result is the diagnostics.
    pub(super) fn print(&self, diagnostics: &Diagnostics, data: &mut dyn Write) -> std::io::Result<()> {
        let kind = self.kind();
        if kind == Kind::Json {
            for diagnostic in diagnostics.sorted() {
                writeln!(data, "{}", diagnostic.to_json())?;
            }
            return Ok(());
        }
        print(diagnostics);
        if kind == Kind::Github {
            let mut out = std::io::stdout().lock();
            for diagnostic in diagnostics.sorted() {
                writeln!(out, "{}", diagnostic.to_github())?;
            }
        }
        Ok(())
    }
}

/// Prints the diagnostics for people.
pub(super) fn print(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        let colour = super::colourful(&std::io::stderr());
        anstream::eprintln!("{}\n\n{}", diagnostics.render(colour), diagnostics.summary());
    }
}
