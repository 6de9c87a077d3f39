//! `check: {client: …, history: kept}`: what the service holds fits the operations of the client.

mod counter;
mod list;
mod register;
#[cfg(test)]
mod services;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use crate::session::Failure;
use crate::session::client::{self, Client, Contents, Does, Operation, Service};
use crate::step::running::Running;

/// The pause between two attempts to read what the service holds.
const RETRY: Duration = Duration::from_millis(100);
/// How many operations are shown before and after each one at fault, and how many in all.
const BESIDE: usize = 2;
const SHOWN: usize = 8;

/// What `check: {client: …, history: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HistoryCheck {
    /// The service kept what it acknowledged, and has done nothing else.
    Kept,
}

/// What a service did that it must not do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What it is.
    what: String,
    /// The operations at fault, by their places in the history.
    at_fault: Vec<usize>,
}

impl Violation {
    fn of(what: String, at_fault: &[usize]) -> Self {
        Self { what, at_fault: at_fault.to_vec() }
    }

    /// What it is, and two lines: the operations at fault, and the ones around them.
    fn words(mut self, operations: &[Operation]) -> (String, String) {
        self.at_fault.sort_unstable();
        self.at_fault.dedup();
        let near = |at: &usize| at.saturating_sub(BESIDE)..(at + BESIDE + 1).min(operations.len());
        let around: BTreeSet<usize> = self.at_fault.iter().flat_map(near).collect();
        let around: Vec<usize> = around.into_iter().filter(|at| !self.at_fault.contains(at)).collect();
        let shown = |places: &[usize]| {
            let words: Vec<String> =
                places.iter().take(SHOWN).map(|at| operations[*at].to_string()).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let lines = format!("\noperations: {}\naround them: {}", shown(&self.at_fault), shown(&around));
        (self.what, lines)
    }
}

/// The operations of a client, and what the service held before and after.
#[derive(Debug)]
pub(super) struct Account<'a> {
    operations: &'a [Operation],
    before: &'a Contents,
    after: &'a Contents,
    /// When the contents were asked for and returned, since the start of the run.
    read: (Duration, Duration),
}

impl Account<'_> {
    fn check(&self, does: Does) -> Result<(), Violation> {
        match (does, self.before, self.after) {
            (Does::Append, Contents::List(before), Contents::List(after)) => self.list(before, after),
            (Does::Count, Contents::Value(before), Contents::Value(after)) => {
                self.counter(before.as_deref(), after.as_deref())
            }
            (Does::Register, Contents::Value(before), Contents::Value(after)) => {
                self.register(before.as_deref(), after.as_deref())
            }
            _ => Err(Violation::of("the service holds something of another kind".to_owned(), &[])),
        }
    }

    /// Whether an operation was acknowledged before the contents were read.
    fn must_be_there(&self, operation: &Operation) -> bool {
        operation.answered().is_some_and(|answered| answered < self.read.0)
    }
}

/// Reads what the service holds, at an address, and compares it with all operations. An error has what is wrong, and the
/// lines that show it.
pub(super) async fn check(
    run: &Running<'_>,
    client: &Client,
    at: Option<&str>,
) -> Result<Result<(), (String, String)>, Failure> {
    let name = |service: &Service| at.unwrap_or(&service.address).to_owned();
    let service = client.service().filter(|service| service.does.has_contents());
    let service = service.ok_or_else(|| {
        Failure::error("`history` needs a client with `does: append`, `does: count` or `does: register`")
    })?;
    let service = Service { address: name(service), ..service.clone() };
    let sink = run.session.sink();
    let ask = || async {
        let asked = sink.elapsed();
        let read = timeout_at(run.deadline, client::contents(&service)).await;
        // `None` if the deadline cut it off.
        Ok(read.map_or(Err(None), |read| match read {
            Ok(contents) => Ok((contents, (asked, sink.elapsed()))),
            Err(error) => Err(Some(error.to_string())),
        }))
    };
    let awaited = format!("what the service at {} holds", service.address);
    let judge = |read: &Result<(Contents, (Duration, Duration)), Option<String>>| Ok(read.clone().ok());
    let seen = |read: &Result<_, Option<String>>, last: &str| match read {
        Err(Some(why)) => why.clone(),
        _ if last.is_empty() => "no answer".to_owned(),
        _ => last.to_owned(),
    };
    let (after, read) = run.repeat_every(RETRY, ask, &awaited, judge, seen).await?;
    Ok(compare(client, &service, &after, read))
}

/// Compares what a service held at a time with all operations. The record is taken after that: whatever was read has been
/// sent by now.
fn compare(
    client: &Client,
    service: &Service,
    after: &Contents,
    read: (Duration, Duration),
) -> Result<(), (String, String)> {
    let record = client.record();
    let (operations, before) = match (record.history(), record.before()) {
        (Ok(operations), Some(before)) => (operations, before),
        (Err(why), _) => return Err((why.to_string(), String::new())),
        (_, None) => return Err(("nothing was read before the first operation".to_owned(), String::new())),
    };
    let account = Account { operations, before, after, read };
    account.check(service.does).map_err(|violation| {
        let (what, lines) = violation.words(operations);
        (format!("{what}, at {}", service.address), lines)
    })
}
