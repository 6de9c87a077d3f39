//! The command line as clap parses it: with the values of environment variables, and those of `lockstep.toml`.

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::file::File;
use super::invalid_value::of_variable;
use super::selection::Origin;
use super::{Cli, NOTHING_RUN};

/// What the command line says, with the values it was parsed from.
pub(super) struct Parsed {
    pub(super) cli: Cli,
    /// The values of the subcommand.
    pub(super) matches: ArgMatches,
    /// `lockstep.toml`, if the subcommand uses one.
    pub(super) file: Option<File>,
}

/// The command, with `LOCKSTEP_X=1` as a yes for an option without a value.
pub(super) fn command() -> clap::Command {
    Cli::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match (arg.get_action(), arg.get_env()) {
            (ArgAction::SetTrue, Some(_)) => arg.value_parser(yes_or_no),
            _ => arg,
        })
    })
}

/// A variable that is set to nothing is as good as none.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "" | "0" | "no" | "false" | "off" => Ok(false),
        _ => Err("write 1 or 0, yes or no, true or false, on or off".to_owned()),
    }
}

/// Parses the command line; exits after printing help.
///
/// # Errors
/// The exit code, after the mistakes have been printed.
pub(super) fn parse() -> anyhow::Result<Result<Parsed, ExitCode>> {
    let command = command();
    let matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => match of_variable(&error, &command) {
            Some(message) => anyhow::bail!(message),
            None => error.exit(),
        },
    };
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.color.apply();
    let (mut matches, mut file) = (matches, None);
    if cli.command.uses_file() {
        match command.find_subcommand("run").map_or(Ok(None), File::find) {
            Ok(found) => file = found,
            Err(mistakes) => {
                cli.command.print(&mistakes)?;
                return Ok(Err(ExitCode::from(NOTHING_RUN)));
            }
        }
    }
    if let Some(file) = &file {
        matches = file.defaults(command).get_matches();
        cli = Cli::from_arg_matches(&matches)?;
    }
    let matches = matches.subcommand().map(|(_, matches)| matches.clone()).unwrap_or_default();
    let (selection, qemu) = cli.command.parts();
    if let Some(selection) = selection {
        selection.origin = origin(&matches, file.as_ref());
    }
    if let Some(qemu) = qemu {
        qemu.of_environment = is_of_environment(&matches, "qemu");
        if let Some(file) = &file {
            qemu.of_file.clone_from(&file.qemus);
        }
    }
    Ok(Ok(Parsed { cli, matches, file }))
}

fn origin(matches: &ArgMatches, file: Option<&File>) -> Origin {
    let is_default = |option: &str| matches.value_source(option) == Some(ValueSource::DefaultValue);
    let of_file = |option: &str| file.and_then(|file| file.setting(option)).filter(|_| is_default(option));
    Origin {
        no_files: is_default("files") && of_file("files").is_none(),
        files: of_file("files").map(super::file::Setting::places),
        tags: of_file("tag").map(|setting| setting.at.clone()),
        of_environment: ["case", "tag", "define"]
            .into_iter()
            .filter(|id| is_of_environment(matches, id))
            .collect(),
    }
}

fn is_of_environment(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::EnvVariable)
}
