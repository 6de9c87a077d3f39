//! The tasks of clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, sleep, timeout};

use super::Shared;
use crate::units::elapsed;

/// The delay before reconnecting to a service that refuses the connection or closes it without a reply.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Gaps longer than this are noted in the event stream.
const REPORTED_GAP: Duration = Duration::from_millis(500);
/// The maximum length of a reply.
const MAX_ANSWER: usize = 4096;

/// Waits until the client is asked to stop.
async fn to_stop(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The client was dropped, and this task with it.
        std::future::pending::<()>().await;
    }
}

/// Sends numbered lines until it is stopped, reconnecting as needed.
pub(super) async fn lines(
    shared: Arc<Shared>,
    address: String,
    every: Duration,
    draws: bool,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        shared.record().set_activity(format!("connecting to {address}"));
        let connected = tokio::select! {
            biased;
            () = to_stop(&mut stop) => break,
            connected = TcpStream::connect(address.as_str()) => connected,
        };
        let before = shared.record().lines;
        let why = match connected {
            Ok(stream) => match talk(&shared, stream, every, draws, &mut stop).await {
                Ok(()) => break,
                Err(error) => error,
            },
            Err(error) => error,
        };
        {
            let mut record = shared.record();
            record.trouble = Some(why.to_string());
            record.set_activity(format!("reconnecting to {address}"));
        }
        shared.board.changed();
        if shared.record().lines > before {
            shared.record().reconnects += 1;
            shared.note(format!("connection lost, reconnecting: {why}"));
            shared.board.changed();
            continue;
        }
        // Refused, or accepted by something that does not reply.
        let _ = timeout(RECONNECT_DELAY, to_stop(&mut stop)).await;
    }
    end(&shared);
}

fn end(shared: &Shared) {
    shared.record().end();
    let summary = shared.record().summary();
    shared.note(format!("stopped: {summary}"));
    shared.board.changed();
}

/// Sends lines over one connection; returns `Ok` when asked to stop.
async fn talk(
    shared: &Shared,
    mut stream: TcpStream,
    every: Duration,
    draws: bool,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut said = Vec::new();
    loop {
        let number = {
            let mut record = shared.record();
            let number = record.next;
            record.set_activity(format!("waiting for the answer to line {number}"));
            number
        };
        let asked = Instant::now();
        stream.write_all(format!("{number}\n").as_bytes()).await?;
        let draw = loop {
            let answer = answer(&mut stream, &mut said).await?;
            if let Some(draw) = acknowledges(&answer, number, draws) {
                break draw.to_owned();
            }
            shared.record().wrong_answer(answer.clone());
            shared.note(format!("wrong answer to line {number}: {answer:?}"));
            shared.board.changed();
        };
        let (gap, is_first) = {
            let mut record = shared.record();
            let gap = record.acknowledge(asked, &draw);
            record.set_activity("pausing");
            (gap, record.lines == 1)
        };
        if is_first {
            shared.note(format!("line {number} acknowledged, the first"));
        }
        if let Some(gap) = gap.filter(|gap| *gap > REPORTED_GAP) {
            shared.note(format!("line {number} acknowledged after a gap of {}", elapsed(gap)));
        }
        shared.board.changed();
        tokio::select! {
            biased;
            () = to_stop(stop) => return Ok(()),
            () = sleep(every) => {}
        }
    }
}

/// The value that the service drew, if this is its reply to line `number`; empty if it draws none.
fn acknowledges(answer: &str, number: u64, draws: bool) -> Option<&str> {
    let rest = answer.strip_prefix(&format!("ok {number}"))?;
    if !draws {
        return rest.is_empty().then_some("");
    }
    rest.strip_prefix(' ').filter(|draw| !draw.is_empty() && !draw.contains(char::is_whitespace))
}

/// Asks a service over a separate connection which value it drew for each line; returns its replies in the order of
/// the numbers.
///
/// # Errors
/// Why the connection failed.
pub async fn recall(address: &str, numbers: &[u64]) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut said, mut answers) = (Vec::new(), Vec::new());
    for number in numbers {
        stream.write_all(format!("told {number}\n").as_bytes()).await?;
        answers.push(answer(&mut stream, &mut said).await?);
    }
    Ok(answers)
}

/// The next line from the service, without its line end.
async fn answer(stream: &mut TcpStream, said: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = said.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = said.drain(..=end).collect();
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if said.len() > MAX_ANSWER {
            return Err(io::Error::other(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        if stream.read_buf(said).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the service closed the connection"));
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
