//! Reading what has arrived by now.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Reads what is there. `try_read` alone would only read what tokio has heard of, which a busy runner has not yet: what
/// QEMU said before a step began would count as new.
pub(crate) fn read_now(stream: &UnixStream, chunk: &mut [u8]) -> io::Result<usize> {
    let read = |chunk: &mut [u8]| -> io::Result<usize> { Ok(recv(stream, chunk, RecvFlags::DONTWAIT)?.1) };
    match read(chunk) {
        // So that tokio tells of what comes next.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            stream.try_io(Interest::READABLE, || read(chunk))
        }
        other => other,
    }
}
