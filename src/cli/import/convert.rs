//! Converts the options of a command line.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::template::escape;

/// The kinds of network that a scenario cannot expect on its host.
const OF_HOST: &[&str] =
    &["tap", "bridge", "vhost-user", "vhost-vdpa", "vde", "l2tpv3", "netmap", "af-xdp", "passt"];

/// A scenario in the making.
pub(super) struct Scenario {
    /// The folder of relative paths.
    pub folder: PathBuf,
    name: String,
    /// What was left out or replaced, and why.
    notes: Vec<String>,
    pub vm: Map<String, Value>,
    pub disks: Map<String, Value>,
    /// The kernel and what belongs to it.
    boot: Map<String, Value>,
    /// The firmware in flash memory, and its variables.
    pub flash: Map<String, Value>,
    args: Vec<String>,
    is_stopped: bool,
    /// The character and audio devices that are left out.
    gone: Vec<String>,
}

impl Scenario {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            name: "imported".to_owned(),
            notes: Vec::new(),
            vm: Map::new(),
            disks: Map::new(),
            boot: Map::new(),
            flash: Map::new(),
            args: Vec::new(),
            is_stopped: false,
            gone: Vec::new(),
        }
    }

    /// Adds words to `args`.
    pub(super) fn keep(&mut self, words: &[&str]) {
        self.args.extend(words.iter().map(|&word| word.to_owned()));
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(super) fn leave_out(&mut self, option: &str, value: &str, why: &str) {
        let space = if value.is_empty() { "" } else { " " };
        self.note(format!("Left out: `-{option}{space}{value}`: {why}."));
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.vm.insert(key.to_owned(), value.into());
    }

    fn push(&mut self, key: &str, value: Value) {
        if let Value::Array(list) = self.vm.entry(key).or_insert_with(|| json!([])) {
            list.push(value);
        }
    }

    pub(super) fn name(&mut self, value: &str) {
        if let Some((_, name)) = pairs(value, "guest").into_iter().find(|(key, _)| key == "guest") {
            let usable = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            self.name = name.chars().map(usable).collect();
        }
    }

    pub(super) fn machine(&mut self, value: &str) {
        let mut kept = Vec::new();
        for (key, value) in pairs(value, "type") {
            match key.as_str() {
                "accel" => value.split(':').for_each(|accel| self.accelerator(accel)),
                "type" => kept.insert(0, escape(&value)),
                _ => kept.push(escape(&format!("{key}={}", value.replace(',', ",,")))),
            }
        }
        if !kept.is_empty() {
            self.set("machine", kept.join(","));
        }
    }

    pub(super) fn accelerator(&mut self, value: &str) {
        let mut properties = pairs(value, "accel");
        let Some((_, name)) = properties.first().cloned() else { return };
        properties.remove(0);
        let options: Map<String, Value> =
            properties.into_iter().map(|(key, value)| (key, scalar(&value))).collect();
        let one = if options.is_empty() { json!(name) } else { json!({ name: options }) };
        self.push("accel", one);
    }

    pub(super) fn kvm(&mut self) {
        self.push("accel", json!("kvm"));
    }

    pub(super) fn cpu(&mut self, value: &str) {
        // `max` is the same with KVM, and works without it.
        let portable = value.strip_prefix("host").filter(|rest| rest.is_empty() || rest.starts_with(','));
        if portable.is_some() {
            self.note(
                "`-cpu host` needs KVM: `max`, which is the same with KVM, is in its place.".to_owned(),
            );
        }
        self.set("cpu", portable.map_or_else(|| escape(value), |rest| escape(&format!("max{rest}"))));
    }

    pub(super) fn memory(&mut self, value: &str) {
        // A number without a unit is in MiB.
        let size = |text: &str| match text.parse::<u64>() {
            Ok(number) => format!("{number}M"),
            Err(_) => text.to_ascii_uppercase(),
        };
        let mut memory = Map::new();
        for (key, value) in pairs(value, "size") {
            let value = if key == "slots" { scalar(&value) } else { size(&value).into() };
            memory.insert(key, value);
        }
        let value = if memory.len() == 1 { memory.remove("size") } else { None };
        self.set("memory", value.unwrap_or(Value::Object(memory)));
    }

    pub(super) fn smp(&mut self, value: &str) {
        let mut smp: Map<String, Value> =
            pairs(value, "cpus").into_iter().map(|(key, value)| (key, scalar(&value))).collect();
        let value = if smp.len() == 1 { smp.remove("cpus") } else { None };
        self.set("smp", value.unwrap_or(Value::Object(smp)));
    }

    pub(super) fn numa(&mut self, value: &str) {
        let mut node = Map::new();
        for (key, value) in pairs(value, "type") {
            if key == "cpus" {
                // `cpus=0-3` is a range.
                let (first, last) = value.split_once('-').unwrap_or((&value, &value));
                let range = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
                let cpus = range.map_or_else(Vec::new, |(first, last)| (first..=last).collect());
                if let Value::Array(all) = node.entry(key).or_insert_with(|| json!([])) {
                    all.extend(cpus.into_iter().map(Value::from));
                }
            } else {
                node.insert(key, scalar(&value));
            }
        }
        self.push("numa", Value::Object(node));
    }

    pub(super) fn global(&mut self, value: &str) {
        match value.split_once('=') {
            Some((property, value)) => {
                if let Value::Object(all) = self.vm.entry("globals").or_insert_with(|| json!({})) {
                    all.insert(property.to_owned(), escape(value).into());
                }
            }
            None => self.keep(&["-global", &escape(value)]),
        }
    }

    pub(super) fn incoming(&mut self, value: &str) {
        let waits = value == "defer" || value.starts_with("fd:");
        self.set("incoming", if waits { "defer".to_owned() } else { escape(value) });
    }

    pub(super) fn stopped(&mut self) {
        self.is_stopped = true;
        self.keep(&["-S"]);
    }

    /// `-kernel`, `-initrd` and `-append`.
    pub(super) fn boot_file(&mut self, option: &str, value: &str) {
        if option == "append" {
            self.boot.insert(option.to_owned(), escape(value).into());
        } else if let Some(path) = self.existing(value) {
            self.boot.insert(option.to_owned(), path.into());
        } else {
            self.leave_out(option, value, "there is no such file here");
        }
    }

    /// An option that takes JSON: a list of the language, unless it is written in words.
    pub(super) fn object(&mut self, option: &str, value: &str) {
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(value) else {
            return self.words(option, value);
        };
        let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_gone =
            ["chardev", "audiodev"].iter().any(|key| self.gone.iter().any(|gone| gone == text(key)));
        if is_gone {
            return self.leave_out(option, value, "its backend is left out");
        }
        if option == "netdev" && OF_HOST.contains(&text("type")) {
            return self.private_network(text("id").to_owned(), value);
        }
        if option == "object"
            && text("qom-type") == "secret"
            && !text("file").is_empty()
            && self.existing(text("file")).is_none()
        {
            return self.leave_out(option, value, "there is no such file here");
        }
        let mut map = map;
        if map.get("driver").and_then(Value::as_str).is_some_and(|driver| driver.starts_with("qxl")) {
            self.note(format!("`-device {value}` needs SPICE: a `VGA` is in its place."));
            map.retain(|key, _| ["id", "bus", "addr"].contains(&key.as_str()));
            map.insert("driver".to_owned(), "VGA".into());
        }
        self.push(&format!("{option}s"), crate::scenario::escaped(Value::Object(map)));
    }

    pub(super) fn vga(&mut self, value: &str) {
        if value == "qxl" {
            self.note("`-vga qxl` needs SPICE: `std` is in its place.".to_owned());
        }
        let kind = if value == "qxl" { "std" } else { value };
        self.keep(&["-vga", kind]);
    }

    /// The same in words, which only QEMU can give their types.
    fn words(&mut self, option: &str, value: &str) {
        let all = pairs(value, "driver");
        let of = |key: &str| value_of(&all, key);
        if self.gone.iter().any(|gone| gone == of("chardev") || gone == of("audiodev")) {
            return self.leave_out(option, value, "its backend is left out");
        }
        if option == "netdev" && OF_HOST.contains(&of("driver")) {
            return self.private_network(of("id").to_owned(), value);
        }
        self.keep(&[&format!("-{option}"), &escape(value)]);
    }

    fn private_network(&mut self, id: String, value: &str) {
        self.note(format!("`-netdev {value}` needs the host's network: a user network is in its place."));
        self.push("netdevs", json!({"type": "user", "id": id}));
    }

    /// `-nic` and `-net`.
    pub(super) fn network(&mut self, option: &str, value: &str) {
        let mut all = pairs(value, "type");
        let kind = all.iter_mut().find(|(key, _)| key == "type");
        match kind {
            Some((_, kind)) if OF_HOST.contains(&kind.as_str()) => {
                "user".clone_into(kind);
                let kept = ["type", "id", "model", "mac", "netdev"];
                all.retain(|(key, _)| kept.contains(&key.as_str()));
                self.note(format!(
                    "`-{option} {value}` needs the host's network: a user network is in its place."
                ));
                self.keep(&[&format!("-{option}"), joined(&all).trim_start_matches("type=")]);
            }
            _ => self.keep(&[&format!("-{option}"), &escape(value)]),
        }
    }

    /// A character device; one that another program passed, or that needs a display or terminal, is left out.
    pub(super) fn chardev(&mut self, value: &str) {
        let all = pairs(value, "backend");
        let of = |key: &str| value_of(&all, key);
        let needs_host =
            ["stdio", "spicevmc", "spiceport", "vc"].contains(&of("backend")) || !of("fd").is_empty();
        if needs_host {
            self.gone.push(of("id").to_owned());
            self.leave_out("chardev", value, "it needs a terminal, a display or a descriptor");
        } else {
            self.keep(&["-chardev", &escape(value)]);
        }
    }

    pub(super) fn monitor(&mut self, value: &str) {
        self.leave_out("mon", value, "Lockstep has monitors of its own");
    }

    pub(super) fn audio(&mut self, value: &str) {
        let all = pairs(value, "driver");
        let of = |key: &str| value_of(&all, key);
        if of("driver") == "none" {
            return self.keep(&["-audiodev", &escape(value)]);
        }
        let id = of("id").to_owned();
        self.note(format!("`-audiodev {value}` needs the host's sound: `none` is in its place."));
        self.keep(&["-audiodev", &format!("none,id={id}")]);
    }

    /// Adds what is only known at the end.
    pub(super) fn complete(&mut self) {
        self.images_of_blockdevs();
        let boot = std::mem::take(&mut self.boot);
        if let (Some(code), Some(vars)) = (self.flash.remove("code"), self.flash.remove("vars")) {
            self.set("firmware", json!({"code": code, "vars": vars}));
        }
        let guest = if boot.contains_key("kernel") { json!({"image": boot}) } else { json!("none") };
        self.set("guest", guest);
        for (key, value) in [("disks", Value::Object(self.disks.clone())), ("args", json!(self.args))] {
            if value.as_array().is_none_or(|list| !list.is_empty()) && value != json!({}) {
                self.set(key, value);
            }
        }
    }

    fn steps(&self) -> Value {
        let is_incoming = self.vm.contains_key("incoming");
        let wanted = if is_incoming { "inmigrate" } else { "running" };
        let mut steps = Vec::new();
        if self.is_stopped && !is_incoming {
            steps.push(json!({"qmp": {"vm": "vm", "execute": "cont"}}));
        }
        steps.push(json!({"wait": {"vm": "vm", "status": wanted}}));
        Value::Array(steps)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "# {}", note.replace('\n', " "))?;
        }
        let all = json!({"name": self.name, "vms": {"vm": self.vm}, "steps": self.steps()});
        f.write_str(&serde_yaml::to_string(&all).unwrap_or_default())
    }
}

/// The keys and values of an option; a first value without a key has this one. `,,` is a comma in a value.
pub(super) fn pairs(text: &str, first: &str) -> Vec<(String, String)> {
    let marked = text.replace(",,", "\0");
    let parts = marked.split(',').filter(|part| !part.is_empty()).enumerate();
    let pair = |(number, part): (usize, &str)| {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, value),
            None if number == 0 => (first, part),
            None => (part, "on"),
        };
        (key.to_owned(), value.replace('\0', ","))
    };
    parts.map(pair).collect()
}

/// The value of a key; empty if there is none.
fn value_of<'p>(pairs: &'p [(String, String)], key: &str) -> &'p str {
    pairs.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value.as_str())
}

/// The same as text.
pub(super) fn joined(pairs: &[(String, String)]) -> String {
    let words = pairs.iter().map(|(key, value)| format!("{key}={}", value.replace(',', ",,")));
    words.collect::<Vec<_>>().join(",")
}

/// A number, or else the text.
fn scalar(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| escape(text).into(), Value::from)
}
