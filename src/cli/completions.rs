//! `lockstep completions`, and what a shell gets while it completes.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::file::File;
use super::selection::{DEFAULT, cases_of};
use crate::scenario::model::Case;

/// The environment variable by which the script of a shell asks for completions.
const VARIABLE: &str = "LOCKSTEP_COMPLETE";

/// Print a script that makes a shell complete commands, options, files, case names and tags.
///
/// Load it when the shell starts, so that it fits the installed version: `source <(lockstep completions bash)` in
/// ~/.bashrc, the same with `zsh` in ~/.zshrc, `lockstep completions fish | source` in ~/.config/fish/config.fish. The names of
/// cases and tags are those of the files on the command line, else those that `lockstep list` shows.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let name = self.shell.to_string();
        let shells = Shells::builtins();
        let shell = shells.completer(&name).with_context(|| format!("{name}: no completions"))?;
        let called = std::env::args_os().next().unwrap_or_else(|| "lockstep".into());
        // A name without a directory is found in PATH again.
        let called = match Path::new(&called).components().count() {
            0 | 1 => called.into(),
            _ => std::path::absolute(&called)?,
        };
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, "lockstep", "lockstep", &called.to_string_lossy(), &mut script)?;
        std::io::stdout().lock().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Completes a command line and exits, if a shell asks for it.
pub(super) fn complete() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The command with what completes the values of its options.
fn command() -> clap::Command {
    super::options::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match arg.get_id().as_str() {
            "case" => arg.add(ArgValueCompleter::new(cases)),
            "tag" => arg.add(ArgValueCompleter::new(tags)),
            "topic" => arg.add(ArgValueCandidates::new(topics)),
            "code" => arg.add(ArgValueCandidates::new(codes)),
            _ => arg,
        })
    })
}

/// The names of cases that begin with this text.
fn cases(current: &OsStr) -> Vec<CompletionCandidate> {
    let cases = known_cases();
    let named = cases.into_iter().filter(|case| case.name.starts_with(&*current.to_string_lossy()));
    let named = named.map(|case| {
        let help = case.description.as_deref().and_then(|text| text.lines().next()).map(str::to_owned);
        CompletionCandidate::new(case.name).help(help.map(Into::into))
    });
    named.collect()
}

/// The tags that begin with this text, with its `!` if it has one.
fn tags(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (not, prefix) = current.strip_prefix('!').map_or(("", &*current), |prefix| ("!", prefix));
    let mut tags: Vec<String> = known_cases().into_iter().flat_map(|case| case.tags).collect();
    tags.sort();
    tags.dedup();
    let tags = tags.into_iter().filter(|tag| tag.starts_with(prefix));
    tags.map(|tag| CompletionCandidate::new(format!("{not}{tag}"))).collect()
}

/// The topics of `lockstep docs`.
fn topics() -> Vec<CompletionCandidate> {
    let topics = crate::docs::TOPICS.iter();
    topics
        .map(|topic| CompletionCandidate::new(&topic.name).help(Some(topic.summary.clone().into())))
        .collect()
}

/// The error codes.
fn codes() -> Vec<CompletionCandidate> {
    let codes = crate::diagnostic::Code::ALL.iter();
    codes.map(|code| CompletionCandidate::new(code.number()).help(Some(code.summary().into()))).collect()
}

/// The cases of the files on the command line, else those that `lockstep list` shows.
fn known_cases() -> Vec<Case> {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .skip_while(|word| word != "--")
        .collect();
    // After `--`, the command and the subcommand. The word after an option may be its value.
    let pairs = words.windows(2).skip(2);
    let files = pairs.filter(|pair| !pair[0].starts_with('-')).map(|pair| &pair[1]);
    let files =
        files.filter(|word| Path::new(word).is_dir() || (word.ends_with(".yaml") && !word.starts_with('-')));
    let files: Vec<String> = files.cloned().collect();
    if !files.is_empty() {
        return cases_of(&files);
    }
    let command = super::options::command();
    let file = command.find_subcommand("run").and_then(|run| File::find(run).ok().flatten());
    match file.as_ref().and_then(|file| file.setting("files")) {
        Some(setting) => cases_of(&setting.texts()),
        None => cases_of(&[DEFAULT.to_owned()]),
    }
}
