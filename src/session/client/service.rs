//! A connection to a service, in the protocol that it speaks.

use std::io;

use regex::Regex;

use super::history::Contents;
use super::http::Http;
use super::lines::Lines;
#[cfg(feature = "postgres")]
use super::postgres::Postgres;
use super::redis::Redis;
use super::request::{Does, Request, Trouble, Wrong};

/// A service, and what is done with it.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its address, `HOST:PORT`.
    pub address: String,
    /// What is done with it.
    pub does: Does,
    /// The protocol.
    pub speaks: Speaks,
}

/// A protocol, with what it needs to know.
#[derive(Debug, Clone)]
pub enum Speaks {
    /// Lines of text.
    Lines {
        /// The line that is sent; `{n}` is the number.
        request: String,
        /// What the answer must match; `{n}` is the number. A group is the value that it returns. `None`: `ok {n}`.
        answer: Option<String>,
        /// Whether an answer `ok {n}` has a value behind it.
        draws: bool,
    },
    /// RESP, the protocol of Redis.
    Redis {
        /// The key of the list, the counter or the register.
        key: String,
        /// The password, if one is needed.
        password: Option<String>,
    },
    /// The protocol of PostgreSQL.
    Postgres {
        /// The table.
        table: String,
        /// The name of the user.
        user: String,
        /// The password, if one is needed.
        password: Option<String>,
        /// The database.
        database: String,
    },
    /// HTTP/1.1.
    Http {
        /// The path of the page or the register.
        path: String,
        /// The status of the answer to a `get`.
        status: u16,
        /// What the answer to a `get` must match.
        answer: Option<Regex>,
    },
}

/// A connection to a service.
#[derive(Debug)]
pub(super) enum Connection {
    Lines(Lines),
    Redis(Redis),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
    Http(Http),
}

impl Connection {
    pub(super) async fn open(service: &Service) -> io::Result<Self> {
        let address = service.address.as_str();
        Ok(match &service.speaks {
            Speaks::Lines { request, answer, draws } => {
                Self::Lines(Lines::open(address, request, answer.as_deref(), *draws).await?)
            }
            Speaks::Redis { key, password } => {
                Self::Redis(Redis::open(address, key, password.as_deref()).await?)
            }
            #[cfg(feature = "postgres")]
            Speaks::Postgres { table, user, password, database } => {
                let login = (user.as_str(), password.as_deref(), database.as_str());
                Self::Postgres(Postgres::open(address, table, login).await?)
            }
            #[cfg(not(feature = "postgres"))]
            Speaks::Postgres { .. } => return Err(io::Error::other("built without PostgreSQL")),
            Speaks::Http { path, status, answer } => {
                Self::Http(Http::open(address, path, *status, answer.clone()).await?)
            }
        })
    }

    /// Makes what the operations need, unless it is there. Has no effect on it if it is done late.
    pub(super) async fn prepare(&mut self, does: Does) -> Result<(), Trouble> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.prepare(does).await,
            _ => {
                let _ = does;
                Ok(())
            }
        }
    }

    /// Does one operation; returns the value that the service returned.
    pub(super) async fn perform(
        &mut self,
        request: Request,
        wrong: Wrong<'_>,
    ) -> Result<Option<String>, Trouble> {
        match self {
            Self::Lines(connection) => connection.perform(request.number, wrong).await,
            Self::Redis(connection) => connection.perform(request).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.perform(request).await,
            Self::Http(connection) => connection.perform(request, wrong).await,
        }
    }

    /// Reads what the service holds.
    pub(super) async fn contents(&mut self, does: Does) -> Result<Contents, Trouble> {
        match self {
            Self::Lines(_) => Err(Trouble::Refused("lines are not read back".to_owned())),
            Self::Redis(connection) => connection.contents(does).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.contents(does).await,
            Self::Http(connection) => connection.contents().await,
        }
    }
}

/// Reads what a service holds, over a connection of its own.
///
/// # Errors
/// Why it could not be read.
pub async fn contents(service: &Service) -> io::Result<Contents> {
    let mut connection = Connection::open(service).await?;
    connection.contents(service.does).await.map_err(Trouble::into_error)
}
