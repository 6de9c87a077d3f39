//! The command line as clap parses it: with the values of environment variables, and those of `lockstep.toml`.

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::file::File;
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
    if let (Some(qemu), Some(file)) = (qemu, &file) {
        qemu.of_file.clone_from(&file.qemus);
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
    }
}

/// Why an option does not accept a value, and what would be right if that is known.
pub(super) fn refusal(error: &clap::Error, value: &str) -> (String, Option<String>) {
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        let help = crate::diagnostic::suggest(value, valid.iter().map(String::as_str));
        return (format!("`{value}`"), Some(help));
    }
    let reason =
        std::error::Error::source(error).map_or_else(|| error.kind().to_string(), ToString::to_string);
    (reason, None)
}

/// The message of an error in the value of an environment variable; clap's own does not name the variable.
fn of_variable(error: &clap::Error, command: &clap::Command) -> Option<String> {
    let (Some(ContextValue::String(option)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    // `--slow <N>`
    let long = option.strip_prefix("--")?.split(' ').next()?;
    let is_it = |arg: &clap::Arg| arg.get_long() == Some(long) && arg.get_env().is_some();
    let all = std::iter::once(command).chain(command.get_subcommands());
    let mut args = all.flat_map(clap::Command::get_arguments);
    let variable = args.find(|arg| is_it(arg))?.get_env()?.to_string_lossy().into_owned();
    // Without the variable, the same error is one of the command line.
    let reset = |arg: clap::Arg| if is_it(&arg) { arg.env(Resettable::Reset) } else { arg };
    let without = command.clone().mut_args(reset).mut_subcommands(|subcommand| subcommand.mut_args(reset));
    if without.try_get_matches().is_err_and(|other| other.to_string() == error.to_string()) {
        return None;
    }
    let (reason, help) = refusal(error, value);
    let reason = if help.is_some() { String::new() } else { format!(": {reason}") };
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    Some(format!("the environment variable {variable} has the invalid value `{value}`{reason}{help}"))
}
