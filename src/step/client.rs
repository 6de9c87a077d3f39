//! `client`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Rule, Scene, StepAction};
use crate::session::client::Work;
use crate::session::{Failure, Session};
use crate::template;
use crate::units::Span;

/// Starts or stops a client of a service in a guest: a task of the runner that runs beside the steps that follow.
///
/// With `connect` it sends numbered lines over TCP, `1`, `2`, `3`…, and expects `ok 1` before it sends the next: an
/// acknowledged line must never be lost. It waits for each answer without a limit. If the connection is closed or reset,
/// it reconnects and continues with the first line that was not acknowledged. `check: {client: …}` and `run.client.NAME`
/// use its record. With `send: datagrams` it sends UDP and expects no answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The client's name. Each name can be started only once.
    pub name: String,
    /// The service, as `HOST:PORT`. The step ends once the first line is acknowledged, which shows that the service is
    /// up; see `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// The pause from an answer to the next line (default `20ms`), or between two datagrams (default `2ms`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// The first number, so that several clients can use different numbers. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// `true`: the service draws a number for each line and answers `ok N NUMBER`, as port 7003 of the Linux guest does.
    /// `check: {client: …, known_at: …}` compares these numbers. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<bool>,
    /// `false`: the step ends at once, without waiting for the first answer. Default: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// `datagrams`: sends UDP to `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Sent>,
    /// The target of the datagrams, as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The size of each datagram in bytes. Default: 1400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
    /// `true` stops it: after the pending answer, or at the step's deadline if none comes (the result then has
    /// `answered: false`). Its record is kept. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
}

/// What a client sends instead of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sent {
    /// UDP datagrams.
    Datagrams,
}

impl Client {
    /// Whether the step starts it.
    #[must_use]
    pub const fn starts(&self) -> bool {
        !self.stop
    }

    async fn end(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let client = find(run.session, &self.name)?;
        client.ask_to_stop();
        let stopped = |session: &Session| Ok(find(session, &self.name)?.is_stopped().then_some(()));
        let answered = run.until("it to stop", stopped, |_| String::new()).await.is_ok();
        if !answered {
            client.stop_now();
        }
        let mut result = client.values();
        result["answered"] = answered.into();
        Ok(result)
    }
}

impl StepAction for Client {
    const EXAMPLE: &str = "{name: NAME, connect: \"HOST:PORT\"}";
    const SNIPPET: Option<&str> = Some(r#"{"name": "$1", "connect": "127.0.0.1:{{port.$2}}"}"#);
    const RULES: &[Rule] = &[
        Rule::ExactlyOne {
            keys: &["connect", "send", "stop"],
            none: (
                "the step does not say what the client does",
                "add `connect: HOST:PORT`, `send: datagrams` with `to`, or `stop: true`",
            ),
            both: "make it two steps",
        },
        Rule::GoesWith { key: "every", owners: &["connect", "send"] },
        Rule::GoesWith { key: "first", owners: &["connect"] },
        Rule::GoesWith { key: "draws", owners: &["connect"] },
        Rule::GoesWith { key: "wait", owners: &["connect"] },
        Rule::GoesWith { key: "to", owners: &["send"] },
        Rule::GoesWith { key: "size", owners: &["send"] },
        Rule::Needs {
            key: "send",
            any: &["to"],
            none: ("the datagrams have no target", "add `to: HOST:PORT`"),
        },
    ];

    fn title(&self) -> String {
        let name = &self.name;
        match (&self.connect, &self.to) {
            _ if self.stop => format!("client {name}: stop"),
            (Some(address), _) if self.draws == Some(true) => format!("client {name}: draws from {address}"),
            (Some(address), _) => format!("client {name}: lines to {address}"),
            (None, Some(address)) => format!("client {name}: datagrams to {address}"),
            (None, None) => format!("client {name}"),
        }
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        for (key, address) in [("connect", &self.connect), ("to", &self.to)] {
            if let Some(address) = address.as_ref().filter(|address| !is_address(address)) {
                let message = format!("`{address}` is not a valid `HOST:PORT`");
                complaints.add(&[key], message, "write `127.0.0.1:7000`");
            }
        }
        if self.send.is_some() && self.every.is_some_and(|every| every.0.is_zero()) {
            complaints.add(&["every"], "the pause between datagrams must not be zero", "write `1ms` or more");
        }
        if self.stop {
            complaints.client(scene, &["name"], &self.name);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        if self.stop {
            return self.end(run).await;
        }
        let name = &self.name;
        if run.session.clients().contains_key(name) {
            let message = format!("client `{name}` was already started; use another name");
            return Err(Failure::failed(message));
        }
        let every = |default: Span| self.every.unwrap_or(default).0;
        let work = match (&self.connect, &self.to) {
            (Some(connect), _) => Work::Lines {
                connect: connect.clone(),
                every: every(Span(std::time::Duration::from_millis(20))),
                first: self.first.unwrap_or(1),
                draws: self.draws.unwrap_or(false),
            },
            (None, to) => Work::Datagrams {
                to: to.clone().unwrap_or_default(),
                every: every(Span(std::time::Duration::from_millis(2))),
                size: self.size.unwrap_or(1400).into(),
            },
        };
        let (board, sink) = (run.session.board(), run.session.sink());
        let client = crate::session::client::Client::start(name, work, board, sink)
            .map_err(|error| Failure::error(format!("cannot start client `{name}`: {error}")))?;
        run.session.add_client(name, client);
        if self.wait != Some(false) {
            let awaited = format!("client `{name}` to get its first answer");
            let look = |session: &Session| Ok(find(session, name)?.is_up().then_some(()));
            run.until(&awaited, look, |session| summary(session, name)).await?;
        }
        Ok(find(run.session, name)?.values())
    }
}

pub(super) fn is_address(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok() || template::is_template(port);
    template::is_template(text)
        || text.rsplit_once(':').is_some_and(|(host, number)| !host.is_empty() && port(number))
}

/// A started client.
///
/// # Errors
/// If there is none of that name.
pub(super) fn find<'s>(
    session: &'s Session,
    name: &str,
) -> Result<&'s crate::session::client::Client, Failure> {
    session
        .clients()
        .get(name)
        .ok_or_else(|| Failure::failed(format!("client `{name}` has not been started")))
}

/// A started client that sends lines.
///
/// # Errors
/// As [`find`], or if it sends datagrams.
pub(super) fn find_with_lines<'s>(
    session: &'s Session,
    name: &str,
) -> Result<&'s crate::session::client::Client, Failure> {
    let client = find(session, name)?;
    if client.has_lines() {
        return Ok(client);
    }
    Err(Failure::error(format!("client `{name}` sends datagrams, which are not acknowledged")))
}

/// A client's summary, for a failure message.
pub(super) fn summary(session: &Session, name: &str) -> String {
    session
        .clients()
        .get(name)
        .map_or_else(|| "no such client".to_owned(), super::super::session::client::Client::summary)
}
