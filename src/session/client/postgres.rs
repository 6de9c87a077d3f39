//! PostgreSQL: a table of the client's own.

use std::io;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::history::{Contents, Kind};
use super::request::{Does, Request, Trouble};

/// The classes of errors after which it is not known whether the statement had its effect: of the connection, of the
/// server's shutdown, of a fault within the server.
const UNCLEAR: &[&str] = &["08", "40", "57", "58", "XX"];

/// A connection to a PostgreSQL server.
#[derive(Debug)]
pub(super) struct Postgres {
    client: Client,
    task: JoinHandle<()>,
    /// The name of the table as SQL.
    table: String,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Postgres {
    /// Opens a connection with this user, password and database.
    pub(super) async fn open(
        address: &str,
        table: &str,
        (user, password, database): (&str, Option<&str>, &str),
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut config = Config::new();
        config.user(user).dbname(database).application_name("lockstep");
        if let Some(password) = password {
            config.password(password);
        }
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| io::Error::other(words(&error)))?;
        // An error of the connection is also that of the pending statement.
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { client, task, table: format!("\"{}\"", table.replace('"', "\"\"")) })
    }

    /// Makes the table and its row, unless they are there.
    pub(super) async fn prepare(&self, does: Does) -> Result<(), Trouble> {
        let table = &self.table;
        let (columns, row) = match does {
            Does::Append => ("position bigserial PRIMARY KEY, value bigint NOT NULL", None),
            Does::Count => ("id int PRIMARY KEY, value bigint", Some("(1, 0)")),
            _ => ("id int PRIMARY KEY, value text", Some("(1, NULL)")),
        };
        self.run(&format!("CREATE TABLE IF NOT EXISTS {table} ({columns})")).await?;
        if let Some(row) = row {
            self.run(&format!("INSERT INTO {table} VALUES {row} ON CONFLICT DO NOTHING")).await?;
        }
        Ok(())
    }

    pub(super) async fn perform(&self, request: Request) -> Result<Option<String>, Trouble> {
        let (table, value) = (&self.table, request.value);
        let statement = match request.kind {
            Kind::Append => format!("INSERT INTO {table} (value) VALUES ({value})"),
            Kind::Count => format!("UPDATE {table} SET value = value + 1 WHERE id = 1 RETURNING value"),
            Kind::Write => format!("UPDATE {table} SET value = '{value}' WHERE id = 1 RETURNING id"),
            _ => return self.value().await,
        };
        let rows = self.run(&statement).await?;
        match (request.kind, rows.into_iter().next()) {
            (Kind::Append, _) => Ok(None),
            (_, None) => Err(Trouble::Refused("the table has no row".to_owned())),
            (Kind::Count, Some(value)) => Ok(value),
            (_, Some(_)) => Ok(None),
        }
    }

    pub(super) async fn contents(&self, does: Does) -> Result<Contents, Trouble> {
        // A table that is no longer there holds nothing.
        let table = self.table.replace('\'', "''");
        let found = self.run(&format!("SELECT to_regclass('{table}')")).await?;
        if found.into_iter().flatten().next().is_none() {
            return Ok(if does == Does::Append { Contents::List(Vec::new()) } else { Contents::Value(None) });
        }
        if does != Does::Append {
            return Ok(Contents::Value(self.value().await?));
        }
        let rows = self.run(&format!("SELECT value FROM {} ORDER BY position", self.table)).await?;
        Ok(Contents::List(rows.into_iter().map(Option::unwrap_or_default).collect()))
    }

    async fn value(&self) -> Result<Option<String>, Trouble> {
        let rows = self.run(&format!("SELECT value FROM {} WHERE id = 1", self.table)).await?;
        rows.into_iter().next().ok_or_else(|| Trouble::Refused("the table has no row".to_owned()))
    }

    /// Runs a statement; returns the first column of each row.
    async fn run(&self, statement: &str) -> Result<Vec<Option<String>>, Trouble> {
        let messages = self.client.simple_query(statement).await.map_err(|error| trouble(&error))?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }
}

fn words(error: &Error) -> String {
    error.as_db_error().map_or_else(
        || {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        },
        |error| format!("{} (SQLSTATE {})", error.message(), error.code().code()),
    )
}

fn trouble(error: &Error) -> Trouble {
    match error.code() {
        Some(code) if !UNCLEAR.iter().any(|class| code.code().starts_with(class)) => {
            Trouble::Refused(words(error))
        }
        _ => Trouble::Lost(io::Error::other(words(error))),
    }
}
