//! Pauses for interactive use.

use std::io::{BufRead, Write};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::settings::Interrupt;
use crate::session::Session;

/// Shows a text and waits for Enter, for the end of standard input, or for an interrupt. Returns the time it took, so
/// that deadlines can be moved by it.
pub(super) async fn for_enter(text: &str, interrupt: &Interrupt) -> Duration {
    let began = Instant::now();
    let mut out = anstream::stderr();
    let _ = write!(out, "{text}");
    let _ = out.flush();
    let (pressed, enter) = oneshot::channel();
    // A separate thread that is never joined: a read from the terminal cannot be cancelled.
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().lock().read_line(&mut line);
        let _ = pressed.send(());
    });
    tokio::select! {
        _ = enter => {}
        _ = interrupt.wait() => {}
    }
    began.elapsed()
}

/// How to inspect the running VMs of a case.
pub(super) fn how_to_attach(session: &Session) -> String {
    let mut text = format!("The case's folder is {}\n", session.directory().display());
    for (name, machine) in &*session.machines() {
        let state = match machine.process.ended() {
            Some(ended) => format!("has ended: {ended}"),
            None => format!("pid {}", machine.process.pid()),
        };
        text.push_str(&format!("VM `{name}`, {state}\n"));
        if machine.process.ended().is_none() {
            let folder = session.directory().display();
            text.push_str(&format!("  monitor  nc -U {folder}/{}\n", machine.attach_socket()));
            text.push_str("           then: {\"execute\": \"qmp_capabilities\"}\n");
            text.push_str(&format!("  serial   tail -f {folder}/{name}.serial.log\n"));
            text.push_str(&format!("  gdb      gdb -p {}\n", machine.process.pid()));
        }
    }
    text
}
