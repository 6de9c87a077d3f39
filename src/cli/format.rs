//! In which form mistakes are told.

use std::io::{IsTerminal, Write};

use clap::{Args, ValueEnum};

use crate::diagnostic::Diagnostics;

/// In which form mistakes are told.
#[derive(Debug, Args)]
pub(super) struct Format {
    /// How mistakes are told. `human`: with an excerpt of the file, on standard error. `json`: one object a line.
    /// `github`: as `human`, and as annotations of the workflow on standard output. Default: `human`, and `github`
    /// under GitHub Actions.
    #[arg(long, value_enum, env = "LOCKSTEP_FORMAT")]
    format: Option<Kind>,
}

/// A form.
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
    /// The form that was asked for, or that belongs here.
    pub(super) fn kind(&self) -> Kind {
        let in_actions = || std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
        self.format.unwrap_or(if in_actions() { Kind::Github } else { Kind::Human })
    }

    /// Tells the mistakes. JSON goes to `data`: where mistakes are the result, that is standard output.
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

/// Tells the mistakes to a person.
pub(super) fn print(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        anstream::eprintln!("{}\n\n{}", diagnostics.render(colour), diagnostics.summary());
    }
}
