//! `lockstep explain`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::{NOTHING_RUN, colourful};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::docs::{errors, for_terminal};

/// Explain the code of a mistake, such as LS010, with a wrong and a right example; without a code, list them.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code, as `lockstep check` prints it.
    code: Option<String>,
}

impl Explain {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = match &self.code {
            None => Code::ALL.iter().map(|code| format!("{}  {}\n", code.number(), code.summary())).collect(),
            Some(number) => match errors::find(number) {
                Some(code) => errors::explain(code),
                None => {
                    let error = super::bold("error:");
                    anstream::eprintln!("{error} there is no code `{number}`; `lockstep explain` lists them");
                    return Ok(ExitCode::from(NOTHING_RUN));
                }
            },
        };
        std::io::stdout().lock().write_all(for_terminal(&text, colourful()).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How many mistakes there are, and where to read on: the last line below them.
pub(super) fn summary(diagnostics: &Diagnostics) -> String {
    let all = diagnostics.sorted();
    let count = |severity: Severity, what: &str| {
        let number = all.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        let plural = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {what}{plural}"))
    };
    let mut files: Vec<_> = all.iter().map(|diagnostic| diagnostic.location.path()).collect();
    files.sort();
    files.dedup();
    let counts: Vec<String> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")]
        .into_iter()
        .flatten()
        .collect();
    let worst = all.iter().find(|diagnostic| diagnostic.severity == Severity::Error).or(all.first());
    let more = worst.map(|diagnostic| format!("; lockstep explain {} tells more", diagnostic.code));
    let place = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    format!("{} in {place}{}", counts.join(" and "), more.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::{Diagnostic, Location, SourceFile};

    #[test]
    fn the_last_line_counts_and_names_the_first_error() {
        let file = Arc::new(SourceFile { path: PathBuf::from("a.yaml"), text: "a: 1\n".to_owned() });
        let mut all = Diagnostics::default();
        all.push(Diagnostic::warning(Code::Hook, &Location::of(&file, 0, 1), "a warning"));
        assert_eq!(summary(&all), "1 warning in 1 file; lockstep explain LS024 tells more");
        all.push(Diagnostic::error(Code::UnknownKey, &Location::of(&file, 1, 2), "one"));
        all.push(Diagnostic::error(Code::Syntax, &Location::of(&file, 3, 4), "two"));
        assert_eq!(summary(&all), "2 errors and 1 warning in 1 file; lockstep explain LS010 tells more");
    }
}
