//! `lockstep engine`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, ValueEnum};
use handlebars::{Handlebars, no_escape};
use serde_json::json;

use super::NOTHING_RUN;
use super::format::Format;
use super::run::Run;
use crate::template::NoVersions;

/// Print the job file with which an engine carries a run in shards and merges their reports.
///
/// The other options and the files are those of `run`; the job file has those that are given here or by environment
/// variables. The file is meant to be edited. docs/scale.md says how each engine is used.
///
/// Exit codes: 0, the file was printed; 2, a mistake in the options or in a scenario.
#[derive(Debug, Args)]
pub(super) struct Engine {
    /// What carries the run.
    #[arg(value_enum, value_name = "ENGINE")]
    engine: Name,

    /// Into how many shards the selected cases are divided.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = CONFLICTING,
          help_heading = "Shards")]
    shards: u32,

    /// The image of the jobs, with Lockstep and QEMU, for Kubernetes, GitLab and GitHub. `Containerfile` makes one.
    #[arg(long, value_name = "NAME", default_value = "lockstep", help_heading = "Shards")]
    image: String,

    #[command(flatten)]
    pub(super) run: Run,
}

/// The options of `run` that do not go with a job.
const CONFLICTING: [&str; 9] =
    ["shard", "resume", "bisect", "dry_run", "watch", "serve", "pause_on_failure", "step", "last_failed"];

/// The name of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// A shell script that submits an array job and a job that merges.
    Slurm,
    /// A manifest: an indexed job, a job that merges, and the claim of a volume.
    Kubernetes,
    /// A part of .gitlab-ci.yml.
    Gitlab,
    /// A workflow.
    Github,
}

impl Name {
    /// The template of its job file.
    const fn template(self) -> &'static str {
        match self {
            Self::Slurm => include_str!("../../engines/slurm.sh.hbs"),
            Self::Kubernetes => include_str!("../../engines/kubernetes.yaml.hbs"),
            Self::Gitlab => include_str!("../../engines/gitlab.yaml.hbs"),
            Self::Github => include_str!("../../engines/github.yaml.hbs"),
        }
    }

    /// How many shards it allows.
    const fn most(self) -> u32 {
        match self {
            Self::Slurm => 4_000_000,
            Self::Kubernetes => 100_000,
            Self::Gitlab => 200,
            Self::Github => 256,
        }
    }
}

impl Engine {
    pub(super) fn run(&self, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
        self.check(matches)?;
        let words = self.arguments(matches)?;
        let reports = self.run.selection.reports.to_str().context("--reports is not UTF-8 text")?;
        let command: Vec<String> = std::env::args().skip(1).collect();
        for text in words.iter().chain(&command).map(String::as_str).chain([reports]) {
            if text.contains(is_unwritable) {
                bail!("{text:?} has a character that cannot be written into a job file");
            }
        }
        let mut selection = self.run.selection.clone();
        selection.default_seed(0);
        let cases = selection.checked(&NoVersions, None, &Format::human(), &mut std::io::stderr())?;
        let Some(cases) = cases else {
            return Ok(ExitCode::from(NOTHING_RUN));
        };
        if cases.len() < self.shards as usize {
            let (shards, cases) = (self.shards, cases.len());
            anstream::eprintln!("note: with {shards} shards for {cases} cases, some shards have none");
        }
        let data = json!({
            "shards": self.shards,
            "last": self.shards - 1,
            "numbers": (1..=self.shards).collect::<Vec<_>>(),
            "cpus": self.run.cpus(),
            "image": quoted_for_yaml(&self.image),
            "reports": quoted_for_shell(reports),
            "arguments": words.iter().map(|word| quoted_for_shell(word)).collect::<Vec<_>>(),
            // Kubernetes takes `$$` for `$`.
            "words": words.iter().map(|word| quoted_for_yaml(&word.replace('$', "$$"))).collect::<Vec<_>>(),
            "command": format!("lockstep {}", shell_words::join(command)),
        });
        let mut handlebars = Handlebars::new();
        handlebars.register_escape_fn(no_escape);
        handlebars.set_strict_mode(true);
        let text = handlebars.render_template(self.engine.template(), &data)?;
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Checks what the options of `run` do not.
    fn check(&self, matches: &ArgMatches) -> anyhow::Result<()> {
        let most = self.engine.most();
        if self.shards > most {
            bail!("--shards {}: the engine runs at most {most} jobs", self.shards);
        }
        let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        if matches!(self.engine, Name::Slurm | Name::Kubernetes) && !self.run.has_known_rounds()? {
            bail!("a shard that is started again continues, which needs a known number of rounds");
        }
        if self.engine == Name::Slurm && is_given("image") {
            bail!("--image: the jobs of Slurm have no image");
        }
        if self.engine != Name::Slurm && is_given("reports") {
            bail!("--reports: the job file has a directory of its own; edit it there");
        }
        Ok(())
    }

    /// The options that are given, by the command line or by environment variables, and the files, for `run`.
    fn arguments(&self, matches: &ArgMatches) -> anyhow::Result<Vec<String>> {
        let command = super::options::command();
        let args = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
        let (mut options, mut files) = (Vec::new(), Vec::new());
        for arg in args.filter(|arg| !["help", "reports"].contains(&arg.get_id().as_str())) {
            let id = arg.get_id().as_str();
            if !matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
            {
                continue;
            }
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                options.extend(matches.get_flag(id).then(|| name(arg)));
                continue;
            }
            for value in matches.get_raw(id).into_iter().flatten() {
                let value =
                    value.to_str().with_context(|| format!("{} is not UTF-8 text", value.display()))?;
                match (arg.is_positional(), value.starts_with('-')) {
                    (true, _) => files.push(value.to_owned()),
                    (false, false) => options.extend([name(arg), value.to_owned()]),
                    (false, true) => options.push(format!("{}={value}", name(arg))),
                }
            }
        }
        if files.iter().any(|file| file == "-") {
            bail!("a job does not have the scenarios of this standard input; name files");
        }
        if files.iter().any(|file| file.starts_with('-')) {
            options.push("--".to_owned());
        }
        Ok([options, files].concat())
    }
}

/// An option as it is written.
fn name(arg: &Arg) -> String {
    let short = || arg.get_short().map_or_else(String::new, |short| format!("-{short}"));
    arg.get_long().map_or_else(short, |long| format!("--{long}"))
}

/// Whether a job file cannot have this character: YAML does not, or it would end a line.
fn is_unwritable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A word of a shell command, also in a workflow of GitHub, which replaces `${{ … }}` in commands.
fn quoted_for_shell(word: &str) -> String {
    shell_words::quote(word).replace("${{", "$''{{")
}

/// A text in YAML, without control characters: JSON is YAML.
fn quoted_for_yaml(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_the_same_word_for_a_shell() {
        for word in ["a b", "it's", "${{ x }}", "'${{ $$ `x` \\ \"", "${{{", "", "*", "$''{{", "ü"] {
            let quoted = quoted_for_shell(word);
            assert_eq!(shell_words::split(&quoted).unwrap(), [word], "{quoted}");
            assert!(!quoted.contains("${{"), "{quoted}");
        }
    }

    #[test]
    fn what_a_line_of_yaml_cannot_have_is_refused() {
        assert!("a\nb\rc\td\u{7f}\u{85}\u{2028}\u{feff}".chars().filter(|c| is_unwritable(*c)).count() == 7);
        assert!(!"aü–'\"$\u{1f600}".contains(is_unwritable));
    }
}
