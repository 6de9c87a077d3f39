//! Free TCP ports reserved for a case, so that no other run gets them.
//!
//! A port is reserved by a socket that is bound to it and never listens. With `SO_REUSEADDR`, as set by QEMU's
//! listeners and forwarders, others can still bind and listen there; the kernel does not assign it to programs that
//! ask for any free port.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use serde_json::{Map, Value};
use tokio::time::Instant;

/// How many ports to try until one is also free for datagrams.
const ATTEMPTS: usize = 64;

/// How long a port may stay in use by the case itself after the case has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reserved port of 127.0.0.1.
#[derive(Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    _held: OwnedFd,
}

impl Port {
    /// Reserves a port that is free for streams and, at this moment, for datagrams.
    ///
    /// # Errors
    /// When there is none, or a socket cannot be opened.
    pub fn hold() -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            let port = Self::any()?;
            match UdpSocket::bind((Ipv4Addr::LOCALHOST, port.number)) {
                Ok(_) => return Ok(port),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn any() -> io::Result<Self> {
        let held = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&held, true)?;
        bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddr::try_from(getsockname(&held)?)?;
        Ok(Self { number: address.port(), _held: held })
    }
}

/// The ports of a case by name.
#[derive(Debug, Default)]
pub struct Ports(BTreeMap<String, Port>);

impl Ports {
    /// Reserves a port for each name.
    ///
    /// # Errors
    /// As [`Port::hold`].
    pub fn hold<'n>(names: impl IntoIterator<Item = &'n String>) -> io::Result<Self> {
        let held = names.into_iter().map(|name| Ok((name.clone(), Port::hold()?)));
        held.collect::<io::Result<_>>().map(Self)
    }

    /// The number of a port.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u16> {
        self.0.get(name).map(|port| port.number)
    }

    /// The ports by name.
    pub fn numbers(&self) -> impl Iterator<Item = (String, u16)> {
        self.0.iter().map(|(name, port)| (name.clone(), port.number))
    }

    /// The values of `port` in templates.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, port)| (name.clone(), port.number.into())).collect()
    }
}

/// The first of these ports that another program uses, once nothing of their case is left.
///
/// The kernel may release a port only some time after the exit of the process that listened there, such as a QEMU
/// whose event loop is an `io_uring`.
pub async fn taken(held: &[(String, u16)]) -> Option<(String, u16)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let taken = in_use(held)?;
        if Instant::now() >= deadline {
            return Some(taken);
        }
        // There is no notification for this.
        tokio::time::sleep(PATIENCE / 40).await;
    }
}

/// The first of these ports with a socket in this network namespace that listens or receives datagrams.
fn in_use(held: &[(String, u16)]) -> Option<(String, u16)> {
    if held.is_empty() {
        return None;
    }
    // The kernel's `TCP_LISTEN` is 10; a bound datagram socket is in the state `TCP_CLOSE`, 7 (proc_net_tcp.rst).
    let tables = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];
    let used: Vec<u16> = tables
        .iter()
        .filter_map(|(table, state)| {
            Some((std::fs::read_to_string(format!("/proc/net/{table}")).ok()?, state))
        })
        .flat_map(|(table, state)| {
            table.lines().filter_map(|line| local_port(line, state)).collect::<Vec<_>>()
        })
        .collect();
    held.iter().find(|(_, port)| used.contains(port)).cloned()
}

/// The local port in a line of `/proc/net/tcp` or the like, if its socket is in this state.
fn local_port(line: &str, state: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _remote, found) = (fields.next()?, fields.next()?, fields.next()?);
    (found == state).then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_held_port_can_be_listened_at_and_is_not_assigned_again() {
        let names = ["a".to_owned(), "b".to_owned()];
        let ports = Ports::hold(&names).unwrap();
        let (a, b) = (ports.get("a").unwrap(), ports.get("b").unwrap());
        assert_ne!(a, b);
        assert_eq!(ports.values()["a"], a);
        // The standard library sets SO_REUSEADDR, as QEMU does.
        let others: Vec<TcpListener> =
            (0..500).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let taken = |port| others.iter().any(|other| other.local_addr().unwrap().port() == port);
        assert!(!taken(a) && !taken(b));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, a)).unwrap();
        drop(listener);
        // The other one has no listener.
        let refused = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, b)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn who_listens_or_receives_at_a_held_port_is_found() {
        let held = |name: &str, port: u16| (name.to_owned(), port);
        let (a, b) = (Port::hold().unwrap(), Port::hold().unwrap());
        let ports = [held("a", a.number), held("b", b.number)];
        assert_eq!(in_use(&ports), None, "to hold a port is not to use it");
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, b.number)).unwrap();
        assert_eq!(in_use(&ports), Some(held("b", b.number)));
        drop(listener);
        // A process that another test starts right now has the listener too, until it runs its program.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while in_use(&ports).is_some() {
            assert!(std::time::Instant::now() < deadline, "the port is still in use");
            std::thread::yield_now();
        }
        let _receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, a.number)).unwrap();
        assert_eq!(in_use(&ports), Some(held("a", a.number)));
    }

    #[test]
    fn without_the_option_a_held_port_is_taken() {
        let port = Port::hold().unwrap();
        let strict =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.number);
        assert_eq!(bind(&strict, &address).unwrap_err(), rustix::io::Errno::ADDRINUSE);
    }
}
