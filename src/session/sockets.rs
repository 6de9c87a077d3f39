//! The connections of a process as seen by the kernel, without asking the process.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::link::Address;

/// The states of a TCP connection (`/proc/net/tcp`) in which this end is not shut down: connecting, established, or
/// closed by the other end only.
const TCP_OPEN: [&str; 4] = ["01", "02", "03", "08"];

/// The stream connections of a process to or from one of these addresses that it has not shut down, one line each.
///
/// # Errors
/// When the kernel does not provide the information.
pub fn open_connections(pid: u32, addresses: &[Address]) -> io::Result<Vec<String>> {
    let own = inodes(pid)?;
    let ports: Vec<u16> = addresses.iter().filter_map(port).collect();
    let mut open = Vec::new();
    for table in ["tcp", "tcp6"] {
        match std::fs::read_to_string(format!("/proc/{pid}/net/{table}")) {
            Ok(text) => open.extend(tcp(&text, &own, &ports)),
            // The kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == "tcp6" => {}
            Err(error) => return Err(error),
        }
    }
    let paths: Vec<&PathBuf> = addresses.iter().filter_map(path).collect();
    if !paths.is_empty() {
        let all = unix_sockets()?;
        for socket in all.values().filter(|socket| own.contains(&socket.inode) && socket.is_open()) {
            let peer = all.get(&socket.peer).and_then(|peer| peer.path.as_ref());
            if let Some(path) = socket.path.as_ref().or(peer).filter(|path| paths.contains(path)) {
                open.push(format!("unix:{} (inode {})", path.display(), socket.inode));
            }
        }
    }
    Ok(open)
}

fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(at) => at.rsplit_once(':').and_then(|(_, port)| port.parse().ok()),
        Address::Unix(_) => None,
    }
}

const fn path(address: &Address) -> Option<&PathBuf> {
    match address {
        Address::Tcp(_) => None,
        Address::Unix(path) => Some(path),
    }
}

/// The inodes of the sockets that a process has.
fn inodes(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // The descriptor was closed meanwhile.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        found.extend(inode.and_then(|inode| inode.parse::<u32>().ok()));
    }
    Ok(found)
}

/// The open connections in a kernel table of TCP sockets.
fn tcp(table: &str, own: &[u32], ports: &[u16]) -> Vec<String> {
    let port = |address: &str| {
        let (_, port) = address.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (port(fields.get(1)?)?, port(fields.get(2)?)?);
        let inode = fields.get(9)?.parse::<u32>().ok()?;
        let ours = own.contains(&inode) && (ports.contains(&local) || ports.contains(&remote));
        (ours && TCP_OPEN.contains(fields.get(3)?)).then(|| format!("tcp, port {local} to port {remote}"))
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// A Unix-domain socket of the network namespace.
#[derive(Debug, Default, PartialEq)]
struct UnixSocket {
    inode: u32,
    listens: bool,
    path: Option<PathBuf>,
    /// The inode of the other end; 0 if there is none.
    peer: u32,
    /// Whether it was shut down, at either end.
    shut: bool,
}

impl UnixSocket {
    const fn is_open(&self) -> bool {
        !self.listens && self.peer != 0 && !self.shut
    }
}

// From linux/sock_diag.h, linux/unix_diag.h and linux/netlink.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SHOW_NAME_AND_PEER: u32 = 0x5;
const LISTEN: u8 = 10;
const NAME: u16 = 0;
const PEER: u16 = 2;
const SHUTDOWN: u16 = 6;

/// All Unix sockets, by inode. `/proc/net/unix` shows neither peers nor shut-down states.
fn unix_sockets() -> io::Result<BTreeMap<u32, UnixSocket>> {
    let kernel = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // A `nlmsghdr` and a `unix_diag_req`: every state, every inode.
    let mut request = Vec::new();
    request.extend(40u32.to_ne_bytes());
    request.extend([SOCK_DIAG_BY_FAMILY.to_ne_bytes(), REQUEST_DUMP.to_ne_bytes()].concat());
    request.extend([0; 8]);
    request.extend([1, 0, 0, 0]);
    request.extend([u32::MAX, 0, SHOW_NAME_AND_PEER, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat());
    rustix::net::send(&kernel, &request, SendFlags::empty())?;
    let mut sockets = BTreeMap::new();
    while answer(&kernel, &mut sockets)? {}
    Ok(sockets)
}

/// Parses one datagram of the kernel's reply; returns whether there are more.
fn answer(kernel: &OwnedFd, sockets: &mut BTreeMap<u32, UnixSocket>) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let (_, length) = rustix::net::recv(kernel, &mut buffer[..], RecvFlags::empty())?;
    let mut rest = &buffer[..length];
    while let (Some(size), Some(kind)) = (number(rest, 0), short(rest, 4)) {
        let message = rest.get(..size as usize).filter(|message| message.len() >= HEADER);
        let message = message.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => return Err(io::Error::from(io::ErrorKind::Unsupported)),
            _ => {
                if let Some(socket) = unix_socket(&message[HEADER..]) {
                    sockets.insert(socket.inode, socket);
                }
            }
        }
        rest = rest.get(message.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(length > 0)
}

/// Reads a `unix_diag_msg` and its attributes.
fn unix_socket(message: &[u8]) -> Option<UnixSocket> {
    let mut socket =
        UnixSocket { inode: number(message, 4)?, listens: message[2] == LISTEN, ..UnixSocket::default() };
    let mut rest = message.get(16..)?;
    while let (Some(size), Some(kind)) = (short(rest, 0), short(rest, 2)) {
        let value = rest.get(4..usize::from(size))?;
        match kind {
            NAME => {
                let text = String::from_utf8_lossy(value);
                socket.path = Some(PathBuf::from(text.trim_end_matches('\0')));
            }
            PEER => socket.peer = number(value, 0)?,
            SHUTDOWN => socket.shut = value.first().is_some_and(|shut| *shut != 0),
            _ => {}
        }
        rest = rest.get(usize::from(size).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_tcp_connection_is_open_until_this_end_is_shut_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        let open = || open_connections(std::process::id(), std::slice::from_ref(&address)).unwrap().len();
        assert_eq!(open(), 0);
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        assert_eq!(open(), 2);
        near.shutdown(Shutdown::Both).unwrap();
        // The other end has been notified, but is not shut down.
        assert_eq!(open(), 1);
        far.shutdown(Shutdown::Both).unwrap();
        assert_eq!(open(), 0);
    }

    #[test]
    fn a_unix_connection_is_open_until_either_end_is_shut_down() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let elsewhere = UnixStream::pair().unwrap();
        let address = Address::Unix(path.clone());
        let open = || open_connections(std::process::id(), std::slice::from_ref(&address)).unwrap().len();
        assert_eq!(open(), 0);
        let near = UnixStream::connect(&path).unwrap();
        let (far, _) = listener.accept().unwrap();
        assert_eq!(open(), 2);
        near.shutdown(Shutdown::Both).unwrap();
        assert_eq!(open(), 0);
        drop((far, elsewhere));
    }

    #[test]
    fn connections_of_other_processes_and_ports_are_ignored() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n\
            1: 0100007F:A000 0100007F:1F90 08 00000000:00000000 00:00000000 00000000     0        0 78 1 0\n\
            2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n\
            3: 0100007F:1F90 0100007F:A001 05 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n";
        assert_eq!(tcp(table, &[77], &[0x1f90]), ["tcp, port 8080 to port 40960"]);
        assert_eq!(tcp(table, &[78], &[0x1f90]), ["tcp, port 40960 to port 8080"]);
        assert_eq!(tcp(table, &[79], &[0x1f90]), [""; 0]);
        assert_eq!(tcp(table, &[77], &[0x1f91]), [""; 0]);
    }
}
