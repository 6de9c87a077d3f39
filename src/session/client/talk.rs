//! The tasks of clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep, timeout};

use super::Shared;
use super::request::{Does, Request, Trouble, Wrong};
use super::service::{Connection, Service};
use crate::session::interference::Operation;
use crate::units::elapsed;

/// The delay before reconnecting to a service that refuses the connection or closes it without a reply.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Gaps longer than this are noted in the event stream.
const REPORTED_GAP: Duration = Duration::from_millis(500);

/// Waits until the client is asked to stop.
async fn to_stop(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The client was dropped, and this task with it.
        std::future::pending::<()>().await;
    }
}

/// A connection's part of the work.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Reads what the service holds before the first operation.
    Before,
    /// Operations.
    Operations,
}

/// Does operations until it is stopped, reconnecting as needed.
pub(super) async fn operations(
    shared: Arc<Shared>,
    service: Service,
    (every, connections): (Duration, u32),
    stop: watch::Receiver<bool>,
) {
    if service.does.has_contents() {
        connected(&shared, &service, (Part::Before, every), stop.clone()).await;
    }
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let (shared, service, stop) = (Arc::clone(&shared), service.clone(), stop.clone());
        all.spawn(async move { connected(&shared, &service, (Part::Operations, every), stop).await });
    }
    while all.join_next().await.is_some() {}
    end(&shared);
}

/// Does a part of the work over one connection after the other.
async fn connected(
    shared: &Shared,
    service: &Service,
    (part, every): (Part, Duration),
    mut stop: watch::Receiver<bool>,
) {
    let address = &service.address;
    let mut again = None;
    while !*stop.borrow() {
        shared.record().set_activity(format!("connecting to {address}"));
        let connected = tokio::select! {
            biased;
            () = to_stop(&mut stop) => break,
            connected = Connection::open(service) => connected,
        };
        let mut replied = false;
        let done = match (connected, part) {
            (Err(error), _) => Err(error),
            (Ok(connection), Part::Before) => before(shared, connection, service.does, &mut stop).await,
            (Ok(connection), Part::Operations) => {
                let mut talk =
                    Talk { shared, does: service.does, every, again: &mut again, replied: &mut replied };
                talk.run(connection, &mut stop).await
            }
        };
        let Err(why) = done else { break };
        {
            let mut record = shared.record();
            record.trouble = Some(why.to_string());
            record.set_activity(format!("reconnecting to {address}"));
        }
        shared.board.changed();
        if replied {
            shared.record().reconnects += 1;
            shared.note(format!("connection lost, reconnecting: {why}"));
            shared.board.changed();
            continue;
        }
        // Refused, or accepted by something that does not reply.
        let _ = timeout(RECONNECT_DELAY, to_stop(&mut stop)).await;
    }
}

/// Reads what the service holds before the first operation.
async fn before(
    shared: &Shared,
    mut connection: Connection,
    does: Does,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    shared.record().set_activity("reading what the service holds");
    let read = async {
        connection.prepare(does).await?;
        connection.contents(does).await
    };
    let contents = tokio::select! {
        biased;
        () = to_stop(stop) => return Ok(()),
        contents = read => contents.map_err(Trouble::into_error)?,
    };
    shared.record().before = Some(contents);
    Ok(())
}

fn end(shared: &Shared) {
    shared.record().end();
    let summary = shared.record().summary();
    shared.note(format!("stopped: {summary}"));
    shared.board.changed();
}

/// Operations over one connection.
struct Talk<'t> {
    shared: &'t Shared,
    does: Does,
    every: Duration,
    /// The number of the line that was not acknowledged over the previous connection.
    again: &'t mut Option<u64>,
    /// Whether the service has acknowledged an operation over this connection.
    replied: &'t mut bool,
}

impl Talk<'_> {
    /// Returns `Ok` when asked to stop.
    async fn run(&mut self, mut connection: Connection, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        let shared = self.shared;
        let mut was_refused = false;
        loop {
            let (request, place) = self.begin();
            let number = request.number;
            let wrong = |answer: &str| {
                shared.record().wrong_answer(number, answer.to_owned());
                shared.note(format!("wrong answer to {} {number}: {answer:?}", request.kind));
                shared.board.changed();
            };
            let done = self.interfered(&mut connection, request, &wrong).await;
            let now = shared.sink.elapsed();
            match done {
                Ok(value) => {
                    (*self.replied, was_refused) = (true, false);
                    self.acknowledged(request, place, value);
                }
                Err(Trouble::Refused(why)) => {
                    if !was_refused {
                        shared.note(format!("{} {number} refused: {why}", request.kind));
                    }
                    was_refused = true;
                    let mut record = shared.record();
                    record.trouble = Some(format!("{} {number} refused: {why}", request.kind));
                    record.refuse(place, why, now);
                }
                Err(Trouble::Unclear(why)) => {
                    shared.note(format!("{} {number} has an unknown outcome: {why}", request.kind));
                    shared.record().lose(place, now);
                }
                Err(Trouble::Lost(why)) => {
                    *self.again = (self.does == Does::Lines).then_some(number);
                    shared.record().lose(place, now);
                    return Err(why);
                }
            }
            shared.record().set_activity("pausing");
            shared.board.changed();
            tokio::select! {
                biased;
                () = to_stop(stop) => return Ok(()),
                () = sleep(self.every) => {}
            }
        }
    }

    /// Performs an operation, unless something interferes.
    async fn interfered(
        &self,
        connection: &mut Connection,
        request: Request,
        wrong: Wrong<'_>,
    ) -> Result<Option<String>, Trouble> {
        let interference = self.shared.board.interference();
        match interference.map_or(Operation::Straight, |it| it.operation(&self.shared.name)) {
            Operation::Straight => {}
            Operation::Invent => return Ok(None),
            Operation::Twice => _ = connection.perform(request, wrong).await?,
            Operation::Late(time) => sleep(time).await,
            Operation::Wrong => {
                let answer = connection.perform(request, wrong).await?;
                wrong("another answer");
                return Ok(answer);
            }
        }
        connection.perform(request, wrong).await
    }

    /// The next operation, and its place in the history.
    fn begin(&mut self) -> (Request, usize) {
        let mut record = self.shared.record();
        let number = self.again.take().unwrap_or_else(|| record.take_number());
        let kind = self.does.kind(number);
        record.set_activity(format!("waiting for the answer to {kind} {number}"));
        let place = record.begin(kind, number, self.shared.sink.elapsed());
        let value = record.value_of(kind, number).unwrap_or_default();
        (Request { kind, number, value }, place)
    }

    fn acknowledged(&self, Request { kind, number, .. }: Request, place: usize, value: Option<String>) {
        let (gap, is_first) = {
            let mut record = self.shared.record();
            let gap = record.acknowledge(place, number, value, self.shared.sink.elapsed());
            (gap, record.lines == 1)
        };
        if is_first {
            self.shared.note(format!("{kind} {number} acknowledged, the first"));
        }
        if let Some(gap) = gap.filter(|gap| *gap > REPORTED_GAP) {
            self.shared.note(format!("{kind} {number} acknowledged after a gap of {}", elapsed(gap)));
        }
    }
}

/// Waiters are notified of the first datagram and of every 50th one.
const NOTIFY_EVERY: u64 = 50;

/// Sends datagrams until it is stopped.
pub(super) async fn datagrams(
    shared: Arc<Shared>,
    socket: UdpSocket,
    every: Duration,
    size: usize,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bytes = vec![0; size];
    loop {
        tokio::select! {
            biased;
            () = to_stop(&mut stop) => break,
            _ = ticks.tick() => {}
        }
        let number = shared.record().sent.to_be_bytes();
        let length = size.min(number.len());
        bytes[..length].copy_from_slice(&number[..length]);
        // A datagram that nobody receives still counts.
        if tokio::select! {
            () = to_stop(&mut stop) => break,
            sent = socket.send(&bytes) => sent.is_ok(),
        } {
            let sent = {
                let mut record = shared.record();
                record.sent += 1;
                record.sent
            };
            if sent % NOTIFY_EVERY == 1 {
                shared.board.changed();
            }
        }
    }
    shared.record().end();
    let sent = shared.record().sent;
    shared.note(format!("stopped: {sent} datagrams sent"));
    shared.board.changed();
}
