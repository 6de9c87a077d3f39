//! `lockstep import`.

mod backends;
mod convert;
mod disks;
mod options;
mod shell;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

/// Write a scenario for the VM of a QEMU command line. What no key of the language expresses stays in `args`; what does not
/// suit a test, such as a display, is left out, with a comment.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The command line as one argument or as several, a file that has it, or `-` for standard input. Other text around it
    /// is skipped: prompts, comments, other commands, the format of libvirt's logs. Shell variables have the values of the
    /// assignments before the command, or of the environment.
    #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true, value_name = "COMMAND|FILE")]
    command: Vec<String>,
}

impl Import {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let words = match self.command.as_slice() {
            [one] => shell::words(&text(one)?)?,
            several => several.to_vec(),
        };
        let folder = std::env::current_dir().context("there is no current directory")?;
        let scenario = options::read(&words, &folder)?;
        write!(std::io::stdout().lock(), "{scenario}")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The text of a command line: that of the file, or the argument itself.
fn text(given: &str) -> anyhow::Result<String> {
    if given == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    if !given.contains(char::is_whitespace) && Path::new(given).is_file() {
        return std::fs::read_to_string(given).with_context(|| format!("cannot read {given}"));
    }
    Ok(given.to_owned())
}
