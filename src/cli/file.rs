//! `lockstep.toml`: the options of a project. Its values become the defaults of the options, so that an option on the
//! command line and an environment variable win over them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::invalid_value::refusal;
use super::qemu::Named;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, SourceFile, suggest};

/// The name of the file.
pub(super) const NAME: &str = "lockstep.toml";

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Texts,
    Number,
    /// A number, or a word.
    NumberOrText,
    Path,
    Paths,
    /// The path of a program, or the name of one in `PATH`.
    Program,
    /// A table of them.
    Programs,
}

/// A key of the file.
struct Key {
    name: &'static str,
    /// The option that it sets, by its identifier in `lockstep run`.
    option: &'static str,
    form: Form,
    example: &'static str,
}

const fn key(name: &'static str, option: &'static str, form: Form, example: &'static str) -> Key {
    Key { name, option, form, example }
}

/// The keys.
const KEYS: [Key; 12] = [
    key("scenarios", "files", Form::Paths, "[\"scenarios\", \"more/*.yaml\"]"),
    key("tags", "tag", Form::Texts, "[\"!soak\"]"),
    key("qemu", "qemu", Form::Program, "\".qemu/sid/bin/qemu-system-x86_64\""),
    key("qemus", "qemu", Form::Programs, "{old = \"/usr/bin/qemu-system-x86_64\"}"),
    key("accel", "accel", Form::Text, "\"tcg\""),
    key("guests", "guests", Form::Path, "\".guests\""),
    key("jobs", "jobs", Form::NumberOrText, "2"),
    key("slow", "slow", Form::Number, "2.5"),
    key("retries", "retries", Form::Number, "1"),
    key("flaky", "flaky", Form::Text, "\"pass\""),
    key("reports", "reports", Form::Path, "\"reports\""),
    key("keep", "keep", Form::Text, "\"always\""),
];

/// A value of the file.
#[derive(Debug)]
pub(super) struct Setting {
    /// The option that it sets.
    option: &'static str,
    /// Its values as on the command line, each with its place.
    values: Vec<(String, Location)>,
    /// Its place.
    pub(super) at: Location,
}

impl Setting {
    /// Its values as on the command line.
    pub(super) fn texts(&self) -> Vec<String> {
        self.values.iter().map(|(value, _)| value.clone()).collect()
    }

    /// The places of its values.
    pub(super) fn places(&self) -> Vec<Location> {
        self.values.iter().map(|(_, at)| at.clone()).collect()
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct File {
    /// Its path, relative to the working directory.
    pub(super) path: PathBuf,
    settings: Vec<Setting>,
    /// The QEMUs that it names.
    pub(super) qemus: Vec<Named>,
}

/// The file of the working directory, or of the nearest directory above it.
fn path() -> Option<PathBuf> {
    let mut path = PathBuf::from(NAME);
    for _ in std::env::current_dir().ok()?.ancestors() {
        if path.symlink_metadata().is_ok() {
            return Some(path);
        }
        path = Path::new("..").join(path);
    }
    None
}

impl File {
    /// Reads the file of the working directory, if there is one, for the options of `run`.
    pub(super) fn find(run: &Command) -> Result<Option<Self>, Diagnostics> {
        match path() {
            Some(path) => Self::parse(&read(path)?, run).map(Some),
            None => Ok(None),
        }
    }

    fn parse(source: &Arc<SourceFile>, run: &Command) -> Result<Self, Diagnostics> {
        let table = DeTable::parse(&source.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let at = Location::of(source, span.start, span.end);
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            only(Diagnostic::error(Code::Syntax, &at, format!("not valid TOML: {message}")))
        })?;
        let mut reading = Reading { source, run, mistakes: Diagnostics::default(), qemus: Vec::new() };
        let settings =
            table.get_ref().iter().filter_map(|(key, value)| reading.entry(key.get_ref(), key.span(), value));
        let settings = settings.collect();
        let Reading { mistakes, qemus, .. } = reading;
        if mistakes.has_errors() {
            return Err(mistakes);
        }
        Ok(Self { path: source.path.clone(), settings, qemus })
    }

    /// What it sets for an option.
    pub(super) fn setting(&self, option: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.option == option)
    }

    /// The command line with the values of the file as defaults.
    pub(super) fn defaults(&self, command: Command) -> Command {
        command.mut_subcommands(|subcommand| {
            self.settings.iter().fold(subcommand, |subcommand, setting| {
                if !subcommand.get_arguments().any(|arg| arg.get_id() == setting.option) {
                    return subcommand;
                }
                subcommand.mut_arg(setting.option, |arg| arg.default_values(setting.texts()))
            })
        })
    }
}

/// The text of the file.
fn read(path: PathBuf) -> Result<Arc<SourceFile>, Diagnostics> {
    let text = std::fs::read(&path).and_then(|bytes| {
        String::from_utf8(bytes)
            .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
    });
    match text {
        Ok(text) => Ok(Arc::new(SourceFile::new(path, text))),
        Err(error) => {
            let source = Arc::new(SourceFile::new(path, ""));
            let message = format!("cannot read the file: {error}");
            Err(only(Diagnostic::error(Code::Unreadable, &Location::top_of(&source), message)))
        }
    }
}

fn only(diagnostic: Diagnostic) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    diagnostics.push(diagnostic);
    diagnostics
}

/// The file while it is read.
struct Reading<'f> {
    source: &'f Arc<SourceFile>,
    run: &'f Command,
    mistakes: Diagnostics,
    qemus: Vec<Named>,
}

type Value<'f> = Spanned<DeValue<'f>>;

impl Reading<'_> {
    fn at(&self, span: std::ops::Range<usize>) -> Location {
        Location::of(self.source, span.start, span.end)
    }

    fn wrong(&mut self, at: &Location, message: String, help: impl Into<String>) {
        self.mistakes.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
    }

    fn entry(&mut self, name: &str, span: std::ops::Range<usize>, value: &Value<'_>) -> Option<Setting> {
        let at = self.at(span);
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let help = suggest(name, KEYS.iter().map(|key| key.name));
            let message = format!("unknown key `{name}`");
            self.mistakes.push(Diagnostic::error(Code::UnknownKey, &at, message).help(help));
            return None;
        };
        let values = match (key.form, value.get_ref()) {
            (Form::Programs, DeValue::Table(table)) => {
                for (name, value) in table {
                    self.program(key, name.get_ref(), value);
                }
                return None;
            }
            (Form::Programs, other) => {
                return self.wrong_form(key, &self.at(value.span()), "a table of paths", other);
            }
            (Form::Program, _) => {
                self.program(key, "default", value);
                return None;
            }
            (Form::Texts | Form::Paths, DeValue::Array(items)) => {
                items.iter().map(|item| self.value(key, item)).collect::<Option<Vec<_>>>()?
            }
            _ => vec![self.value(key, value)?],
        };
        if values.is_empty() {
            let help = format!("write `{} = {}`, or omit the key", key.name, key.example);
            self.wrong(&self.at(value.span()), format!("`{name}` is empty"), help);
            return None;
        }
        Some(Setting { option: key.option, values, at })
    }

    /// A QEMU.
    fn program(&mut self, key: &Key, name: &str, value: &Value<'_>) {
        if name.is_empty() || name.contains(['=', ',']) || (key.form == Form::Programs && name == "default") {
            let help = "set the QEMU without a name by `qemu`";
            self.wrong(&self.at(value.span()), format!("`{name}` cannot be the name of a QEMU"), help);
        } else if let Some((path, at)) = self.value(key, value) {
            self.qemus.push(Named { name: name.to_owned(), path, at: Some(at) });
        }
    }

    /// A value as on the command line, and its place.
    fn value(&mut self, key: &Key, value: &Value<'_>) -> Option<(String, Location)> {
        let at = self.at(value.span());
        let text = match (key.form, value.get_ref()) {
            (Form::Number | Form::NumberOrText, DeValue::Integer(number)) => {
                let known = i128::from_str_radix(number.as_str(), number.radix());
                known.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())
            }
            (Form::Number | Form::NumberOrText, DeValue::Float(number)) => number.as_str().to_owned(),
            (Form::Number, other) => return self.wrong_form(key, &at, "a number", other),
            (_, DeValue::String(text)) => text.to_string(),
            (Form::Texts | Form::Paths, other) => return self.wrong_form(key, &at, "a list of texts", other),
            (Form::Programs, other) => return self.wrong_form(key, &at, "a table of paths", other),
            (Form::Path | Form::Program, other) => return self.wrong_form(key, &at, "a path", other),
            (Form::NumberOrText, other) => {
                return self.wrong_form(key, &at, "a number or a text", other);
            }
            (Form::Text, other) => return self.wrong_form(key, &at, "a text", other),
        };
        let arg = self.run.get_arguments().find(|arg| arg.get_id() == key.option);
        if let Some((message, help)) = arg.and_then(|arg| refused(arg, key, &text)) {
            self.wrong(&at, message, help);
            return None;
        }
        let is_path = match key.form {
            Form::Path | Form::Paths => true,
            Form::Program | Form::Programs => text.contains('/'),
            Form::Text | Form::Texts | Form::Number | Form::NumberOrText => false,
        };
        // The file's directory is empty if it is the working directory.
        let folder = self.source.path.parent().unwrap_or(Path::new(""));
        let text = if is_path { folder.join(text).display().to_string() } else { text };
        Some((text, at))
    }

    fn wrong_form<T>(&mut self, key: &Key, at: &Location, expected: &str, value: &DeValue<'_>) -> Option<T> {
        let found = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let help = format!("write `{} = {}`", key.name, key.example);
        self.wrong(at, format!("`{}` is {expected}, not {found}", key.name), help);
        None
    }
}

/// Why an option does not accept a value, and what would be right.
fn refused(arg: &Arg, key: &Key, text: &str) -> Option<(String, String)> {
    let example = || format!("write `{} = {}`", key.name, key.example);
    if text.is_empty() {
        return Some((format!("a value of `{}` is empty", key.name), example()));
    }
    if arg.get_value_delimiter().is_some_and(|delimiter| text.contains(delimiter)) {
        let message = format!("a value of `{}` cannot contain a comma", key.name);
        return Some((message, example()));
    }
    // Paths have their own checks when they are used.
    if matches!(key.form, Form::Path | Form::Paths | Form::Program | Form::Programs) {
        return None;
    }
    let option = arg.clone().env(None::<&str>).default_value(None::<&str>);
    let given = format!("--{}={text}", option.get_long()?);
    let error = Command::new("check").arg(option).try_get_matches_from(["check", &given]).err()?;
    let (reason, help) = refusal(&error, text);
    Some((format!("not a valid `{}`: {reason}", key.name), help.unwrap_or_else(example)))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
