//! The context of a running step, and the ways to wait that all steps share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::wakes::{Wakes, pause};
use crate::session::log::QmpEvent;
use crate::session::{Cause, Failure, Machine, Session};

/// The minimum time for the reply to a query, even if the query is sent just before the deadline. Otherwise a wait that
/// times out would sometimes report a missing reply instead of what it saw. Shorter than the time between a step's
/// deadline and its abort.
const LAST_REPLY: Duration = Duration::from_secs(3);

/// The run states in which the guest stays stopped without a command (QAPI `RunState`).
pub(super) const STOPPED: &[&str] = &[
    "guest-panicked",
    "internal-error",
    "io-error",
    "paused",
    "postmigrate",
    "prelaunch",
    "shutdown",
    "watchdog",
];

/// A running step.
#[derive(Debug)]
pub struct Running<'s> {
    /// The case's session.
    pub session: &'s Session,
    /// When the step began.
    pub began: Instant,
    /// Its deadline.
    pub deadline: Instant,
    /// The mark of each VM and client when the step began.
    pub marks: BTreeMap<String, Mark>,
    /// Whether to evaluate a condition once instead of waiting for it.
    once: bool,
}

/// The key of a client in the marks. No VM can have such a name.
fn client_key(client: &str) -> String {
    format!("client {client}")
}

/// A position in the logs of a VM or a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// The number of its QMP events.
    pub events: usize,
    /// The length of its serial output, in bytes.
    pub serial: usize,
    /// The number of a client's acknowledged lines.
    pub lines: u64,
}

/// The time between two attempts.
enum Rest<'r> {
    Fixed(Duration),
    /// The pause of what QEMU does not announce.
    Growing,
    /// Until an event of this VM, but not longer than the pause of `wakes`. `known` is the number of its events when the
    /// query was sent: a later one may not be in the reply.
    Events {
        machine: &'r Machine,
        wakes: &'r Wakes,
        known: &'r AtomicUsize,
    },
}

impl<'s> Running<'s> {
    /// A step that begins now. Reads everything that has arrived so far.
    pub fn begin(session: &'s Session, deadline: Instant) -> Self {
        session.catch_up();
        let mark = |machine: &Machine| {
            let log = machine.log.lock();
            Mark { events: log.events.len(), serial: log.serial_end(), lines: 0 }
        };
        let (machines, clients) = (session.machines(), session.clients());
        let machines = machines.iter().map(|(name, machine)| (name.clone(), mark(machine)));
        let lines = |lines: u64| Mark { lines, ..Mark::default() };
        let clients = clients.iter().map(|(name, client)| (client_key(name), lines(client.progress())));
        let marks = machines.chain(clients).collect();
        Self { session, began: Instant::now(), deadline, marks, once: false }
    }

    /// A step that evaluates its condition once, relative to the beginning of a loop.
    pub fn once(
        session: &'s Session,
        began: Instant,
        deadline: Instant,
        marks: BTreeMap<String, Mark>,
    ) -> Self {
        session.catch_up();
        Self { session, began, deadline, marks, once: true }
    }

    /// The mark of a VM when the step began.
    #[must_use]
    pub fn mark(&self, vm: &str) -> Mark {
        self.marks.get(vm).copied().unwrap_or_default()
    }

    /// The number of a client's acknowledged lines when the step began.
    #[must_use]
    pub fn lines_before(&self, client: &str) -> u64 {
        self.marks.get(&client_key(client)).map_or(0, |mark| mark.lines)
    }

    /// How long the step has been running, for a message.
    #[must_use]
    pub fn waited(&self) -> String {
        crate::units::elapsed(self.began.elapsed())
    }

    /// Waits until `look` finds something. Calls it again after each change in the session.
    ///
    /// # Errors
    /// The errors of `look`; at the deadline, an error that names what was awaited and what was `seen`.
    pub async fn until<T>(
        &self,
        awaited: &str,
        mut look: impl FnMut(&Session) -> Result<Option<T>, Failure>,
        seen: impl Fn(&Session) -> String,
    ) -> Result<T, Failure> {
        let board = self.session.board();
        let mut changes = board.changes();
        // When the wait began, and the number of changes before the last look.
        let mut unmet = None;
        loop {
            let count = *changes.borrow_and_update();
            if let Some(found) = look(self.session)? {
                if let Some((from, count)) = unmet {
                    self.session.waited(from, board.earliest_after(count).unwrap_or_else(Instant::now));
                }
                return Ok(found);
            }
            unmet = Some((unmet.map_or_else(Instant::now, |(from, _)| from), count));
            if self.once || tokio::time::timeout_at(self.deadline, changes.changed()).await.is_err() {
                // Run the tasks that are ready, and read what has arrived by now.
                tokio::task::yield_now().await;
                self.session.catch_up();
                return match look(self.session)? {
                    Some(found) => Ok(found),
                    None => Err(self.timed_out(awaited, seen(self.session))),
                };
            }
        }
    }

    /// Asks a query again until `judge` finds something in the reply: after the events of `wakes`, and after its pause.
    ///
    /// # Errors
    /// If QEMU refuses or does not answer; the errors of `judge`; at the deadline, an error that names what was awaited
    /// and the last reply as described by `seen`.
    pub(super) async fn ask<T>(
        &self,
        machine: &Machine,
        (command, arguments, oob): (&str, &Value, bool),
        wakes: &Wakes,
        awaited: &str,
        judge: impl FnMut(&Value) -> Result<Option<T>, Failure>,
        seen: impl Fn(&Value) -> String,
    ) -> Result<T, Failure> {
        let known = AtomicUsize::new(0);
        let ask = || {
            known.store(machine.log.lock().events.len(), Ordering::Relaxed);
            machine.qmp(command, arguments.clone(), oob, self.patience())
        };
        let rest = Rest::Events { machine, wakes, known: &known };
        self.attempts(rest, ask, awaited, judge, |reply, _| seen(reply)).await
    }

    /// Repeats `ask` until `judge` finds something in the answer, at the interval of what QEMU does not announce.
    ///
    /// # Errors
    /// Those of `ask` and of `judge`; at the deadline, an error that names what was awaited and the last answer as described
    /// by `seen`.
    pub async fn repeat<A, T, F: Future<Output = Result<A, Failure>>>(
        &self,
        ask: impl Fn() -> F,
        awaited: &str,
        judge: impl FnMut(&A) -> Result<Option<T>, Failure>,
        seen: impl Fn(&A) -> String,
    ) -> Result<T, Failure> {
        self.attempts(Rest::Growing, ask, awaited, judge, |answer, _| seen(answer)).await
    }

    /// The same with another pause between the attempts. `seen` also gets its text of the attempt before, to keep that if the
    /// deadline has cut off an attempt; it is empty at first.
    ///
    /// # Errors
    /// As [`Self::repeat`].
    pub async fn repeat_every<A, T, F: Future<Output = Result<A, Failure>>>(
        &self,
        pause: Duration,
        ask: impl Fn() -> F,
        awaited: &str,
        judge: impl FnMut(&A) -> Result<Option<T>, Failure>,
        seen: impl Fn(&A, &str) -> String,
    ) -> Result<T, Failure> {
        self.attempts(Rest::Fixed(pause), ask, awaited, judge, seen).await
    }

    /// Pauses between two attempts, the last of which ended so long after the wait began. Returns since when the next one can
    /// have another answer: when QEMU emitted the event that ended the pause, or the middle of the pause. None if there is no
    /// time for another one.
    async fn rest(&self, rest: &Rest<'_>, waited: Duration) -> Option<Instant> {
        let began = Instant::now();
        let pause = match rest {
            Rest::Fixed(pause) => *pause,
            Rest::Growing => pause(waited),
            Rest::Events { machine, wakes, known } => {
                let end = self.deadline.min(began + wakes.pause(waited));
                let known = known.load(Ordering::Relaxed);
                let mut changes = self.session.board().changes();
                let woken = async {
                    loop {
                        let event = |event: &&QmpEvent| wakes.has(&event.name);
                        if let Some(event) = machine.log.lock().events[known..].iter().find(event) {
                            return event.emitted_at();
                        }
                        // The session has the sender.
                        let _ = changes.changed().await;
                    }
                };
                let woken = tokio::time::timeout_at(end, woken).await;
                // With a last attempt at the deadline.
                let middle = began + (Instant::now() - began) / 2;
                return (began < self.deadline).then(|| woken.unwrap_or(middle));
            }
        };
        if began + pause >= self.deadline {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some(Instant::now())
    }

    /// Repeats `ask` until `judge` finds something in the answer, with a rest after each attempt.
    async fn attempts<A, T, F: Future<Output = Result<A, Failure>>>(
        &self,
        rest: Rest<'_>,
        ask: impl Fn() -> F,
        awaited: &str,
        mut judge: impl FnMut(&A) -> Result<Option<T>, Failure>,
        seen: impl Fn(&A, &str) -> String,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        // QEMU's own answers are commands with replies in the event stream.
        let is_query = matches!(rest, Rest::Events { .. });
        // When the wait began, and since when its condition can have been met.
        let mut unmet = (!is_query).then_some((began, None));
        let mut last = String::new();
        loop {
            let answer = match ask().await {
                Err(failure) if Instant::now() >= self.deadline => {
                    let seen =
                        if last.is_empty() { failure.to_string() } else { format!("{last}; {failure}") };
                    return Err(self.timed_out(awaited, seen));
                }
                answer => answer?,
            };
            if let Some(found) = judge(&answer)? {
                if let Some((from, since)) = unmet {
                    self.session.waited(from, since.unwrap_or_else(Instant::now));
                }
                return Ok(found);
            }
            last = seen(&answer, &last);
            let from = unmet.map_or_else(Instant::now, |(from, _)| from);
            let since = if self.once { None } else { self.rest(&rest, began.elapsed()).await };
            if since.is_none() {
                return Err(self.timed_out(awaited, last));
            }
            unmet = Some((from, since.filter(|_| is_query)));
        }
    }

    /// The deadline for the answer to a question that is asked now.
    #[must_use]
    pub fn patience(&self) -> Instant {
        self.deadline.max(Instant::now() + LAST_REPLY)
    }

    fn timed_out(&self, awaited: &str, seen: String) -> Failure {
        Cause::Timeout { awaited: awaited.to_owned(), waited: self.began.elapsed(), seen }.into()
    }
}
