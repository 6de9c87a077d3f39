//! Reading available data without waiting.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Reads available data. `try_read` alone would only read what tokio already knows of, which lags in a busy runner:
/// output from before a step started would count as new.
pub(crate) fn read_now(stream: &UnixStream, chunk: &mut [u8]) -> io::Result<usize> {
    let read = |chunk: &mut [u8]| -> io::Result<usize> { Ok(recv(stream, chunk, RecvFlags::DONTWAIT)?.1) };
    match read(chunk) {
        // Re-arms tokio's readiness notification.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            stream.try_io(Interest::READABLE, || read(chunk))
        }
        other => other,
    }
}
