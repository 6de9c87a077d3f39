//! The evidence of a VM: its command lines, its standard error, its last output and state.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Machine;
use crate::qemu::argv::{Channels, Surroundings, command_line, for_shell};
use crate::qemu::spec::Guest;

/// How long a query for the evidence may take; a hanging VM does not reply anyway.
pub(in crate::session) const EVIDENCE_PATIENCE: Duration = Duration::from_secs(2);

impl Machine {
    /// The last lines of QEMU's standard error.
    #[must_use]
    pub fn stderr_tail(&self, lines: usize) -> String {
        let text = self.stderr();
        let all: Vec<&str> = text.trim_end().lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// QEMU's standard error and output.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read(self.file("stderr.log")).map_or_else(
            |error| format!("(cannot read its log: {error})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The command lines: as run, and in a form for a shell.
    #[must_use]
    pub fn command_lines(&self) -> String {
        let image = matches!(self.plan.spec.guest, Guest::Ticker(_)).then(|| self.file("ticker.img"));
        let image = image.as_deref().and_then(Path::file_name).map(PathBuf::from);
        let pasted = command_line(
            &self.plan.spec,
            &Surroundings {
                arch: self.plan.arch(),
                binary: &self.plan.binary.path,
                name: self.name(),
                accel: self.plan.accel,
                image: image.as_deref(),
                channels: Channels::Shell(Path::new(".")),
            },
        );
        format!(
            "# {name}: run this here; its monitor is the socket ./{name}.qmp\n{}\n\n\
             # as it was run, with inherited sockets for monitor, serial port, qtest and networks\n# {}\n",
            for_shell(&pasted),
            self.argv.join(" "),
            name = self.name(),
        )
    }

    /// The error of its last migration; none if QEMU has none or does not answer.
    pub async fn migration_error(&self) -> Option<String> {
        let reply = self.query("query-migrate", Instant::now() + EVIDENCE_PATIENCE).await.ok()?;
        reply["error-desc"].as_str().map(str::to_owned)
    }

    /// Its last output and state as text: how it ended, or its run state and migration status; its last events; the
    /// tails of its serial output and standard error.
    pub async fn state_and_output(&self) -> String {
        self.catch_up();
        let mut text =
            format!("VM `{}` (pid {}, QEMU {})", self.name(), self.process.pid(), self.plan.binary.version);
        match self.process.ended() {
            Some(ended) => text.push_str(&format!(": ended with {ended}\n")),
            None if !self.is_connected() => text.push_str(": running, its monitor is not connected\n"),
            None => {
                text.push('\n');
                let deadline = Instant::now() + EVIDENCE_PATIENCE;
                for (what, command) in [
                    ("run state", "query-status"),
                    ("migration", "query-migrate"),
                    ("colo", "query-colo-status"),
                ] {
                    if what == "colo" && !self.plan.binary.has_colo() {
                        continue;
                    }
                    let line = match self.query(command, deadline).await {
                        Ok(reply) => summary(command, &reply),
                        Err(failure) => failure.to_string(),
                    };
                    text.push_str(&format!("  {what}: {line}\n"));
                }
            }
        }
        let log = self.log.lock();
        let events = &log.events[log.events.len().saturating_sub(8)..];
        let events: Vec<String> = events.iter().map(ToString::to_string).collect();
        let events = if events.is_empty() { "none".to_owned() } else { events.join(", ") };
        text.push_str(&format!("  last events: {events}\n"));
        let tails = [("serial", log.serial_tail(5)), ("stderr", self.stderr_tail(10))];
        for (what, tail) in tails {
            if tail.is_empty() {
                text.push_str(&format!("  {what}: nothing\n"));
            } else {
                text.push_str(&format!("  {what}:\n    {}\n", tail.replace('\n', "\n    ")));
            }
        }
        text
    }
}

/// The part of a query's reply that fits in one line.
fn summary(command: &str, reply: &Value) -> String {
    let word = |key: &str| reply[key].as_str();
    match command {
        "query-status" => word("status").unwrap_or("unknown").to_owned(),
        "query-migrate" => {
            let status = word("status").unwrap_or("none");
            word("error-desc").map_or_else(|| status.to_owned(), |error| format!("{status}: {error}"))
        }
        _ => {
            let parts = ["mode", "last-mode", "reason"]
                .map(|key| format!("{key} {}", word(key).unwrap_or("unknown")));
            parts.join(", ")
        }
    }
}
