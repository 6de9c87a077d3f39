//! Forwards a VM's output to its log, to the board and to the event stream.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::Plan;
use super::traces::Traces;
use crate::event::{Sink, What};
use crate::guest::ticker;
use crate::qemu::health;
use crate::qemu::process::Process;
use crate::qemu::qmp::Traffic;
use crate::qemu::spec::Guest;
use crate::session::board::{Board, Trouble};
use crate::session::log::{QmpEvent, SerialPort, SharedLog};

/// Reports the end of the process to the event stream and the board, after all of its trace events; the returned flag is
/// set when that is done.
pub(super) fn watch_end(
    name: &str,
    process: &Process,
    traces: Option<Traces>,
    board: &Arc<Board>,
    sink: &Sink,
) -> watch::Receiver<bool> {
    let (reported, is_reported) = watch::channel(false);
    let (vm, board, sink, mut ended) = (name.to_owned(), Arc::clone(board), sink.clone(), process.watch());
    tokio::spawn(async move {
        let end = async { ended.wait_for(Option::is_some).await.ok().and_then(|how| *how) };
        let how = match traces {
            Some(traces) => traces.read_until(end).await,
            None => end.await,
        };
        if let Some(how) = how {
            sink.emit(What::VmExited { vm: vm.clone(), how: how.to_string(), expected: board.may_exit(&vm) });
            board.report(Trouble::Died { vm, how });
            reported.send_replace(true);
            board.changed();
        }
    });
    is_reported
}

/// Reads the serial port, with a copy in a file.
pub(super) fn listen(
    plan: &Plan,
    stream: UnixStream,
    log: SharedLog,
    copy: File,
    board: &Arc<Board>,
    sink: &Sink,
) -> Arc<SerialPort> {
    let (vm, board, sink) = (plan.name.clone(), Arc::clone(board), sink.clone());
    let copy = Mutex::new(copy);
    let watched = !matches!(plan.spec.guest, Guest::Ticker(_));
    let changed = Arc::clone(&board);
    let (name, interference) = (plan.name.clone(), board.interference().cloned());
    let change = move |bytes: &[u8]| interference.as_ref()?.serial(&name, bytes);
    let on_line = move |line: &[u8], read: Option<ticker::Line>| {
        sink.emit(What::SerialLine { vm: vm.clone(), line: String::from_utf8_lossy(line).into_owned() });
        match read {
            Some(line) if line.is_mismatch() => board.report(Trouble::Mismatch { vm: vm.clone(), line }),
            _ => board.changed(),
        }
        if let Some(said) = health::trouble(line).filter(|_| watched) {
            board.report(Trouble::Guest { vm: vm.clone(), did: "said", said });
        }
    };
    let copied = move |bytes: &[u8]| {
        // A full disk must not stop the run; the report says what is missing.
        let _ = copy.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
        // A prompt is not a whole line.
        if watched {
            changed.changed();
        }
    };
    SerialPort::open(stream, log, matches!(plan.spec.guest, Guest::Ticker(_)), change, on_line, copied)
}

/// Reads the monitor's traffic, with a transcript in a file.
pub(super) fn tap(
    vm: String,
    log: SharedLog,
    transcript: File,
    board: Arc<Board>,
    sink: Sink,
) -> impl Fn(Traffic<'_>) + Send + Sync + 'static {
    let transcript = Mutex::new(transcript);
    move |traffic| {
        let (direction, message) = match &traffic {
            Traffic::Sent(message) => ("sent", *message),
            Traffic::Reply(message) => ("reply", *message),
            Traffic::Event(message) => ("event", *message),
            Traffic::Closed => return board.changed(),
        };
        let line = json!({"at": sink.elapsed().as_secs_f64(), direction: message});
        let _ = writeln!(transcript.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        let (vm, message) = (vm.clone(), message.clone());
        match traffic {
            Traffic::Sent(_) => sink.emit(What::QmpCommand { vm, message }),
            Traffic::Reply(_) => sink.emit(What::QmpReply { vm, message }),
            Traffic::Event(_) | Traffic::Closed => {
                let event = QmpEvent::new(&message);
                sink.emit(What::QmpEvent { vm: vm.clone(), message });
                let guest = |vm, did| Some(Trouble::Guest { vm, did, said: event.to_string() });
                let is_guests = event.data["guest"] == true;
                let trouble = match (event.name.as_str(), event.migration_status()) {
                    ("GUEST_PANICKED" | "GUEST_CRASHLOADED", _) => guest(vm, "panicked"),
                    ("RESET", _) if is_guests => guest(vm, "reset the machine"),
                    ("RESET", _) if event.data["reason"] == "host-qmp-system-reset" => {
                        guest(vm, "was reset, but not by a step")
                    }
                    ("SHUTDOWN", _) if is_guests => guest(vm, "shut the machine down"),
                    (_, Some("failed")) => Some(Trouble::MigrationFailed { vm, migration: None }),
                    _ => None,
                };
                let emitted = event.emitted_at();
                log.lock().events.push(event);
                match trouble {
                    Some(trouble) => board.report(trouble),
                    None => board.changed_at(emitted),
                }
            }
        }
    }
}
