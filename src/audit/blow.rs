//! What a strike can do to a machine. The runner's own watch is not told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::site::Site;
use crate::guest::ticker::layout::{Kind, PAGE};
use crate::qemu::qmp::Qmp;
use crate::session::interference::Handle;

/// How long a strike may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A strike at a machine.
#[derive(Debug, Clone)]
pub(crate) struct Blow {
    /// Where.
    pub site: Site,
    /// The machine.
    pub handle: Handle,
    /// Whether the trial is over.
    pub over: Arc<AtomicBool>,
}

impl Blow {
    fn deadline() -> Instant {
        Instant::now() + PATIENCE
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        rustix::process::pidfd_send_signal(&self.handle.pidfd, signal).map_err(|error| error.to_string())
    }

    /// Runs a command on a second monitor.
    pub(crate) async fn qmp(&self, command: &str, arguments: Value) -> Result<(), String> {
        self.ask(command, arguments).await.map(drop)
    }

    /// The same with its reply.
    pub(crate) async fn ask(&self, command: &str, arguments: Value) -> Result<Value, String> {
        let connecting = tokio::time::timeout(PATIENCE, UnixStream::connect(&self.handle.monitor)).await;
        let stream = match connecting {
            Ok(stream) => stream.map_err(|error| format!("the second monitor: {error}"))?,
            Err(_) => return Err("the second monitor does not accept a connection".to_owned()),
        };
        let monitor = Qmp::connect(stream, Some(false), Self::deadline(), |_| ()).await;
        let monitor = monitor.map_err(|error| error.to_string())?;
        let arguments = arguments.as_object().cloned().unwrap_or_else(Map::new);
        let reply = monitor.execute(command, arguments, false, Self::deadline()).await;
        reply.map_err(|error| error.to_string())
    }

    /// Whether the trial is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Writes a byte to an I/O port.
    pub(crate) async fn out(&self, port: u16, value: u8) -> Result<(), String> {
        self.handle.qtest.out(port, value, Self::deadline()).await.map_err(|error| error.to_string())
    }

    /// The addresses at which the memory of a display begins and ends.
    pub(crate) async fn video_memory(&self) -> Result<[u64; 2], String> {
        let buses = self.ask("query-pci", Value::Null).await?;
        let devices = buses.as_array().into_iter().flatten().filter_map(|bus| bus["devices"].as_array());
        // 0x300 is VGA, 0x380 another display.
        let display = |device: &&Value| matches!(device["class_info"]["class"].as_u64(), Some(0x300 | 0x380));
        let display = devices.flatten().find(display).ok_or("the VM has no display")?;
        let region = display["regions"].as_array().into_iter().flatten().find(|one| one["bar"] == 0);
        let number = |key: &str| region.and_then(|region| region[key].as_u64());
        match (number("address"), number("size")) {
            (Some(address), Some(size)) if address > 0 => Ok([address, address + size]),
            _ => Err("the display has no memory yet".to_owned()),
        }
    }

    /// Reads guest memory.
    pub(crate) async fn read(&self, address: u64, size: u8) -> Result<u64, String> {
        self.handle.qtest.read(address, size, Self::deadline()).await.map_err(|error| error.to_string())
    }

    /// Writes guest memory.
    pub(crate) async fn write(&self, address: u64, size: u8, value: u64) -> Result<(), String> {
        self.handle
            .qtest
            .write(address, size, value, Self::deadline())
            .await
            .map_err(|error| error.to_string())
    }

    /// The addresses of the built-in guest's pages of a kind.
    pub(crate) fn pages(&self, kind: Kind) -> Result<Vec<u64>, String> {
        let layout = self.handle.layout.as_ref().ok_or("the VM does not run the built-in guest")?;
        let pages = layout.pages().filter(|(_, own)| *own == kind);
        let pages: Vec<u64> = pages.map(|(page, _)| page * PAGE).collect();
        if pages.is_empty() { Err("the guest has no page of this kind".to_owned()) } else { Ok(pages) }
    }

    /// The address of a live page of the built-in guest at this share of RAM.
    pub(crate) fn page(&self, share: f64) -> Result<u64, String> {
        let pages = self.pages(Kind::Live)?;
        Ok(pages[((pages.len() - 1) as f64 * share) as usize])
    }
}
