//! The output format of diagnostics.

use std::io::Write;

use clap::{Args, ValueEnum};

use crate::diagnostic::{ANNOTATIONS, Diagnostics, Severity, further};

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
    /// For people.
    pub(super) const fn human() -> Self {
        Self { format: Some(Kind::Human) }
    }

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
            annotate(diagnostics, &mut std::io::stdout().lock())?;
        }
        Ok(())
    }
}

/// Writes as many annotations as GitHub shows, and the number of the others.
fn annotate(diagnostics: &Diagnostics, out: &mut dyn Write) -> std::io::Result<()> {
    for (severity, what) in [(Severity::Error, "errors"), (Severity::Warning, "warnings")] {
        let all: Vec<_> =
            diagnostics.sorted().into_iter().filter(|diagnostic| diagnostic.severity == severity).collect();
        for diagnostic in all.iter().take(ANNOTATIONS) {
            writeln!(out, "{}", diagnostic.to_github())?;
        }
        if let Some(more @ 1..) = all.len().checked_sub(ANNOTATIONS) {
            writeln!(out, "{}", further(more, what))?;
        }
    }
    Ok(())
}

/// Prints the diagnostics for people.
pub(super) fn print(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        let colour = super::colourful(&std::io::stderr());
        anstream::eprintln!("{}\n\n{}", diagnostics.render(colour), diagnostics.summary());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::{Code, Diagnostic, Location, SourceFile};

    #[test]
    fn ten_diagnostics_of_a_severity_are_annotated_and_the_others_counted() {
        let file = Arc::new(SourceFile::new("a.yaml", "a\n".repeat(23)));
        let mut diagnostics = Diagnostics::default();
        for line in 0..23 {
            let at = Location::of(&file, 2 * line, 2 * line + 1);
            let error = Diagnostic::error(Code::WrongValue, &at, "wrong");
            let severity = if line < 10 { Severity::Warning } else { Severity::Error };
            diagnostics.push(Diagnostic { severity, ..error });
        }
        let mut out = Vec::new();
        annotate(&diagnostics, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((count("::error "), count("::warning "), count("::notice ")), (10, 10, 1), "{text}");
        assert!(text.contains("\n::notice title=3 more errors::"), "{text}");
    }
}
