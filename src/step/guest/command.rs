//! A command for a guest.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::step::{Complaints, brief};

/// A command for a guest: a text for `/bin/sh`, or a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Command {
    /// For the shell.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

impl Command {
    /// The program and its arguments.
    pub(super) fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
            Self::Program(argv) => argv.clone(),
        }
    }

    /// The same for a shell.
    pub(super) fn script(&self) -> String {
        match self {
            Self::Shell(text) => text.clone(),
            Self::Program(argv) => argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        }
    }

    /// The same for the login shell of another machine. It stays, so that the end by a signal is a status.
    pub(super) fn remote_script(&self) -> String {
        let argv = Self::Program(self.argv());
        format!("{}; exit $?", argv.script())
    }

    /// Checks the command at this path.
    pub(in crate::step) fn check(&self, path: &[&str], complaints: &mut Complaints) {
        let is_empty = match self {
            Self::Shell(text) => text.trim().is_empty(),
            Self::Program(argv) => argv.first().is_none_or(String::is_empty),
        };
        if is_empty {
            let help = "write `[PROGRAM, ARGUMENT…]`, or a text for the shell";
            complaints.add(path, "the command is empty", help);
        }
    }
}

/// A word for a shell, always in quotes: else a reserved word or an alias would be more than a word.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(text) => f.write_str(&brief(&json!(text))),
            Self::Program(argv) => f.write_str(&brief(&json!(argv.join(" ")))),
        }
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;
        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text for the shell or a list `[PROGRAM, ARGUMENT…]`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                Ok(Command::Shell(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Command, A::Error> {
                let mut argv = Vec::new();
                while let Some(word) = seq.next_element()? {
                    argv.push(word);
                }
                Ok(Command::Program(argv))
            }
        }
        deserializer.deserialize_any(CommandVisitor)
    }
}

impl JsonSchema for Command {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_quoted_for_the_console() {
        let command: Command = serde_json::from_value(json!(["printf", "%s|", "it's", "a b", ""])).unwrap();
        let output = std::process::Command::new("sh").args(["-c", &command.script()]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "it's|a b||");
        let command: Command = serde_json::from_value(json!("echo $HOME")).unwrap();
        assert_eq!(command.argv(), ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(command.remote_script(), "'/bin/sh' '-c' 'echo $HOME'; exit $?");
    }
}
