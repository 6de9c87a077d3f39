//! The log of one VM: its QMP events and serial output, with cursors.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::failure::Failure;
use crate::guest::ticker::Line;
use crate::qemu::read::read_now;

/// How much serial output is kept in memory; the log file has all of it.
const KEPT: usize = 8 << 20;
/// The maximum length of a line.
const LONGEST_LINE: usize = 64 << 10;

/// A QMP event.
#[derive(Debug, Clone)]
pub struct QmpEvent {
    /// Its name.
    pub name: String,
    /// Its `data`, null if absent.
    pub data: Value,
    /// When QEMU emitted it, in seconds of the host's real-time clock.
    pub emitted: f64,
    /// When the runner saw it.
    pub seen: Instant,
}

impl QmpEvent {
    /// Reads an event message.
    #[must_use]
    pub fn new(message: &Value) -> Self {
        let stamp = |unit: &str| message["timestamp"][unit].as_f64().unwrap_or(0.0);
        Self {
            name: message["event"].as_str().unwrap_or_default().to_owned(),
            data: message["data"].clone(),
            emitted: stamp("seconds") + stamp("microseconds") / 1e6,
            seen: Instant::now(),
        }
    }

    /// When QEMU emitted it. Not after it was seen, if the real-time clock has been set.
    #[must_use]
    pub fn emitted_at(&self) -> Instant {
        let ago = Duration::try_from_secs_f64(real_time() - self.emitted).unwrap_or_default();
        Instant::now().checked_sub(ago).unwrap_or(self.seen).min(self.seen)
    }

    /// The migration status, for a `MIGRATION` event.
    #[must_use]
    pub fn migration_status(&self) -> Option<&str> {
        (self.name == "MIGRATION").then(|| self.data["status"].as_str())?
    }
}

impl std::fmt::Display for QmpEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.data {
            Value::Null => f.write_str(&self.name),
            Value::Object(data) => {
                let part = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let data: Vec<String> =
                    data.iter().map(|(key, value)| format!("{key}={}", part(value))).collect();
                write!(f, "{} ({})", self.name, data.join(" "))
            }
            other => write!(f, "{} ({other})", self.name),
        }
    }
}

/// A progress line of the built-in guest.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// The passes completed.
    pub count: u64,
    /// The last number received by the guest; 0 for none.
    pub witness: u64,
    /// How long the guest has run, in milliseconds of its own clock; 0 if it has no clock.
    pub clock: u64,
    /// The offset of the line in the serial output.
    pub offset: usize,
    /// When the runner saw it.
    pub seen: Instant,
    /// The same, in seconds of the host's real-time clock.
    pub seen_real: f64,
}

/// A regular expression for serial output: `^` and `$` match at line boundaries, with either end of a line.
///
/// # Errors
/// When it is invalid.
pub fn serial_expression(text: &str) -> Result<Regex, Failure> {
    let built = RegexBuilder::new(text).multi_line(true).crlf(true).build();
    built.map_err(|error| Failure::error(error.to_string()))
}

/// The log of one VM since its start.
#[derive(Debug, Default)]
pub struct Log {
    /// Every QMP event, in order.
    pub events: Vec<QmpEvent>,
    /// Where event waits without `fresh` start to look.
    pub event_cursor: usize,
    /// Where serial waits without `fresh` start to look.
    pub serial_cursor: usize,
    /// The built-in guest's ticks, in order.
    pub ticks: Vec<Tick>,
    /// The built-in guest's first line, if seen.
    pub ready: Option<Line>,
    /// How many pages were wrong in the first pass in which the built-in guest found a wrong one.
    pub bad_pages: Option<Line>,
    /// The reply to `query-migrate` after each completed migration, if it was queried.
    pub migrations: Vec<Value>,
    /// Whether QEMU reports migrations (capability `events`).
    pub has_migration_events: bool,
    is_bad: bool,
    serial: Vec<u8>,
    dropped: usize,
    line_start: usize,
}

impl Log {
    /// Whether the built-in guest has reported a wrong page but not yet their number.
    #[must_use]
    pub const fn counts_bad_pages(&self) -> bool {
        self.is_bad && self.bad_pages.is_none()
    }

    /// Keeps the reply to `query-migrate` after a completed migration, once.
    pub fn add_reply(&mut self, command: &str, reply: &Value) {
        let is_new = |last: &Value| {
            ["total-time", "downtime", "postcopy-blocktime"].iter().any(|key| last[key] != reply[key])
        };
        let is_final = command == "query-migrate" && reply["status"] == "completed";
        if is_final && self.migrations.last().is_none_or(is_new) {
            self.migrations.push(reply.clone());
        }
    }

    /// Keeps what a command that QEMU accepted sets.
    pub fn add_command(&mut self, command: &str, arguments: &Map<String, Value>) {
        let set = arguments.get("capabilities").filter(|_| command == "migrate-set-capabilities");
        let mut all = set.and_then(Value::as_array).into_iter().flatten();
        if let Some(events) = all.rfind(|one| one["capability"] == "events") {
            self.has_migration_events = events["state"] == true;
        }
    }

    /// The migration statuses in the events from this one on.
    pub fn migration_statuses(&self, from: usize) -> impl DoubleEndedIterator<Item = &str> {
        self.events.iter().skip(from).filter_map(QmpEvent::migration_status)
    }

    /// The number of serial bytes so far.
    #[must_use]
    pub fn serial_end(&self) -> usize {
        self.dropped + self.serial.len()
    }

    /// The end of the first match at or after this offset.
    #[must_use]
    pub fn find_serial(&self, expression: &Regex, from: usize) -> Option<(usize, String)> {
        let from = from.saturating_sub(self.dropped).min(self.serial.len());
        // Not on a slice: `^` must match at the start of a line only.
        let found = expression.find_at(&self.serial, from)?;
        let start = self.serial_end() - self.serial.len();
        Some((start + found.end(), String::from_utf8_lossy(found.as_bytes()).into_owned()))
    }

    /// The serial output that is kept in memory.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Whether that is all of it.
    #[must_use]
    pub const fn has_all_serial(&self) -> bool {
        self.dropped == 0
    }

    /// The serial output from this offset on.
    #[must_use]
    pub fn serial_from(&self, offset: usize) -> &[u8] {
        &self.serial[offset.saturating_sub(self.dropped).min(self.serial.len())..]
    }

    /// Whether the vCPUs are stopped, according to the events.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let last = self.events.iter().rfind(|event| matches!(event.name.as_str(), "STOP" | "RESUME"));
        last.is_some_and(|event| event.name == "STOP")
    }

    /// The last lines of the serial output.
    #[must_use]
    pub fn serial_tail(&self, lines: usize) -> String {
        let cut = &self.serial[self.serial.len().saturating_sub(4096)..];
        let text = String::from_utf8_lossy(cut);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Ticks whose line starts at or after this offset of the serial output.
    pub fn ticks_from(&self, offset: usize) -> impl Iterator<Item = &Tick> {
        self.ticks[self.ticks.partition_point(|tick| tick.offset < offset)..].iter()
    }

    /// The longest time between two ticks whose lines start before this offset.
    #[must_use]
    pub fn longest_gap(&self, offset: usize) -> Duration {
        let before = &self.ticks[..self.ticks.partition_point(|tick| tick.offset < offset)];
        let gaps = before.windows(2).map(|pair| pair[1].seen - pair[0].seen);
        gaps.max().unwrap_or_default()
    }

    /// The progress of the guest from this offset on: passes completed, at the last tick and at the first, and passes per
    /// second between the two; null if there is only one tick.
    #[must_use]
    pub fn progress_since(&self, offset: usize) -> Option<Value> {
        let ticks: Vec<&Tick> = self.ticks_from(offset).collect();
        let (first, last) = (ticks.first()?, ticks.last()?);
        let took = (last.seen - first.seen).as_secs_f64();
        let speed = (took > 0.0).then(|| last.count.saturating_sub(first.count) as f64 / took);
        Some(json!({"passes": last.count, "first": first.count, "speed": speed}))
    }

    /// Adds serial output; returns the completed lines.
    fn push(&mut self, bytes: &[u8], ticker: bool) -> Vec<(Vec<u8>, Option<Line>)> {
        self.serial.extend_from_slice(bytes);
        let mut lines = Vec::new();
        loop {
            let rest = &self.serial[self.line_start..];
            let end = match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) => end,
                None if rest.len() >= LONGEST_LINE => LONGEST_LINE - 1,
                None => break,
            };
            let line = rest[..=end].strip_suffix(b"\n").unwrap_or(&rest[..=end]).to_vec();
            let read = if ticker { Line::parse(&line) } else { None };
            match read {
                Some(Line::Tick { count, witness, clock }) => self.ticks.push(Tick {
                    count,
                    witness,
                    clock,
                    offset: self.dropped + self.line_start,
                    seen: Instant::now(),
                    seen_real: real_time(),
                }),
                Some(ready @ Line::Ready { .. }) => self.ready = Some(ready),
                Some(Line::Bad(_)) => self.is_bad = true,
                Some(pages @ Line::BadPages { .. }) => _ = self.bad_pages.get_or_insert(pages),
                _ => {}
            }
            self.line_start += end + 1;
            lines.push((line, read));
        }
        if self.serial.len() > KEPT {
            let cut = (self.serial.len() - KEPT / 2).min(self.line_start);
            self.serial.drain(..cut);
            self.dropped += cut;
            self.line_start -= cut;
        }
        lines
    }
}

/// The host's real-time clock in seconds, which QEMU's event time stamps use.
#[must_use]
pub fn real_time() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// A VM's log, shared with the tasks that write it.
#[derive(Debug, Clone, Default)]
pub struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    /// Locks the log; never hold it across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type OnLine = Box<dyn Fn(&[u8], Option<Line>) + Send + Sync>;
type Copied = Box<dyn Fn(&[u8]) + Send + Sync>;
type Change = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// The runner's end of a VM's serial port.
pub struct SerialPort {
    stream: UnixStream,
    log: SharedLog,
    ticker: bool,
    change: Change,
    on_line: OnLine,
    copied: Copied,
    pumping: Mutex<()>,
}

impl SerialPort {
    /// Reads a serial port into a log until it closes. Calls `on_line` for every line and `copied` for all bytes, once
    /// they are in the log. `change` returns what is read in the place of output, if it changes it.
    /// `ticker` says whether to parse the built-in guest's lines.
    pub fn open(
        stream: UnixStream,
        log: SharedLog,
        ticker: bool,
        change: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
        on_line: impl Fn(&[u8], Option<Line>) + Send + Sync + 'static,
        copied: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let pumping = Mutex::new(());
        let port = Arc::new(Self {
            stream,
            log,
            ticker,
            change: Box::new(change),
            on_line: Box::new(on_line),
            copied: Box::new(copied),
            pumping,
        });
        let reader = Arc::clone(&port);
        tokio::spawn(async move { while reader.stream.readable().await.is_ok() && reader.pump() {} });
        port
    }

    /// Sends bytes to the guest.
    ///
    /// # Errors
    /// When the port is closed.
    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads everything that the guest has printed so far, so that "from now on" means now. Returns false once the
    /// port is closed.
    pub fn pump(&self) -> bool {
        let _one_reader_at_a_time = self.pumping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = [0; 16 * 1024];
        // Bounded, in case the guest prints faster than we read.
        for _ in 0..64 {
            match read_now(&self.stream, &mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    let changed = (self.change)(&chunk[..count]);
                    let read = changed.as_deref().unwrap_or(&chunk[..count]);
                    let lines = self.log.lock().push(read, self.ticker);
                    (self.copied)(read);
                    lines.iter().for_each(|(line, read)| (self.on_line)(line, *read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl std::fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SerialPort").field("ticker", &self.ticker).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ticker::line::text;
    use rustix::net::SendFlags;

    #[test]
    fn a_tick_counts_once_its_line_is_complete() {
        let mut log = Log::default();
        let tick = |count| format!("{}\n", text("tick", &[count, 7, 40]));
        let (first, second) = (tick(128), tick(256));
        assert!(log.push(&first.as_bytes()[..40], true).is_empty() && log.ticks.is_empty());
        log.push(format!("{}{}", &first[40..], &second[..20]).as_bytes(), true);
        let seen: Vec<_> =
            log.ticks.iter().map(|tick| (tick.count, tick.witness, tick.clock, tick.offset)).collect();
        assert_eq!(seen, [(128, 7, 40, 0)]);
        let end = log.serial_end();
        log.push(format!("{}{}", &second[20..], tick(384)).as_bytes(), true);
        // The line that started before is not new; the next one is.
        assert_eq!(log.ticks_from(end).map(|tick| tick.count).collect::<Vec<_>>(), [384]);
    }

    #[tokio::test]
    async fn output_before_the_reactor_has_run_is_not_new() {
        let (stream, other) = UnixStream::pair().unwrap();
        let log = SharedLog::default();
        let port = SerialPort::open(stream, log.clone(), true, |_| None, |_, _| {}, |_| {});
        // No `await` up to here, so that the reactor has not run.
        let tick = |count| format!("{}\n", text("tick", &[count, 0, 40]));
        assert_eq!(rustix::net::send(&other, tick(128).as_bytes(), SendFlags::empty()).unwrap(), 71);
        assert!(port.pump());
        assert_eq!(log.lock().ticks.len(), 1);
        // Later output is read without `pump`.
        rustix::net::send(&other, tick(256).as_bytes(), SendFlags::empty()).unwrap();
        for _ in 0..1000 {
            if log.lock().ticks.len() == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the second line was not read");
    }

    #[test]
    fn a_torn_line_is_neither_a_tick_nor_a_mismatch() {
        let mut log = Log::default();
        let tick = text("tick", &[128, 7, 40]);
        let lines = log.push(format!("{}{tick}\nbad 00000\n", &tick[..30]).as_bytes(), true);
        assert!(log.ticks.is_empty());
        assert!(lines.iter().all(|(_, read)| read.is_none()));
    }

    #[test]
    fn a_serial_match_is_found_from_an_offset_on() {
        let mut log = Log::default();
        log.push(b"login: root\nlogin: ", false);
        let expression = Regex::new("login: ").unwrap();
        assert_eq!(log.find_serial(&expression, 0).unwrap().0, 7);
        assert_eq!(log.find_serial(&expression, 7).unwrap().0, 19);
        assert_eq!(log.find_serial(&expression, 19), None);
        let line = regex::bytes::RegexBuilder::new("^login").multi_line(true).build().unwrap();
        assert_eq!(log.find_serial(&line, 1).unwrap().0, 17);
        assert_eq!(log.find_serial(&line, 13), None, "what is new is not the start of a line");
    }

    #[test]
    fn much_output_is_forgotten_from_the_front_and_offsets_stay_true() {
        let mut log = Log::default();
        for _ in 0..KEPT / 1000 + 5000 {
            log.push(&[b'x'; 999], false);
            log.push(b"\n", false);
        }
        let end = log.serial_end();
        assert_eq!(end, (KEPT / 1000 + 5000) * 1000);
        assert!(log.serial.len() <= KEPT);
        log.push(b"needle\n", false);
        assert_eq!(log.find_serial(&Regex::new("needle").unwrap(), end).unwrap().0, end + 6);
    }

    #[test]
    fn an_endless_line_is_cut_into_pieces() {
        let mut log = Log::default();
        let lines = log.push(&vec![b'y'; LONGEST_LINE * 2 + 5], false);
        assert_eq!(
            lines.iter().map(|(line, _)| line.len()).collect::<Vec<_>>(),
            [LONGEST_LINE, LONGEST_LINE]
        );
    }

    #[test]
    fn the_last_state_of_the_capability_for_events_counts() {
        let mut log = Log::default();
        let mut set = |name: &str, state: bool| {
            let arguments = json!({"capabilities": [{"capability": name, "state": state}]});
            log.add_command("migrate-set-capabilities", arguments.as_object().unwrap());
            log.has_migration_events
        };
        assert_eq!([set("events", true), set("multifd", false), set("events", false)], [true, true, false]);
    }

    #[test]
    fn an_event_is_shown_with_its_data() {
        let event = QmpEvent::new(&json!({"event": "MIGRATION", "data": {"status": "colo"},
            "timestamp": {"seconds": 10, "microseconds": 500_000}}));
        assert_eq!((event.to_string().as_str(), event.emitted), ("MIGRATION (status=colo)", 10.5));
        assert_eq!(event.migration_status(), Some("colo"));
    }
}
