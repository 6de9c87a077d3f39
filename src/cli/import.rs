//! `lockstep import`.

mod convert;
mod disks;
mod options;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

/// Write a scenario for the VM of a QEMU command line. What no key of the language expresses stays in `args`; what does not
/// suit a test, such as a display, is left out, with a comment.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The command line as one argument or as several, a file that has it, or `-` for standard input. Environment variables
    /// and other words before `qemu-system-…` are skipped, as is the format of libvirt's logs.
    #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true, value_name = "COMMAND|FILE")]
    command: Vec<String>,
}

impl Import {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let words = match self.command.as_slice() {
            [one] => split(&text(one)?)?,
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

/// The words, as a shell reads them.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
    match shell_words::split(&lines.join("\n")) {
        Ok(words) if !words.is_empty() => Ok(words),
        Ok(_) => bail!("the command line is empty"),
        Err(_) => bail!("the command line has a quote that is not closed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let words = split("# a comment\nPATH=/bin \\\n qemu-system-x86_64 \\\n-name 'a b'\n").unwrap();
        assert_eq!(words, ["PATH=/bin", "qemu-system-x86_64", "-name", "a b"]);
        assert!(split("-name 'a").unwrap_err().to_string().contains("not closed"));
        assert!(split("# nothing\n").unwrap_err().to_string().contains("empty"));
    }
}
