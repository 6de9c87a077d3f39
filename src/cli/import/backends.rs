//! Networks, character devices and the like: what connects a VM with its host.

use serde_json::{Map, Value, json};

use super::convert::{Scenario, joined, pairs, value_of, without_first_key};

/// The kinds of network that a scenario cannot expect on its host.
const OF_HOST: &[&str] =
    &["tap", "bridge", "vhost-user", "vhost-vdpa", "vde", "l2tpv3", "netmap", "af-xdp", "passt"];

/// The options of backends, each after those that it can name; also the keys that name one.
pub(super) const BACKENDS: &[&str] = &["chardev", "audiodev", "tpmdev"];
/// The keys of filters and of `colo-compare` that name a character device.
const FILTERED: &[&str] = &["indev", "outdev", "primary_in", "secondary_in", "notify_dev"];

impl Scenario {
    /// An option that also takes JSON; only JSON has the types that a list of the language needs.
    pub(super) fn object(&mut self, option: &str, value: &str) {
        let json = match serde_json::from_str::<Value>(value) {
            Ok(json @ Value::Object(_)) => Some(crate::scenario::escaped(json)),
            _ => None,
        };
        let first = match option {
            "object" => "qom-type",
            "netdev" | "tpmdev" => "type",
            _ => "driver",
        };
        let words = pairs(value, first);
        let text = |key: &str| match &json {
            Some(json) => json[key].as_str().unwrap_or_default().to_owned(),
            None => value_of(&words, key).to_owned(),
        };
        if BACKENDS.iter().chain(FILTERED).any(|key| self.is_gone(&text(key)))
            || text("type") == "passthrough"
        {
            self.gone.push(text("id"));
            return self.leave_out(option, value, "its backend is left out");
        }
        if option == "netdev" && OF_HOST.contains(&text("type").as_str()) {
            self.note(format!("`-netdev {value}` needs the host's network: a user network is in its place."));
            return self.push("netdevs", json!({"type": "user", "id": text("id")}));
        }
        let file = text("file");
        if text("qom-type") == "secret" && !file.is_empty() && self.existing(&file).is_none() {
            return self.leave_out(option, value, "there is no such file here");
        }
        if text("driver").starts_with("qxl") {
            self.note(format!("`-device {value}` needs SPICE: a `VGA` is in its place."));
            let kept = ["id", "bus", "addr"].into_iter().map(|key| (key, text(key)));
            let mut vga: Map<String, Value> = kept
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect();
            vga.insert("driver".to_owned(), "VGA".into());
            return self.push("devices", Value::Object(vga));
        }
        match json {
            Some(json) if option == "blockdev" => self.nodes.push((json, true)),
            Some(mut json) => {
                for forward in json.get_mut("hostfwd").and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(text) = forward["str"].as_str().map(str::to_owned) {
                        forward["str"] = self.forward(&text).into();
                    }
                }
                self.push(&format!("{option}s"), json);
            }
            None if option == "blockdev" => self.nodes.push((super::disks::nested(&words), false)),
            None => self.keep_pairs(option, words),
        }
    }

    fn is_gone(&self, id: &str) -> bool {
        !id.is_empty() && self.gone.iter().any(|gone| gone == id)
    }

    /// Keeps an option; ports that it forwards become ports of the case.
    fn keep_pairs(&mut self, option: &str, mut pairs: Vec<(String, String)>) {
        for (_, forward) in pairs.iter_mut().filter(|(key, _)| key == "hostfwd") {
            *forward = self.forward(forward);
        }
        self.keep(&[&format!("-{option}"), without_first_key(&joined(&pairs))]);
    }

    /// `tcp::2222-:22` with a port of the case.
    fn forward(&mut self, text: &str) -> String {
        let parts = text.split_once('-').and_then(|(host, guest)| Some((host.rsplit_once(':')?, guest)));
        match parts {
            Some(((host, port), guest)) => {
                let local = if host.contains(':') && !host.ends_with(':') { "" } else { "127.0.0.1" };
                format!("{host}{local}:{}-{guest}", self.port(port))
            }
            None => text.to_owned(),
        }
    }

    /// A port of the case in the place of a port of the host.
    pub(super) fn port(&mut self, number: &str) -> String {
        if number.parse::<u16>().is_err() || number == "0" {
            return number.to_owned();
        }
        let name = format!("p{number}");
        let port = format!("{{{{port.{name}}}}}");
        if !self.ports.contains(&name) {
            self.ports.push(name);
        }
        port
    }

    /// `-incoming`: a port is one of the case, so that other VMs can name it.
    pub(super) fn incoming(&mut self, value: &str) {
        let address = match value.rsplit_once(':') {
            _ if value == "defer" || value.starts_with("fd:") => "defer".to_owned(),
            Some((before, port)) if value.starts_with("tcp:") => format!("{before}:{}", self.port(port)),
            _ => crate::template::escape(value),
        };
        self.set("incoming", address);
    }

    /// `-nic` and `-net`.
    pub(super) fn network(&mut self, option: &str, value: &str) {
        let mut all = pairs(value, "type");
        let is_of_host = |(key, kind): &(String, String)| key == "type" && OF_HOST.contains(&kind.as_str());
        if all.iter().any(is_of_host) {
            self.note(format!(
                "`-{option} {value}` needs the host's network: a user network is in its place."
            ));
            let kept = ["id", "model", "mac", "netdev"];
            all.retain(|(key, _)| kept.contains(&key.as_str()));
            all.insert(0, ("type".to_owned(), "user".to_owned()));
        }
        self.keep_pairs(option, all);
    }

    /// A character device; one that another program passed, or that needs a display or terminal, is left out.
    pub(super) fn chardev(&mut self, value: &str) {
        let mut all = pairs(value, "backend");
        let of = |key: &str| value_of(&all, key).to_owned();
        let is = |key: &str| ["on", "yes"].contains(&of(key).as_str());
        let (backend, path) = (of("backend"), of("path"));
        let is_server = is("server");
        let is_client_of_path = backend == "socket" && !is_server && !path.is_empty();
        let why =
            if ["stdio", "spicevmc", "spiceport", "vc"].contains(&backend.as_str()) || !of("fd").is_empty() {
                Some("it needs a terminal, a display or a descriptor")
            } else if is_client_of_path && !self.folder.join(&path).exists() {
                Some("there is no such socket here")
            } else {
                None
            };
        if let Some(why) = why {
            self.gone.push(of("id"));
            return self.leave_out("chardev", value, why);
        }
        if is_server && !is("nowait") && of("wait") != "off" {
            self.note(format!(
                "`-chardev {value}` lets the VM wait for a client: `wait=off` is in its place."
            ));
        }
        if is_server {
            all.retain(|(key, _)| !["wait", "nowait"].contains(&key.as_str()));
            all.push(("wait".to_owned(), "off".to_owned()));
        }
        for (key, value) in &mut all {
            match key.as_str() {
                "port" if backend == "socket" => *value = self.port(value),
                "path" if is_server || backend == "file" => {
                    let name = path.rsplit('/').next().unwrap_or_default();
                    *value = format!("{{{{case.dir}}}}/{name}");
                }
                "reconnect" => {
                    self.note(
                        "QEMU 9.2 and later have `reconnect-ms` in the place of `reconnect`.".to_owned(),
                    );
                    "reconnect-ms".clone_into(key);
                    value.push_str("000");
                }
                _ => {}
            }
        }
        self.keep(&["-chardev", without_first_key(&joined(&all))]);
    }

    pub(super) fn monitor(&mut self, value: &str) {
        self.leave_out("mon", value, "Lockstep has monitors of its own");
    }

    pub(super) fn audio(&mut self, value: &str) {
        let json: Value = serde_json::from_str(value).unwrap_or_default();
        let words = pairs(value, "driver");
        let of = |key: &str| json[key].as_str().unwrap_or_else(|| value_of(&words, key)).to_owned();
        if of("driver") != "none" {
            self.note(format!("`-audiodev {value}` needs the host's sound: `none` is in its place."));
        }
        self.keep(&["-audiodev", &format!("none,id={}", of("id"))]);
    }
}
