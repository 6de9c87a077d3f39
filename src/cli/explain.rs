//! `lockstep explain`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::{NOTHING_RUN, colourful};
use crate::diagnostic::Code;
use crate::docs::{errors, for_terminal};

/// Explain an error code such as LS010, with a wrong and a right example; without a code, list them all.
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
                    anstream::eprintln!("{error} unknown code `{number}`; `lockstep explain` lists them");
                    return Ok(ExitCode::from(NOTHING_RUN));
                }
            },
        };
        std::io::stdout().lock().write_all(for_terminal(&text, colourful(&std::io::stdout())).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
