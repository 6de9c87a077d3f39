//! `lockstep config`.

use std::io::Write;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};
use serde_json::{Value, json};

use super::file::{File, NAME};
use super::format::Kind;
use super::run::Run;
use crate::diagnostic::Location;
use crate::report::text;

/// Show the options that `run` would use with these arguments, and where each is from.
///
/// A value is from an option, an environment variable, a line of `lockstep.toml`, or it is the default. With `--format
/// json`: an object per line, with `option`, `values`, `source` (`option`, `environment`, `file`, `default` or `unset`)
/// and, if it applies, `variable`, or `file` and `line`.
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(flatten)]
    pub(super) run: Run,
}

/// An option with its values.
struct Row {
    option: String,
    values: Vec<String>,
    source: Source,
}

enum Source {
    Option,
    Environment(String),
    File(Location),
    Default,
    Unset,
}

impl Config {
    pub(super) fn run(&self, matches: &ArgMatches, file: Option<&File>) -> anyhow::Result<ExitCode> {
        let command = super::options::command();
        let args = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
        let mut rows = Vec::new();
        for arg in args.filter(|arg| arg.get_id() != "help") {
            if arg.get_id() == "qemu" {
                rows.extend(self.qemus(arg, matches));
            } else {
                rows.push(row(arg, matches, file));
            }
        }
        let mut out = std::io::stdout().lock();
        if self.run.format.kind() == Kind::Json {
            for row in rows {
                writeln!(out, "{}", row.to_json())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        match file {
            Some(file) => writeln!(out, "{NAME}: {}\n", file.path.display())?,
            None => writeln!(out, "{NAME}: none, neither here nor in a directory above\n")?,
        }
        let wide = |column: fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or(0).min(40);
        let options = wide(|row| text::width(&row.option));
        let values = wide(|row| text::width(&row.value()));
        for row in &rows {
            let (option, value) = (&row.option, row.value());
            writeln!(out, "{option:options$}  {value:values$}  {}", row.source)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A row for each QEMU.
    fn qemus(&self, arg: &Arg, matches: &ArgMatches) -> Vec<Row> {
        let named = self.run.qemu.named();
        let rows = named.into_iter().map(|named| Row {
            option: if named.name == "default" {
                shown(arg)
            } else {
                format!("{} {}", shown(arg), named.name)
            },
            values: vec![named.path],
            source: named.at.map_or_else(|| given(arg, matches), Source::File),
        });
        let rows: Vec<Row> = rows.collect();
        if rows.is_empty() {
            vec![Row { option: shown(arg), values: Vec::new(), source: Source::Unset }]
        } else {
            rows
        }
    }
}

fn row(arg: &Arg, matches: &ArgMatches, file: Option<&File>) -> Row {
    let id = arg.get_id().as_str();
    let values = matches.get_raw(id).into_iter().flatten();
    let source = match matches.value_source(id) {
        Some(ValueSource::DefaultValue) => match file.and_then(|file| file.setting(id)) {
            Some(setting) => Source::File(setting.at.clone()),
            None => Source::Default,
        },
        _ => given(arg, matches),
    };
    Row {
        option: shown(arg),
        values: values.map(|value| value.to_string_lossy().into_owned()).collect(),
        source,
    }
}

/// The source of a value that is not a default.
fn given(arg: &Arg, matches: &ArgMatches) -> Source {
    match (matches.value_source(arg.get_id().as_str()), arg.get_env()) {
        (Some(ValueSource::EnvVariable), Some(variable)) => {
            Source::Environment(variable.to_string_lossy().into_owned())
        }
        (Some(_), _) => Source::Option,
        (None, _) => Source::Unset,
    }
}

/// An option as the user writes it.
fn shown(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => "GLOB".to_owned(),
    }
}

impl Row {
    fn value(&self) -> String {
        if self.values.is_empty() { "-".to_owned() } else { text::one_line(&self.values.join(", ")) }
    }

    fn to_json(&self) -> Value {
        let (source, place) = match &self.source {
            Source::Option => ("option", json!({})),
            Source::Environment(variable) => ("environment", json!({"variable": variable})),
            Source::File(at) => ("file", json!({"file": at.path(), "line": at.line})),
            Source::Default => ("default", json!({})),
            Source::Unset => ("unset", json!({})),
        };
        let mut object = json!({"option": self.option, "values": self.values, "source": source});
        for (name, value) in place.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Option => f.write_str("option"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(at) => write!(f, "{}:{}", at.path().display(), at.line),
            Self::Default => f.write_str("default"),
            Self::Unset => f.write_str("not set"),
        }
    }
}
