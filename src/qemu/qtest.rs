//! A client of QEMU's qtest protocol, used for what QMP cannot do: writing guest RAM.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum QtestError {
    /// QEMU refused it.
    #[error("qtest `{command}` was refused: {reply}")]
    Refused {
        /// The command as sent.
        command: String,
        /// QEMU's reply.
        reply: String,
    },
    /// No reply came before the deadline.
    #[error("qtest `{0}` got no reply in time")]
    Silent(String),
    /// The connection broke.
    #[error("qtest: {0}")]
    Io(#[from] io::Error),
}

/// A connected qtest socket. One command per line, one reply per line.
#[derive(Debug)]
pub struct Qtest(Mutex<(BufReader<OwnedReadHalf>, OwnedWriteHalf)>);

impl Qtest {
    /// Uses a connection to a `qtest` object of QEMU.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let (input, output) = stream.into_split();
        Self(Mutex::new((BufReader::new(input), output)))
    }

    /// Reads a number of `size` bytes (1, 2, 4 or 8) in the guest's byte order.
    ///
    /// # Errors
    /// See [`QtestError`].
    pub async fn read(&self, address: u64, size: u8, deadline: Instant) -> Result<u64, QtestError> {
        let command = format!("read{} {address:#x}", width(size));
        let reply = self.command(&command, deadline).await?;
        let digits = reply.strip_prefix("OK 0x").unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|_| QtestError::Refused { command, reply })
    }

    /// Writes a number of `size` bytes (1, 2, 4 or 8) in the guest's byte order.
    ///
    /// # Errors
    /// See [`QtestError`].
    pub async fn write(
        &self,
        address: u64,
        size: u8,
        value: u64,
        deadline: Instant,
    ) -> Result<(), QtestError> {
        let command = format!("write{} {address:#x} {value:#x}", width(size));
        let reply = self.command(&command, deadline).await?;
        if reply == "OK" { Ok(()) } else { Err(QtestError::Refused { command, reply }) }
    }

    /// Writes a byte to an I/O port.
    ///
    /// # Errors
    /// See [`QtestError`].
    pub async fn out(&self, port: u16, value: u8, deadline: Instant) -> Result<(), QtestError> {
        let command = format!("outb {port:#x} {value:#x}");
        let reply = self.command(&command, deadline).await?;
        if reply == "OK" { Ok(()) } else { Err(QtestError::Refused { command, reply }) }
    }

    async fn command(&self, command: &str, deadline: Instant) -> Result<String, QtestError> {
        let mut wire = self.0.lock().await;
        let (input, output) = &mut *wire;
        let talk = async {
            output.write_all(format!("{command}\n").as_bytes()).await?;
            loop {
                let mut line = String::new();
                if input.read_line(&mut line).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                // Interrupts are reported between the replies.
                if !line.starts_with("IRQ ") {
                    return Ok(line.trim_end().to_owned());
                }
            }
        };
        match tokio::time::timeout_at(deadline, talk).await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(QtestError::Silent(command.to_owned())),
        }
    }
}

const fn width(size: u8) -> char {
    match size {
        1 => 'b',
        2 => 'w',
        4 => 'l',
        _ => 'q',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_are_read_and_written_by_width_and_errors_are_reported() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = tokio::spawn(async move {
            let (input, mut output) = theirs.into_split();
            let mut lines = BufReader::new(input).lines();
            let mut heard = vec![];
            for reply in ["IRQ raise 4\nOK 0x0000000004030201\n", "OK\n", "FAIL Unknown command\n"] {
                heard.push(lines.next_line().await.unwrap().unwrap());
                output.write_all(reply.as_bytes()).await.unwrap();
            }
            heard
        });
        let qtest = Qtest::new(ours);
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        assert_eq!(qtest.read(0x10_0000, 4, deadline).await.unwrap(), 0x0403_0201);
        qtest.write(0x10_0000, 1, 7, deadline).await.unwrap();
        assert!(qtest.read(1, 8, deadline).await.unwrap_err().to_string().contains("Unknown command"));
        assert_eq!(peer.await.unwrap(), ["readl 0x100000", "writeb 0x100000 0x7", "readq 0x1"]);
    }
}
