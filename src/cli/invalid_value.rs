//! Messages about values that an option does not accept.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};

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
pub(super) fn of_variable(error: &clap::Error, command: &clap::Command) -> Option<String> {
    let (Some(ContextValue::String(option)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    // `--slow <N>`, `--serve[=<ADDR>]`
    let long = option.strip_prefix("--")?.split([' ', '[']).next()?;
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
