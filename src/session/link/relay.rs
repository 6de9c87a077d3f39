//! One connection through a link.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::stream::Stream;
use super::{Connection, Setting, Shared, State};
use crate::session::interference::Flow;

/// The size of a read.
const CHUNK: usize = 64 << 10;
/// How many delayed chunks each direction of a connection may buffer; then the sender has to wait.
const UNDER_WAY: usize = 256;
/// The weight of an undelayed chunk: what the rate or the receiver holds up stays with its sender instead of being
/// buffered here.
const UNDELAYED: u32 = 64;

/// When the next bytes of a direction may be sent, if there is a rate limit.
#[derive(Debug)]
pub(super) struct Pace(Instant);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// When this many bytes may be sent.
    fn book(&mut self, bytes: usize, rate: u64) -> Instant {
        let start = self.0.max(Instant::now());
        self.0 = start + std::time::Duration::from_secs_f64(bytes as f64 / rate as f64);
        start
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both sides have finished.
    Finished,
    /// One side was lost.
    Lost(io::Error),
    /// The link was cut.
    Cut,
}

/// Relays a connection until it ends.
pub(super) async fn relay(shared: &Shared, connection: &Connection, near: Stream, far: Stream) -> End {
    let there = pump(shared, connection, 0, (&near, &far));
    let back = pump(shared, connection, 1, (&far, &near));
    let end = tokio::select! {
        biased;
        () = cut(shared) => End::Cut,
        both = async { tokio::try_join!(there, back) } => match both {
            Ok(_) => End::Finished,
            Err(error) => End::Lost(error),
        },
    };
    if matches!(end, End::Finished) {
        near.end_in_order();
        far.end_in_order();
    }
    end
}

/// Relays one direction until it ends.
async fn pump(
    shared: &Shared,
    connection: &Connection,
    direction: usize,
    (from, to): (&Stream, &Stream),
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let taken = async {
        let taken = take(shared, direction, (from, &connection.full[direction]), sender, &room).await;
        connection.close(direction);
        shared.board.changed();
        taken
    };
    let carried = &connection.bytes[direction];
    tokio::try_join!(taken, give(shared, (direction, carried), to, receiver))?;
    Ok(())
}

/// Waits until bytes may flow.
async fn flowing(setting: &mut watch::Receiver<Setting>) -> Setting {
    let now = setting.wait_for(|setting| setting.state == State::Open).await.map(|now| now.clone());
    match now {
        Ok(now) => now,
        // The link was dropped, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until the link is cut.
pub(super) async fn cut(shared: &Shared) {
    let mut setting = shared.setting.subscribe();
    let _ = setting.wait_for(|setting| setting.state == State::Cut).await;
}

/// Bytes, when they may be sent, and the buffer space they occupy.
type Chunk = (Instant, Vec<u8>, Option<OwnedSemaphorePermit>);

async fn take(
    shared: &Shared,
    direction: usize,
    (from, full): (&Stream, &AtomicBool),
    sender: mpsc::Sender<Chunk>,
    room: &Arc<Semaphore>,
) -> io::Result<()> {
    let mut setting = shared.setting.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let now = flowing(&mut setting).await;
        let size = if now.delay.0.is_zero() { UNDELAYED } else { 1 };
        // Never closed, so this cannot fail.
        let place = match Arc::clone(room).try_acquire_many_owned(size) {
            Ok(place) => Some(place),
            Err(_) => {
                full.store(true, Ordering::Relaxed);
                shared.board.changed();
                let place = Arc::clone(room).acquire_many_owned(size).await.ok();
                full.store(false, Ordering::Relaxed);
                place
            }
        };
        let count = tokio::select! {
            biased;
            _ = setting.changed() => continue,
            count = from.read(&mut buffer) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        let mut bytes = buffer[..count].to_vec();
        if let Some(interference) = shared.board.interference() {
            match interference.bytes(&shared.name, direction, &mut bytes) {
                Flow::Pass => {}
                Flow::Drop => continue,
                Flow::Close => return Ok(()),
                Flow::Set(setting) => _ = shared.setting.send_replace(setting),
            }
        }
        if sender.send((Instant::now() + now.delay.0, bytes, place)).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    shared: &Shared,
    (direction, carried): (usize, &AtomicU64),
    to: &Stream,
    mut receiver: mpsc::Receiver<Chunk>,
) -> io::Result<()> {
    let mut setting = shared.setting.subscribe();
    while let Some((due, chunk, _place)) = receiver.recv().await {
        sleep_until(due).await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let now = flowing(&mut setting).await;
            let mut count = rest.len();
            if now.rate.0 > 0 {
                // About ten milliseconds' worth at once, for an even flow.
                count = count.min(usize::try_from(now.rate.0 / 100).unwrap_or(CHUNK).max(1));
                let start = shared.pace(direction).book(count, now.rate.0);
                tokio::select! {
                    biased;
                    _ = setting.changed() => continue,
                    () = sleep_until(start) => {}
                }
            }
            let written = tokio::select! {
                biased;
                _ = setting.changed() => continue,
                written = to.write(&rest[..count]) => written?,
            };
            rest = &rest[written..];
            carried.fetch_add(written as u64, Ordering::Relaxed);
        }
    }
    to.finish();
    Ok(())
}
