//! Converts the options of a command line.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::template::escape;

/// A scenario in the making.
pub(super) struct Scenario {
    /// The folder of relative paths.
    pub folder: PathBuf,
    name: Option<String>,
    /// What was left out or replaced, and why.
    notes: Vec<String>,
    pub vm: Map<String, Value>,
    pub disks: Map<String, Value>,
    /// The kernel and what belongs to it.
    boot: Map<String, Value>,
    /// The firmware in flash memory, and its variables.
    pub flash: Map<String, Value>,
    args: Vec<String>,
    /// Names of ports.
    pub ports: Vec<String>,
    /// Block devices, and whether they were written as JSON.
    pub nodes: Vec<(Value, bool)>,
    /// The machine, with its options.
    pub machine: Vec<(String, String)>,
    is_stopped: bool,
    /// The backends that are left out.
    pub gone: Vec<String>,
}

impl Scenario {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            name: None,
            notes: Vec::new(),
            vm: Map::new(),
            disks: Map::new(),
            boot: Map::new(),
            flash: Map::new(),
            args: Vec::new(),
            ports: Vec::new(),
            nodes: Vec::new(),
            machine: Vec::new(),
            is_stopped: false,
            gone: Vec::new(),
        }
    }

    /// Adds words to `args`.
    pub(super) fn keep(&mut self, words: &[&str]) {
        self.args.extend(words.iter().map(|&word| word.to_owned()));
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn leave_out(&mut self, option: &str, value: &str, why: &str) {
        let space = if value.is_empty() { "" } else { " " };
        self.note(format!("Left out: `-{option}{space}{value}`: {why}."));
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.vm.insert(key.to_owned(), value.into());
    }

    pub(super) fn push(&mut self, key: &str, value: Value) {
        if let Value::Array(list) = self.vm.entry(key).or_insert_with(|| json!([])) {
            list.push(value);
        }
    }

    pub(super) fn name(&mut self, value: &str) {
        if let Some((_, name)) = pairs(value, "guest").into_iter().find(|(key, _)| key == "guest") {
            let usable = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            self.name = Some(name.chars().map(usable).collect());
        }
    }

    pub(super) fn machine(&mut self, value: &str) {
        for (key, value) in pairs(value, "type") {
            match key.as_str() {
                "accel" => value.split(':').for_each(|accel| self.accelerator(accel)),
                "type" => self.machine.insert(0, (key, value)),
                _ => self.machine.push((key, value)),
            }
        }
    }

    pub(super) fn accelerator(&mut self, value: &str) {
        let mut properties = pairs(value, "accel");
        let Some((_, name)) = properties.first().cloned() else { return };
        properties.remove(0);
        let options: Map<String, Value> =
            properties.into_iter().map(|(key, value)| (key, scalar(&value))).collect();
        let one = if options.is_empty() { json!(name) } else { json!({ name: options }) };
        let is_known = self.vm.get("accel").and_then(Value::as_array).is_some_and(|all| all.contains(&one));
        if !is_known {
            self.push("accel", one);
        }
    }

    pub(super) fn kvm(&mut self) {
        self.accelerator("kvm");
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

    /// `DRIVER.PROPERTY=VALUE`, or the three with their keys.
    pub(super) fn global(&mut self, value: &str) {
        let all = pairs(value, "");
        let of = |key: &str| value_of(&all, key);
        let (property, value) = match value.split_once('=') {
            Some(("driver", _)) => (format!("{}.{}", of("driver"), of("property")), of("value").to_owned()),
            Some((property, value)) => (property.to_owned(), escape(value)),
            None => return self.keep(&["-global", &escape(value)]),
        };
        if let Value::Object(all) = self.vm.entry("globals").or_insert_with(|| json!({})) {
            all.insert(property, value.into());
        }
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

    pub(super) fn vga(&mut self, value: &str) {
        if value == "qxl" {
            self.note("`-vga qxl` needs SPICE: `std` is in its place.".to_owned());
        }
        let kind = if value == "qxl" { "std" } else { value };
        self.keep(&["-vga", kind]);
    }

    /// A file that is only read.
    pub(super) fn read_only(&mut self, option: &str, path: &str) {
        match self.existing(path) {
            Some(found) => self.keep(&[&format!("-{option}"), &found]),
            None => self.leave_out(option, path, "there is no such file here"),
        }
    }

    /// Adds what is only known at the end.
    pub(super) fn complete(&mut self) {
        self.firmware();
        self.images_of_nodes();
        let is_named = self.machine.first().is_some_and(|(key, _)| key == "type");
        if !is_named && !self.machine.is_empty() && !self.vm.contains_key("arch") {
            self.machine("pc");
        }
        let machine = joined(&self.machine);
        match without_first_key(&machine) {
            "" => {}
            options if options == machine => self.keep(&["-machine", options]),
            machine => self.set("machine", machine),
        }
        let mut boot = std::mem::take(&mut self.boot);
        let guest = if boot.contains_key("kernel") {
            json!({"image": boot})
        } else {
            if let Some(Value::String(append)) = boot.remove("append") {
                self.leave_out("append", &append, "there is no kernel");
            }
            json!("none")
        };
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
        // Without a name the case has that of the file.
        let mut all = self.name.as_ref().map_or_else(|| json!({}), |name| json!({"name": name}));
        if !self.ports.is_empty() {
            writeln!(f, "# Ports of the host are ports of the case: two cases can run at the same time.")?;
            all["ports"] = json!(self.ports);
        }
        all["vms"] = json!({"vm": self.vm});
        all["steps"] = self.steps();
        f.write_str(&serde_yaml::to_string(&all).unwrap_or_default())
    }
}

/// The keys and values of an option, with templates as text; a first value without a key has this one. `,,` is a comma in a value.
pub(super) fn pairs(text: &str, first: &str) -> Vec<(String, String)> {
    let marked = text.replace(",,", "\0");
    let parts = marked.split(',').filter(|part| !part.is_empty()).enumerate();
    let pair = |(number, part): (usize, &str)| {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, value),
            None if number == 0 => (first, part),
            None => (part, "on"),
        };
        (key.to_owned(), escape(&value.replace('\0', ",")))
    };
    parts.map(pair).collect()
}

/// The value of a key; empty if there is none.
pub(super) fn value_of<'p>(pairs: &'p [(String, String)], key: &str) -> &'p str {
    pairs.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value.as_str())
}

/// The same as text.
pub(super) fn joined(pairs: &[(String, String)]) -> String {
    let words = pairs.iter().map(|(key, value)| format!("{key}={}", value.replace(',', ",,")));
    words.collect::<Vec<_>>().join(",")
}

/// The same without a first key that need not be written.
pub(super) fn without_first_key(text: &str) -> &str {
    match text.split_once('=') {
        Some(("driver" | "type" | "qom-type" | "backend", rest)) => rest,
        _ => text,
    }
}

/// A number, or else the text.
fn scalar(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}
