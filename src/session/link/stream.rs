//! TCP and Unix streams and their addresses.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// The kernel's socket buffer size on either side: by default it would accept megabytes that a slow link has not
/// carried yet.
const BUFFER: usize = 128 << 10;

/// The address of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `tcp:HOST:PORT`
    Tcp(String),
    /// `unix:PATH`
    Unix(PathBuf),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a stream address; write `tcp:HOST:PORT` or `unix:PATH`");
        match text.split_once(':') {
            Some(("tcp", address)) => match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(address.to_owned()))
                }
                _ => Err(wrong()),
            },
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// As QAPI's `SocketAddress`.
    #[must_use]
    pub fn to_qapi(&self) -> Value {
        match self {
            Self::Tcp(address) => {
                let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
                json!({"type": "inet", "host": host, "port": port})
            }
            Self::Unix(path) => json!({"type": "unix", "path": path}),
        }
    }

    /// Listens there; replaces the socket file of an earlier listener.
    pub(super) fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                // Accepted sockets inherit it.
                let _ = set_socket_recv_buffer_size(&listener, BUFFER);
                Ok(Listener::Tcp(TcpListener::from_std(listener)?))
            }
            Self::Unix(path) => {
                let _ = std::fs::remove_file(path);
                Ok(Listener::Unix(UnixListener::bind(path)?))
            }
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in tokio::net::lookup_host(address).await? {
                    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    // From the start, since it may be dropped before it is connected.
                    reset_at_end(&socket, true);
                    let _ = set_socket_send_buffer_size(&socket, BUFFER);
                    match socket.connect(address).await {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                reset_at_end(&stream, true);
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// A connection that is read and written concurrently. A TCP connection is reset when it is dropped, unless it is to
/// [end in order](Self::end_in_order).
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Reads available data; cancel-safe.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
                Self::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Writes what fits; cancel-safe.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Self::Tcp(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
                Self::Unix(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Shuts down the sending direction.
    pub(super) fn finish(&self) {
        let fd = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
    }

    /// Closes the connection in order when it is dropped, instead of resetting it.
    pub(super) fn end_in_order(&self) {
        if let Self::Tcp(stream) = self {
            reset_at_end(stream, false);
        }
    }
}

/// Sets whether dropping the connection resets it; a Unix socket has no reset and is closed.
fn reset_at_end(stream: &impl AsFd, reset: bool) {
    let _ = set_socket_linger(stream, reset.then_some(Duration::ZERO));
}
