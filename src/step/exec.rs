//! `exec`.

use std::collections::BTreeMap;
use std::io::Write;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::{Complaints, Exit, Rule, Scene, StepAction};
use crate::qemu::process::Ended;
use crate::qemu::programs::{comes_with_qemu, program};
use crate::qemu::spec::Scalar;
use crate::session::artifacts::EXECS;
use crate::session::board::Trouble;
use crate::session::process::{Background, input};
use crate::session::{Cause, Failure, Session};

/// Runs a host process and waits for it to exit, unless it runs in the background. The result is
/// `{stdout, stderr, exit}`.
///
/// Its output (up to 1 MiB of each stream) is in `exec.log` of the artifacts, if `--keep` keeps them.
///
/// It runs in the case's private directory, in its own process group, which is killed at the end of the case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments. `qemu-img`, `qemu-io`, `qemu-nbd` and `qemu-storage-daemon` are those next to the QEMU
    /// of the first VM, else those in `PATH`; a case whose program is in neither place is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// A shell command, for `sh -c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sh: Option<String>,
    /// Runs it in the background under this name; `wait: {process: NAME}` waits for it to exit. If no step of the case
    /// waits for it and `exit` does not allow it, an exit before the end of the case fails the case at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// With `background`: a regular expression. The step ends once the process has written a matching line to its standard
    /// output or error, and fails if the process exits first. The result has the `line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Environment variables, in addition to those of the runner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Scalar>,
    /// Its standard input. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// The expected exit: a status, `{signal: KILL}`, or `any`. Default: 0. With `background`: the exit that is allowed
    /// before the end of the case. Default: none, unless a step waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

impl Exec {
    /// The command line.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match (&self.run, &self.sh) {
            (Some(argv), _) => argv.clone(),
            (None, Some(command)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()],
            (None, None) => Vec::new(),
        }
    }

    /// The program, if it is one that comes with QEMU.
    #[must_use]
    pub fn of_qemu(&self) -> Option<&str> {
        self.run.as_ref()?.first().map(String::as_str).filter(|name| comes_with_qemu(name))
    }

    /// The command for messages.
    #[must_use]
    pub fn command(&self) -> String {
        let words = || self.run.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        self.sh.clone().unwrap_or_else(words)
    }

    /// The exit that it must have, unless it runs in the background.
    pub(super) fn expected(&self) -> Exit {
        self.exit.unwrap_or(Exit::Status(0))
    }

    /// Starts it. `trouble` decides whether its end is trouble.
    pub(super) fn start(
        &self,
        session: &Session,
        trouble: impl Fn(Ended) -> Option<Trouble> + Send + 'static,
    ) -> Result<Background, Failure> {
        let env = self.env.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        let around = (session.board(), session.notes());
        let mut argv = self.argv();
        if let Some(name) = self.of_qemu() {
            argv[0] = program(&session.first_qemu(), name).display().to_string();
        }
        let stdin = self.stdin.as_deref().map(|text| input(text, session.directory())).transpose()?;
        Background::start(argv, env, stdin, session.directory(), around, trouble)
    }

    /// Which exit of the process is trouble.
    fn trouble(&self, session: &Session) -> impl Fn(Ended) -> Option<Trouble> + Send + 'static {
        let name = self.background.clone().filter(|name| !session.awaits(name));
        let allowed = self.exit;
        move |how| {
            let name = name.clone().filter(|_| !allowed.is_some_and(|exit| exit.matches(how)))?;
            Some(Trouble::ProcessEnded { name, how })
        }
    }
}

impl StepAction for Exec {
    const EXAMPLE: &str = "{sh: \"…\"}";
    const SNIPPET: Option<&str> = Some(r#"{"run": ["$1"]}"#);
    const RULES: &[Rule] = &[
        Rule::ExactlyOne {
            keys: &["run", "sh"],
            none: ("no program is given", "add `run: [program, argument…]` or `sh: \"…\"`"),
            both: "keep one",
        },
        Rule::GoesWith { key: "ready", owners: &["background"] },
    ];

    fn title(&self) -> String {
        let what = super::brief(&serde_json::Value::String(self.command()));
        match &self.background {
            Some(name) => {
                let ready = self.ready.as_ref().map(|line| format!(" until /{line}/"));
                format!("exec {name} in the background{}: {what}", ready.unwrap_or_default())
            }
            None => format!("exec {what}"),
        }
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.run.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
            complaints.add(&["run"], "the program's name is empty", "write `run: [program, argument…]`");
        }
        if let Some(expression) = &self.ready {
            complaints.regex(&["ready"], expression);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let session = run.session;
        if let Some(name) = &self.background
            && session.background().get(name).is_some_and(|process| process.ended().is_none())
        {
            return Err(Failure::failed(format!("process `{name}` is already running")));
        }
        let mut process = self.start(session, self.trouble(session))?;
        if let Some(name) = &self.background {
            let pid = process.pid();
            if self.ready.is_some() {
                process.watch_output(session.board()).map_err(|error| {
                    Failure::error(format!("cannot watch the output of `{name}`: {error}"))
                })?;
            }
            if let Some(old) = session.add_background(name, process) {
                record(session, &old, &format!("exec {name} in the background"))?;
            }
            let Some(expression) = &self.ready else {
                return Ok(json!({"pid": pid}));
            };
            return Ok(json!({"pid": pid, "line": ready(run, name, expression).await?}));
        }
        let expected = self.expected();
        let ended = session.elsewhere(tokio::time::timeout_at(run.deadline, process.wait())).await;
        record(session, &process, &self.title())?;
        match ended {
            Ok(how) if expected.matches(how) => Ok(process.result()),
            Ok(how) => Err(expected.mismatch(format!("`{}`", self.argv().join(" ")), how, process.said())),
            Err(_) => Err(Failure::late(format!(
                "`{}` did not end within {}: {}",
                self.argv().join(" "),
                run.waited(),
                process.state_and_output()
            ))),
        }
    }
}

/// Saves the output of a process for the artifacts.
pub(super) fn record(session: &Session, process: &Background, title: &str) -> Result<(), Failure> {
    let path = session.directory().join(EXECS);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(process.record(title).as_bytes()));
    written.map_err(|error| Failure::error(format!("cannot save the output of `{title}`: {error}")))
}

/// Waits until a background process has written a line that matches the expression.
async fn ready(run: &Running<'_>, name: &str, expression: &str) -> Result<String, Failure> {
    let line = Regex::new(expression).map_err(|error| Failure::error(error.to_string()))?;
    let process =
        |session: &Session| session.background().get(name).map(|process| process.state_and_output());
    let look = |session: &Session| {
        let Some(process) = session.background().get(name).cloned() else {
            return Ok(None);
        };
        // In this order, so that its last output counts.
        let ended = process.ended();
        match (process.find_line(&line), ended) {
            (None, Some(how)) => {
                let what = format!("process `{name}` ended before it wrote a line matching /{expression}/");
                Err(Cause::Exit { what, expected: None, how, said: process.said() }.into())
            }
            (found, _) => Ok(found),
        }
    };
    let awaited = format!("process `{name}` to write a line matching /{expression}/");
    run.until(&awaited, look, |session| process(session).unwrap_or_default()).await
}
