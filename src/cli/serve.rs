//! `--serve`: the address of the page of a run.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;

use crate::report::Serve;

/// Parses a port, or an IP address with or without one; the port 0 is any free one.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let of_localhost =
        |text: &str| Some(SocketAddr::new(loopback, text.strip_prefix("localhost:")?.parse().ok()?));
    let port = text.parse().map(|port| SocketAddr::new(loopback, port)).ok();
    let bare =
        || text.trim_start_matches('[').trim_end_matches(']').parse().map(|ip| SocketAddr::new(ip, 0)).ok();
    let parsed = port.or_else(|| text.parse().ok()).or_else(|| of_localhost(text)).or_else(bare);
    parsed.ok_or_else(|| "write a port (8000), or an IP address and a port (127.0.0.1:8000)".to_owned())
}

/// Takes the address, so that it is known to be free before anything is started.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("cannot serve the page at {address} (choose another address with --serve=ADDR)")
    })
}

/// Serves the page, and says where.
pub(super) fn start(listener: TcpListener, reports: &Path) -> anyhow::Result<Serve> {
    let address = listener.local_addr()?;
    let serve = Serve::start(listener, reports).context("cannot serve the page")?;
    let mut out = std::io::stdout();
    // As with the other lines of the run, a reader that has left is not an error.
    let _ = writeln!(out, "live page: http://{address}/").and_then(|()| out.flush());
    Ok(serve)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_is_a_port_or_an_ip_address() {
        for (text, expected) in [
            ("8000", "127.0.0.1:8000"),
            ("0", "127.0.0.1:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0", "0.0.0.0:0"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("::1", "[::1]:0"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for wrong in ["", "70000", "-1", "example.org:80", "127.0.0.1:x", "localhost", "http://127.0.0.1:80"]
        {
            assert!(address(wrong).unwrap_err().contains("127.0.0.1:8000"), "{wrong}");
        }
    }
}
