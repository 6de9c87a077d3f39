//! `client`.

use regex::RegexBuilder;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Rule, Scene, StepAction, alternatives};
use crate::session::client::{self as service, Client as Started, Service, Work, with_number};
use crate::session::{Failure, Session};
use crate::template;
use crate::units::Span;

/// The maximum number of connections of a client.
const MAX_CONNECTIONS: u32 = 100;

/// Starts or stops a client of a service in a guest: a task of the runner that runs beside the steps that follow.
///
/// With `connect` it sends numbered lines over TCP, `1`, `2`, `3`…, and expects `ok 1` before it sends the next: an
/// acknowledged line must never be lost. It waits for each answer without a limit. If the connection is closed or reset,
/// it reconnects and continues with the first line that was not acknowledged. `check: {client: …}` and `run.client.NAME`
/// use its record. With `send: datagrams` it sends UDP and expects no answers.
///
/// With `speaks` it uses another protocol, and does numbered operations as `does` says. An operation whose answer was
/// lost with the connection is not sent again: its outcome is unknown. `check: {client: …, history: kept}` compares all
/// operations with what the service holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The client's name. Each name can be started only once.
    pub name: String,
    /// The service, as `HOST:PORT`. The step ends once the first line or operation is acknowledged, which shows that the
    /// service is up; see `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// The protocol. Default: `lines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Speaks>,
    /// The operations. Needed with each protocol but `lines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub does: Option<Does>,
    /// With `redis`, the key of the list, the counter or the register; with `postgres`, the table, which the client
    /// makes. No other client should write to it. Default: `lockstep-NAME`, with the client's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With `http`: the path of the page or the register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// With `does: register`: the number of connections that are used at the same time, up to 100. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// With `postgres`: the user. Default: `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With `redis` and `postgres`: the password. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// With `postgres`: the database. Default: `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// With `lines`: the line that is sent, with `{n}` for the number. Default: `{n}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// With `lines`, a regular expression that the answer must match, with `{n}` for the number. A group in it is the
    /// value that the service returned. Default: `^ok {n}$`. With `does: get`, one that must match in the
    /// page; `^` and `$` match at line boundaries. Default: any page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// With `does: get`: the status that the answer must have. Default: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The pause from an answer to the next line or operation (default `20ms`), or between two datagrams (default
    /// `2ms`).
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

/// The protocol of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// Numbered lines of text, each with an answer.
    Lines,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// HTTP/1.1.
    Http,
}

/// The operations of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// Appends its number to a list (`RPUSH`), or inserts a row with it.
    Append,
    /// Adds one to a counter and gets the sum (`INCR`, `UPDATE … RETURNING`).
    Count,
    /// Writes a register with odd numbers (`SET`, `UPDATE`, `PUT`) and reads it with even ones (`GET`, `SELECT`), so
    /// that each value is written once.
    Register,
    /// Gets a page, over and over.
    Get,
}

/// The keys, and values of `does`, that need one of some values of another key.
const NEEDS_VALUE: &[(&str, &[&str])] = &[
    ("does: append", &["speaks: redis", "speaks: postgres"]),
    ("does: count", &["speaks: redis", "speaks: postgres"]),
    ("does: register", &["speaks: redis", "speaks: postgres", "speaks: http"]),
    ("does: get", &["speaks: http"]),
    ("speaks: redis", &["does: append", "does: count", "does: register"]),
    ("speaks: postgres", &["does: append", "does: count", "does: register"]),
    ("speaks: http", &["does: register", "does: get"]),
    ("key", &["speaks: redis", "speaks: postgres"]),
    ("path", &["speaks: http"]),
    ("connections", &["does: register"]),
    ("user", &["speaks: postgres"]),
    ("password", &["speaks: redis", "speaks: postgres"]),
    ("database", &["speaks: postgres"]),
    ("request", &["speaks: lines"]),
    ("answer", &["speaks: lines", "does: get"]),
    ("status", &["does: get"]),
    ("draws", &["speaks: lines"]),
];

impl Client {
    /// Whether the service holds something that the history can be compared with.
    #[must_use]
    pub const fn has_contents(&self) -> bool {
        matches!(self.does, Some(Does::Append | Does::Count | Does::Register))
    }

    /// The service at its address.
    fn service(&self, address: &str) -> Result<Service, Failure> {
        let text = |given: &Option<String>, default: &str| given.as_deref().unwrap_or(default).to_owned();
        let key = text(&self.key, &format!("lockstep-{}", self.name));
        let speaks = match self.speaks.unwrap_or(Speaks::Lines) {
            Speaks::Lines => service::Speaks::Lines {
                request: text(&self.request, "{n}"),
                answer: self.answer.clone(),
                draws: self.draws.unwrap_or(false),
            },
            Speaks::Redis => service::Speaks::Redis { key, password: self.password.clone() },
            Speaks::Postgres => service::Speaks::Postgres {
                table: key,
                user: text(&self.user, "postgres"),
                password: self.password.clone(),
                database: text(&self.database, "postgres"),
            },
            Speaks::Http => service::Speaks::Http {
                path: text(&self.path, "/"),
                status: self.status.unwrap_or(200),
                answer: (self.answer.as_deref())
                    .map(|answer| RegexBuilder::new(answer).multi_line(true).build())
                    .transpose()
                    .map_err(|error| Failure::error(error.to_string()))?,
            },
        };
        let does = match self.does {
            None => service::Does::Lines,
            Some(Does::Append) => service::Does::Append,
            Some(Does::Count) => service::Does::Count,
            Some(Does::Register) => service::Does::Register,
            Some(Does::Get) => service::Does::Get,
        };
        Ok(Service { address: address.to_owned(), does, speaks })
    }

    /// Complains about keys that do not fit the protocol or the operations.
    fn check_values(&self, complaints: &mut Complaints) {
        let given = serde_json::to_value(self).unwrap_or_default();
        let has = |wanted: &str| match wanted.split_once(": ") {
            Some(("speaks", "lines")) if self.connect.is_some() && self.speaks.is_none() => true,
            Some((key, value)) => given[key] == value,
            None => !given[wanted].is_null(),
        };
        for (what, values) in NEEDS_VALUE {
            if self.connect.is_some() && has(what) && !values.iter().any(|value| has(value)) {
                let key = what.split(':').next().unwrap_or_default();
                let quoted: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                let quoted = alternatives(&quoted.iter().map(String::as_str).collect::<Vec<_>>());
                let help = format!("write {quoted}, or remove `{key}`");
                complaints.add(&[key], format!("`{what}` needs {quoted}"), help);
                break;
            }
        }
    }

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
        Rule::GoesWith { key: "speaks", owners: &["connect"] },
        Rule::GoesWith { key: "does", owners: &["connect"] },
        Rule::GoesWith { key: "key", owners: &["connect"] },
        Rule::GoesWith { key: "path", owners: &["connect"] },
        Rule::GoesWith { key: "connections", owners: &["connect"] },
        Rule::GoesWith { key: "user", owners: &["connect"] },
        Rule::GoesWith { key: "password", owners: &["connect"] },
        Rule::GoesWith { key: "database", owners: &["connect"] },
        Rule::GoesWith { key: "status", owners: &["connect"] },
        Rule::GoesWith { key: "request", owners: &["connect"] },
        Rule::GoesWith { key: "answer", owners: &["connect"] },
        Rule::Excludes {
            key: "draws",
            others: &["answer"],
            help: "write the drawn number as a group of `answer`",
        },
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
            (Some(address), _) => match (self.speaks, self.does) {
                (Some(speaks), Some(does)) => {
                    format!("client {name}: {does:?} at {address} ({speaks:?})").to_lowercase()
                }
                _ => format!("client {name}: lines to {address}"),
            },
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
        self.check_values(complaints);
        if let Some(answer) = &self.answer {
            complaints.regex(&["answer"], &with_number(answer, 1));
        }
        if self.connections.is_some_and(|count| !(1..=MAX_CONNECTIONS).contains(&count)) {
            let message = format!("`connections` must be 1 to {MAX_CONNECTIONS}");
            complaints.add(&["connections"], message, "write a number such as 4");
        }
        if self.path.as_ref().is_some_and(|path| !path.starts_with('/') && !template::is_template(path)) {
            complaints.add(&["path"], "the path does not start with `/`", "write one such as `/index.html`");
        }
        if self.speaks == Some(Speaks::Http) && self.path.is_none() {
            complaints.add(&["speaks"], "`speaks: http` needs `path`", "add `path: /`");
        }
        if self.speaks == Some(Speaks::Postgres) && !cfg!(feature = "postgres") {
            let help = "build it with the cargo feature `postgres`";
            complaints.add(&["speaks"], "this Lockstep was built without PostgreSQL", help);
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
            (Some(connect), _) => Work::Operations {
                service: self.service(connect)?,
                every: every(Span(std::time::Duration::from_millis(20))),
                first: self.first.unwrap_or(1),
                connections: self.connections.unwrap_or(1),
            },
            (None, to) => Work::Datagrams {
                to: to.clone().unwrap_or_default(),
                every: every(Span(std::time::Duration::from_millis(2))),
                size: self.size.unwrap_or(1400).into(),
            },
        };
        let (board, sink) = (run.session.board(), run.session.sink());
        let client = Started::start(name, work, board, sink)
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
pub(super) fn find(session: &Session, name: &str) -> Result<Arc<Started>, Failure> {
    let found = session.clients().get(name).cloned();
    found.ok_or_else(|| Failure::failed(format!("client `{name}` has not been started")))
}

/// A started client that sends lines.
///
/// # Errors
/// As [`find`], or if it sends datagrams.
pub(super) fn find_with_lines(session: &Session, name: &str) -> Result<Arc<Started>, Failure> {
    let client = find(session, name)?;
    if client.has_lines() {
        return Ok(client);
    }
    Err(Failure::error(format!("client `{name}` sends datagrams, which are not acknowledged")))
}

/// A client's summary, for a failure message.
pub(super) fn summary(session: &Session, name: &str) -> String {
    let clients = session.clients();
    clients.get(name).map_or_else(|| "no such client".to_owned(), |client| client.summary())
}
