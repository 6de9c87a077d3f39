//! What a step has while it runs, and the two ways of waiting that all steps share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::session::{Failure, Machine, Session};

/// How often a query is repeated where QEMU offers nothing but a query.
pub const POLL: Duration = Duration::from_millis(15);

/// How long QEMU has for the reply to a query that is made in the last moment before the deadline. Without it a wait
/// that is given up would now and then speak of a reply that did not come, and not of what was seen. Shorter than what a
/// step gets beyond its deadline before it is cut off.
const LAST_REPLY: Duration = Duration::from_secs(3);

/// A step while it runs.
#[derive(Debug)]
pub struct Running<'s> {
    /// What the case has alive.
    pub session: &'s mut Session,
    /// When the step began.
    pub began: Instant,
    /// When it must be done.
    pub deadline: Instant,
    /// How much each VM and client had said when the step began.
    pub marks: BTreeMap<String, Mark>,
    /// Whether to look once instead of waiting.
    once: bool,
}

/// The key of a client among the marks; no VM is called so.
fn client_key(client: &str) -> String {
    format!("client {client}")
}

/// How much a VM or a client has said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// The number of its QMP events.
    pub events: usize,
    /// The length of its serial output, in bytes.
    pub serial: usize,
    /// How many lines of a client were acknowledged.
    pub lines: u64,
}

impl<'s> Running<'s> {
    /// A step that begins now: everything that has arrived so far is taken in first.
    pub fn begin(session: &'s mut Session, deadline: Instant) -> Self {
        session.catch_up();
        let mark = |machine: &Machine| {
            let log = machine.log.lock();
            Mark { events: log.events.len(), serial: log.serial_end(), lines: 0 }
        };
        let machines = session.machines.iter().map(|(name, machine)| (name.clone(), mark(machine)));
        let lines = |lines: u64| Mark { lines, ..Mark::default() };
        let clients =
            session.clients.iter().map(|(name, client)| (client_key(name), lines(client.progress())));
        let marks = machines.chain(clients).collect();
        Self { session, began: Instant::now(), deadline, marks, once: false }
    }

    /// A step that looks once, from where and when a loop began.
    pub fn asking_once(
        session: &'s mut Session,
        began: Instant,
        deadline: Instant,
        marks: BTreeMap<String, Mark>,
    ) -> Self {
        session.catch_up();
        Self { session, began, deadline, marks, once: true }
    }

    /// How much a VM had said when the step began.
    #[must_use]
    pub fn mark(&self, vm: &str) -> Mark {
        self.marks.get(vm).copied().unwrap_or_default()
    }

    /// How many lines of a client had been acknowledged when the step began.
    #[must_use]
    pub fn lines_before(&self, client: &str) -> u64 {
        self.marks.get(&client_key(client)).map_or(0, |mark| mark.lines)
    }

    /// How long the step has been running, for a message.
    #[must_use]
    pub fn waited(&self) -> String {
        crate::units::elapsed(self.began.elapsed())
    }

    /// Waits until `look` finds something, looking again at each change in the session.
    ///
    /// # Errors
    /// What `look` fails with; at the deadline, what was awaited and what `seen` tells instead.
    pub async fn until<T>(
        &self,
        awaited: &str,
        mut look: impl FnMut(&Session) -> Result<Option<T>, Failure>,
        seen: impl Fn(&Session) -> String,
    ) -> Result<T, Failure> {
        let mut changes = self.session.board.changes();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(self.session)? {
                return Ok(found);
            }
            if self.once || tokio::time::timeout_at(self.deadline, changes.changed()).await.is_err() {
                // What arrived while we were not looking counts, and so does what tasks that were ready have to say.
                tokio::task::yield_now().await;
                self.session.catch_up();
                return match look(self.session)? {
                    Some(found) => Ok(found),
                    None => Err(self.given_up(awaited, &seen(self.session))),
                };
            }
        }
    }

    /// Asks a VM again and again until `judge` finds something in the reply.
    ///
    /// # Errors
    /// When QEMU refuses or does not answer; what `judge` fails with; at the deadline, what was awaited and the last
    /// reply in the words of `seen`.
    pub async fn poll<T>(
        &self,
        vm: &str,
        (command, arguments): (&str, &Value),
        awaited: &str,
        mut judge: impl FnMut(&Value) -> Result<Option<T>, Failure>,
        seen: impl Fn(&Value) -> String,
    ) -> Result<T, Failure> {
        let machine = self.session.machine(vm)?;
        let ask = || machine.qmp(command, arguments.clone(), false, self.patience());
        self.repeat(ask, awaited, |reply: &Value| judge(reply), seen).await
    }

    /// Asks again and again until `judge` finds something in the answer.
    ///
    /// # Errors
    /// As [`Self::poll`].
    pub async fn repeat<A, T, F: Future<Output = Result<A, Failure>>>(
        &self,
        ask: impl Fn() -> F,
        awaited: &str,
        mut judge: impl FnMut(&A) -> Result<Option<T>, Failure>,
        seen: impl Fn(&A) -> String,
    ) -> Result<T, Failure> {
        let mut last = String::new();
        loop {
            let answer = match ask().await {
                Err(failure) if Instant::now() >= self.deadline => {
                    let seen = if last.is_empty() {
                        failure.message
                    } else {
                        format!("{last}; {}", failure.message)
                    };
                    return Err(self.given_up(awaited, &seen));
                }
                answer => answer?,
            };
            if let Some(found) = judge(&answer)? {
                return Ok(found);
            }
            last = seen(&answer);
            if self.once || Instant::now() + POLL >= self.deadline {
                return Err(self.given_up(awaited, &last));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Until when an answer may take that is asked for now.
    #[must_use]
    pub fn patience(&self) -> Instant {
        self.deadline.max(Instant::now() + LAST_REPLY)
    }

    fn given_up(&self, awaited: &str, seen: &str) -> Failure {
        Failure::failed(format!("waited {} for {awaited}; saw {seen}", self.waited()))
    }
}
