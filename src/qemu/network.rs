//! Networks that join VMs and the host, without root: a QEMU without a machine acts as the hub.
//!
//! The hub has a port for QEMU's user network, which forwards ports of 127.0.0.1, and one for each netdev of a VM on
//! the network: `dgram` netdevs (QEMU 7.2) on both sides, each of which inherits one of a pair of UDP sockets. A VM may
//! start and end without affecting the others. Nor does one that reads no frames (it waits for a migration, or is
//! stopped): once the kernel's buffer of its socket is full, the frames are dropped. A `stream` netdev, or a pair of Unix
//! sockets, would make the hub wait or queue.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use indexmap::IndexMap;
use rustix::net::RecvFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::spec::VmSpec;

/// The type of a netdev on a network of the scenario.
pub const TYPE: &str = "network";

/// The suffix of the hub QEMU's name. VM names cannot contain it.
const WIRE: &str = "@network";

/// The buffer of a socket, in bytes; the kernel may allow less (`net.core.rmem_max`).
const BUFFER: usize = 4 << 20;

/// The sockets of the netdevs of a VM on networks, by `id`; those of a hub QEMU, by VM and `id`.
pub type Sockets = BTreeMap<String, Arc<OwnedFd>>;

/// A network that joins the host and the VMs with a netdev on it, `{type: network, id: ID, network: NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Its addresses, as `A.B.C.D/LENGTH` with a length from 8 to 28. The first is the host's side, the second to
    /// last that of a name server; a guest that uses DHCP gets the second. Default: `10.77.0.0/24`.
    #[serde(default = "default_subnet")]
    pub subnet: String,
    /// Whether the host is on it. The host answers TCP in place of the guest that another guest connects to, so
    /// guests that talk to each other need `false`; then there is no port forwarding and no DHCP.
    #[serde(default = "yes", skip_serializing_if = "std::clone::Clone::clone")]
    pub host: bool,
    /// Ports of 127.0.0.1 that are forwarded to a guest: `NAME: "ADDRESS:PORT"`, or `"udp:ADDRESS:PORT"`.
    /// `{{port.NAME}}` is the number. Nothing else leaves the network.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forward: BTreeMap<String, String>,
}

fn default_subnet() -> String {
    "10.77.0.0/24".to_owned()
}

fn yes() -> bool {
    true
}

/// The target of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    protocol: &'static str,
    to: std::net::SocketAddrV4,
}

impl std::str::FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = match text.split_once(':') {
            Some(("tcp", address)) => ("tcp", address),
            Some(("udp", address)) => ("udp", address),
            _ => ("tcp", text),
        };
        let to = address.parse().map_err(|_| {
            format!("`{text}` is not a guest address; write `10.77.0.2:7000` or `udp:10.77.0.2:7000`")
        })?;
        Ok(Self { protocol, to })
    }
}

/// The addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    first: u32,
    length: u8,
}

impl std::str::FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a valid subnet; write `10.77.0.0/24`, with a prefix length from 8 to 28")
        };
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        let first = u32::from(address);
        let is_first = (8..=28).contains(&length) && first & (u32::MAX >> length) == 0;
        is_first.then_some(Self { first, length }).ok_or_else(wrong)
    }
}

impl Subnet {
    /// The address with this number; negative numbers count from the end.
    fn address(self, number: i64) -> String {
        let size = 1_i64 << (32 - self.length);
        let offset = if number < 0 { size + number } else { number };
        Ipv4Addr::from(self.first + u32::try_from(offset).unwrap_or_default()).to_string()
    }

    /// Whether an address can belong to a guest: not the network's, the host's or the broadcast address.
    #[must_use]
    pub fn is_for_guests(self, address: Ipv4Addr) -> bool {
        let offset = i64::from(u32::from(address)) - i64::from(self.first);
        (2..(1_i64 << (32 - self.length)) - 2).contains(&offset)
    }
}

impl NetworkSpec {
    /// The errors in it, each with its path.
    #[must_use]
    pub fn wrong(&self) -> Vec<(Vec<&str>, String)> {
        let subnet: Result<Subnet, String> = self.subnet.parse();
        let mut wrong = Vec::new();
        for (name, to) in &self.forward {
            match (to.parse::<Forward>(), &subnet) {
                (Err(message), _) => wrong.push((vec!["forward", name], message)),
                (Ok(forward), Ok(subnet)) if !subnet.is_for_guests(*forward.to.ip()) => {
                    let message = format!("`{to}` is not a guest address in {}", self.subnet);
                    wrong.push((vec!["forward", name], message));
                }
                _ => {}
            }
        }
        if !self.host && !self.forward.is_empty() {
            let message = "a network without the host cannot forward its ports".to_owned();
            wrong.push((vec!["forward"], message));
        }
        wrong.extend(subnet.err().map(|message| (vec!["subnet"], message)));
        wrong
    }

    /// The specification of the hub QEMU with these sockets. `port` provides the ports.
    #[must_use]
    pub fn wire(&self, port: impl Fn(&str) -> Option<u16>, sockets: &Sockets) -> Option<VmSpec> {
        let subnet: Subnet = self.subnet.parse().ok()?;
        let forward = self.forward.iter().filter_map(|(name, to)| {
            let Forward { protocol, to } = to.parse().ok()?;
            Some(json!({"str": format!("{protocol}:127.0.0.1:{}-{to}", port(name)?)}))
        });
        let host = json!({
            "type": "user",
            "id": "host",
            "net": self.subnet,
            "host": subnet.address(1),
            "dhcpstart": subnet.address(2),
            "dns": subnet.address(-2),
            "ipv6": false,
            "restrict": true,
            "hostfwd": forward.collect::<Vec<_>>(),
        });
        let mut netdevs: Vec<Value> = self.host.then_some(host).into_iter().collect();
        for socket in sockets.values() {
            netdevs.push(netdev(&format!("vm{}", netdevs.len()), Some(socket)));
        }
        let ports = netdevs.iter().enumerate().map(
            |(number, netdev)| json!({"type": "hubport", "id": format!("port{number}"), "hubid": 0, "netdev": netdev["id"]}),
        );
        let netdevs: Vec<Value> = netdevs.iter().cloned().chain(ports).collect();
        let spec = json!({
            "machine": "none", "cpu": "", "memory": "1M", "guest": "none", "start": false, "netdevs": netdevs,
        });
        serde_json::from_value(spec).ok()
    }
}

/// The name of a network's hub QEMU.
#[must_use]
pub fn wire_name(network: &str) -> String {
    format!("{network}{WIRE}")
}

/// The network of a hub QEMU's name.
#[must_use]
pub fn of_wire(name: &str) -> Option<&str> {
    name.strip_suffix(WIRE)
}

/// The id of a netdev, if it is on this network.
fn on<'n>(netdev: &'n Map<String, Value>, network: &str) -> Option<&'n str> {
    let here = netdev.get("type")? == TYPE && netdev.get("network")? == network;
    netdev.get("id").and_then(Value::as_str).filter(|_| here)
}

/// The ids of a VM's netdevs on this network.
pub fn netdevs<'s>(spec: &'s VmSpec, network: &str) -> impl Iterator<Item = &'s str> {
    spec.netdevs.iter().filter_map(move |netdev| on(netdev, network))
}

/// The two sockets that join a netdev of a VM and the hub.
///
/// # Errors
/// When the kernel refuses them.
pub fn cable() -> io::Result<[Arc<OwnedFd>; 2]> {
    let ends = [UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?];
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        // The kernel drops what comes from elsewhere.
        end.connect(other.local_addr()?)?;
        end.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(end, BUFFER)?;
    }
    Ok(ends.map(|end| Arc::new(end.into())))
}

/// Drops the frames that came while no process read them.
pub fn drain(sockets: &Sockets) {
    for socket in sockets.values() {
        while rustix::net::recv(socket, &mut [0; 1], RecvFlags::DONTWAIT).is_ok() {}
    }
}

/// A netdev with its socket, in QEMU's form.
fn netdev(id: &str, socket: Option<&Arc<OwnedFd>>) -> Value {
    let number = socket.map_or(0, AsRawFd::as_raw_fd);
    json!({"type": "dgram", "id": id, "local": {"type": "fd", "str": number.to_string()}})
}

/// The VM with its network netdevs in QEMU's form.
#[must_use]
pub fn attached(spec: &VmSpec, sockets: &Sockets) -> VmSpec {
    let mut spec = spec.clone();
    for own in spec.netdevs.iter_mut().filter(|netdev| netdev.get("type").is_some_and(|kind| kind == TYPE)) {
        let id = own.get("id").and_then(Value::as_str).unwrap_or_default();
        if let Value::Object(attached) = netdev(id, sockets.get(id)) {
            *own = attached;
        }
    }
    spec
}

/// The error in a netdev on a network: the key, the message and the help; `None` if it is valid.
#[must_use]
pub fn wrong_netdev<'k>(
    netdev: &'k Map<String, Value>,
    networks: &IndexMap<String, NetworkSpec>,
) -> Option<(&'k str, String, String)> {
    if netdev.get("type").is_none_or(|kind| kind != TYPE) {
        return None;
    }
    let known = ["type", "id", "network"];
    if let Some(key) = netdev.keys().find(|key| !known.contains(&key.as_str())) {
        let message = format!("a netdev of type `network` has no key `{key}`");
        return Some((key, message, crate::diagnostic::suggest(key, known)));
    }
    let example = || "write `{type: network, id: hn0, network: NAME}`".to_owned();
    if netdev.get("id").is_none_or(|id| !id.is_string()) {
        return Some(("type", "the netdev has no `id`".to_owned(), example()));
    }
    match netdev.get("network").and_then(Value::as_str) {
        None => Some(("type", "the netdev names no `network`".to_owned(), example())),
        Some(name) if !networks.contains_key(name) => {
            let help = match networks.is_empty() {
                true => format!("declare it with `networks: {{{name}: }}`"),
                false => crate::diagnostic::suggest(name, networks.keys().map(String::as_str)),
            };
            Some(("network", format!("there is no network `{name}` in this case"), help))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(netdevs: Value) -> VmSpec {
        serde_json::from_value(json!({"guest": "none", "netdevs": netdevs})).unwrap()
    }

    fn lan() -> NetworkSpec {
        let forward = json!({"service": "10.9.0.2:7000", "flood": "udp:10.9.0.2:9"});
        serde_json::from_value(json!({"subnet": "10.9.0.0/24", "forward": forward})).unwrap()
    }

    #[test]
    fn a_network_has_a_port_for_each_socket_and_forwards_ports() {
        let on = |network: &str| json!({"type": "network", "id": "hn0", "network": network});
        let vm = vm(json!([on("lan"), {"type": "user", "id": "u"}, on("other")]));
        assert_eq!(netdevs(&vm, "lan").collect::<Vec<_>>(), ["hn0"]);
        let [(hub, own), (hub2, _)] = [(); 2].map(|()| cable().unwrap().into());
        let sockets = Sockets::from([("a@hn0".to_owned(), hub), ("b@hn0".to_owned(), hub2)]);
        let port = |name: &str| Some(if name == "service" { 4711 } else { 4712 });
        let wire = json!(lan().wire(port, &sockets).unwrap().netdevs);
        assert_eq!(
            wire[0]["hostfwd"],
            json!([{"str": "udp:127.0.0.1:4712-10.9.0.2:9"}, {"str": "tcp:127.0.0.1:4711-10.9.0.2:7000"}])
        );
        assert_eq!((&wire[0]["host"], &wire[0]["dns"]), (&json!("10.9.0.1"), &json!("10.9.0.254")));
        let kinds = |netdevs: &Value| -> Vec<Value> {
            netdevs.as_array().unwrap().iter().map(|netdev| netdev["type"].clone()).collect()
        };
        assert_eq!(kinds(&wire), ["user", "dgram", "dgram", "hubport", "hubport", "hubport"]);
        assert_eq!((&wire[3]["netdev"], &wire[5]["netdev"]), (&json!("host"), &json!("vm2")));
        let number = |socket: &Arc<OwnedFd>| json!(socket.as_raw_fd().to_string());
        assert_eq!(wire[1]["local"]["str"], number(&sockets["a@hn0"]));
        // Without the host, the guests are among themselves.
        let alone: NetworkSpec = serde_json::from_value(json!({"host": false})).unwrap();
        let wire = json!(alone.wire(|_| None, &sockets).unwrap().netdevs);
        assert_eq!(kinds(&wire), ["dgram", "dgram", "hubport", "hubport"]);
        let attached = attached(&vm, &Sockets::from([("hn0".to_owned(), Arc::clone(&own))]));
        assert_eq!(attached.netdevs[0]["local"]["str"], number(&own));
        assert_eq!(attached.netdevs[1], vm.netdevs[1]);
    }

    #[test]
    fn frames_for_an_end_that_does_not_read_are_dropped_and_forgotten() {
        let [hub, vm] = cable().unwrap();
        let send = |from: &Arc<OwnedFd>, frame: &[u8]| {
            rustix::net::send(from, frame, rustix::net::SendFlags::DONTWAIT).unwrap();
        };
        let received = |at: &Arc<OwnedFd>| {
            let mut frame = [0; 2000];
            rustix::net::recv(at, &mut frame, RecvFlags::DONTWAIT)
                .ok()
                .map(|(length, _)| frame[..length].to_vec())
        };
        send(&vm, b"up");
        assert_eq!(received(&hub).unwrap(), b"up");
        // Much more than the kernel keeps, and no error.
        (0..20_000).for_each(|_| send(&hub, &[7; 1500]));
        assert_eq!(received(&vm).unwrap(), [7; 1500]);
        drain(&Sockets::from([("hn0".to_owned(), Arc::clone(&vm))]));
        assert_eq!(received(&vm), None);
        send(&hub, b"down");
        assert_eq!(received(&vm).unwrap(), b"down");
    }

    #[test]
    fn invalid_networks_are_reported() {
        let wrong = |spec: Value| {
            let spec: NetworkSpec = serde_json::from_value(spec).unwrap();
            spec.wrong()
                .iter()
                .map(|(path, message)| format!("{}: {message}", path.join(".")))
                .collect::<Vec<_>>()
        };
        assert!(wrong(json!({})).is_empty() && lan().wrong().is_empty());
        for subnet in ["10.0.0.0", "10.0.0.1/24", "10.0.0.0/29", "10.0.0/24", "10.0.0.0/33", "::/64"] {
            assert!(wrong(json!({"subnet": subnet}))[0].starts_with("subnet: "), "{subnet}");
        }
        for to in
            ["10.77.0.2", "icmp:10.77.0.2:1", "10.77.0.1:1", "10.77.0.255:1", "10.78.0.2:1", "10.77.0.2:x"]
        {
            assert!(wrong(json!({"forward": {"x": to}}))[0].starts_with("forward.x: "), "{to}");
        }
        assert!(wrong(json!({"host": false})).is_empty());
        let forward = json!({"host": false, "forward": {"x": "10.77.0.2:1"}});
        assert_eq!(wrong(forward), ["forward: a network without the host cannot forward its ports"]);
    }

    #[test]
    fn a_netdev_must_name_an_existing_network() {
        let networks = IndexMap::from([("lan".to_owned(), lan())]);
        let wrong = |netdev: Value| {
            wrong_netdev(netdev.as_object().unwrap(), &networks).map(|(key, ..)| key.to_owned())
        };
        assert_eq!(wrong(json!({"type": "network", "id": "a", "network": "lan"})), None);
        assert_eq!(wrong(json!({"type": "user", "id": "a", "x": 1})), None);
        assert_eq!(wrong(json!({"type": "network", "id": "a", "network": "lna"})).unwrap(), "network");
        assert_eq!(wrong(json!({"type": "network", "network": "lan"})).unwrap(), "type");
        assert_eq!(wrong(json!({"type": "network", "id": "a"})).unwrap(), "type");
        assert_eq!(wrong(json!({"type": "network", "id": "a", "network": "lan", "x": 1})).unwrap(), "x");
    }
}
