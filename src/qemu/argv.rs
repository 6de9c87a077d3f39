//! Builds QEMU's command line from a VM's specification.

use std::os::fd::RawFd;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::access::{AGENT_PORT, Access};
use super::arch::{Arch, Load};
use super::firmware::Firmware;
use super::image::Drive;
use super::spec::{Accel, Boot, Guest, VmSpec};
use super::ssh::Entry;
use super::trace;

/// What the command line needs besides the specification.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The binary.
    pub binary: &'a Path,
    /// The architecture that it emulates, if the built-in guest runs on it.
    pub arch: Option<Arch>,
    /// The VM's name.
    pub name: &'a str,
    /// The selected accelerator.
    pub accel: Accel,
    /// The ticker's image file, if the guest is the ticker.
    pub image: Option<&'a Path>,
    /// The runner's ends of the channels.
    pub channels: Channels<'a>,
}

/// The prefix of the chardevs that connect the runner and QEMU.
pub const OWN_CHARDEVS: &str = "lockstep-";

/// How the monitor, the serial port, the qtest server, the guest agent and the log are reached.
#[derive(Debug, Clone, Copy)]
pub enum Channels<'a> {
    /// Through sockets that QEMU inherits: nothing in the file system, and connected from the start.
    Inherited {
        /// The monitor.
        qmp: RawFd,
        /// The serial port.
        serial: RawFd,
        /// The qtest server.
        qtest: RawFd,
        /// The guest agent, if the guest has one.
        agent: Option<RawFd>,
        /// The pipe for the log, if trace events are recorded.
        log: Option<RawFd>,
    },
    /// For interactive use: the monitor as a socket in this directory, the serial port on the terminal.
    Shell(&'a Path),
}

/// The command line of a VM, starting with the program.
#[must_use]
pub fn command_line(spec: &VmSpec, around: &Surroundings<'_>) -> Vec<String> {
    let mut argv = vec![around.binary.display().to_string()];
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    add("-name", format!("{},debug-threads=on", escape(around.name)));
    let (flash, nodes) = spec.firmware.as_ref().map(Firmware::options).unwrap_or_default();
    let machine = [spec.machine.as_deref().unwrap_or_default(), flash].join(",");
    match machine.trim_matches(',') {
        "" => {}
        machine => add("-machine", machine.to_owned()),
    }
    nodes.into_iter().for_each(|node| add("-blockdev", node));
    add("-accel", spec.accel.option(around.accel));
    // The hub of a network has no CPU, and the machine `none` accepts none.
    if !spec.cpu.is_empty() && spec.machine_type() != Some("none") {
        add("-cpu", spec.cpu.clone());
    }
    if let Some(smp) = &spec.smp {
        add("-smp", smp.option());
    }
    add("-m", spec.memory.option());
    match around.channels {
        Channels::Inherited { qmp, serial, qtest, log, .. } => {
            add("-chardev", format!("socket,id=lockstep-qmp,fd={qmp}"));
            add("-qmp", "chardev:lockstep-qmp".to_owned());
            add("-chardev", format!("socket,id=lockstep-serial,fd={serial}"));
            add("-serial", "chardev:lockstep-serial".to_owned());
            add("-chardev", format!("socket,id=lockstep-qtest,fd={qtest}"));
            let object =
                r#"{"qom-type":"qtest","id":"lockstep-qtest","chardev":"lockstep-qtest","log":"none"}"#;
            add("-object", object.to_owned());
            // Opening it again makes a write end of QEMU's own, which blocks.
            log.into_iter().for_each(|log| add("-D", format!("/proc/self/fd/{log}")));
        }
        Channels::Shell(directory) => {
            let socket = directory.join(format!("{}.qmp", around.name));
            add("-qmp", format!("unix:{},server=on,wait=off", escape(&socket.display().to_string())));
            add("-serial", "stdio".to_owned());
        }
    }
    trace::options(&spec.trace).into_iter().for_each(|(option, value)| add(option, value));
    argv.extend(["-nodefaults", "-no-user-config", "-display", "none"].map(str::to_owned));
    guest(&mut argv, &spec.guest, around);
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    for (name, value) in &spec.globals {
        add("-global", format!("{name}={}", value.0));
    }
    let json = |map: &Map<String, Value>| Value::Object(map.clone()).to_string();
    spec.objects.iter().for_each(|object| add("-object", json(object)));
    spec.numa.iter().for_each(|options| add("-numa", numa_options(options)));
    spec.chardevs.iter().for_each(|chardev| add("-chardev", chardev_options(chardev)));
    spec.blockdevs.iter().for_each(|blockdev| add("-blockdev", json(blockdev)));
    spec.netdevs.iter().for_each(|netdev| add("-netdev", json(netdev)));
    spec.devices.iter().for_each(|device| add("-device", json(device)));
    // After the devices of the scenario, so that these have the same addresses as without it.
    if spec.guest.access() == Some(&Access::Agent) {
        agent(&mut add, around);
    }
    let entry = spec.guest.access().and_then(Access::ssh).and_then(|ssh| ssh.entry.as_ref());
    entry.into_iter().flat_map(Entry::options).for_each(|(option, value)| add(option, value));
    if let Some(incoming) = &spec.incoming {
        add("-incoming", incoming.clone());
    }
    argv.extend(spec.args.iter().cloned());
    argv
}

/// The port of the guest agent, on a device of its own.
fn agent(add: &mut impl FnMut(&str, String), around: &Surroundings<'_>) {
    let socket = match around.channels {
        Channels::Inherited { agent: Some(agent), .. } => format!("fd={agent}"),
        Channels::Inherited { agent: None, .. } => return,
        Channels::Shell(directory) => {
            let path = directory.join(format!("{}.agent", around.name));
            format!("path={},server=on,wait=off", escape(&path.display().to_string()))
        }
    };
    add("-chardev", format!("socket,id=lockstep-agent,{socket}"));
    add("-device", "virtio-serial,id=lockstep-agent-bus".to_owned());
    let port = format!("chardev=lockstep-agent,name={AGENT_PORT}");
    add("-device", format!("virtserialport,bus=lockstep-agent-bus.0,id=lockstep-agent,{port}"));
}

fn guest(argv: &mut Vec<String>, guest: &Guest, around: &Surroundings<'_>) {
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    match (guest, around.image) {
        (Guest::Ticker(ticker), Some(image)) => {
            let image = image.display().to_string();
            match ticker.boot {
                Boot::Firmware => add(around.arch.map_or(Load::Bios, Arch::load).option(), image),
                Boot::Disk => {
                    let file = escape(&image);
                    add("-drive", format!("if=none,id=ticker,format=raw,snapshot=on,file={file}"));
                    add("-device", "ide-hd,drive=ticker,secs=32,cyls=1,heads=1".to_owned());
                }
            }
        }
        (Guest::Linux(linux), _) => {
            for (option, file) in [("-kernel", &linux.kernel), ("-initrd", &linux.initrd)] {
                if let Some(file) = file {
                    add(option, file.clone());
                }
            }
            add("-append", linux.command_line());
        }
        (Guest::Image(image), _) => {
            let options = ["-kernel", "-initrd", "-append"];
            for (option, value) in options.into_iter().zip([&image.kernel, &image.initrd, &image.append]) {
                if let Some(value) = value {
                    add(option, value.clone());
                }
            }
            if let Some(Drive { format, path }) = &image.drive {
                let file = json!({"driver": "file", "filename": path});
                let node = json!({"driver": format, "node-name": "lockstep-image", "file": file});
                add("-blockdev", node.to_string());
                add("-device", "virtio-blk,drive=lockstep-image,id=lockstep-image".to_owned());
            }
        }
        (Guest::Ticker(_) | Guest::None, _) => {}
    }
}

/// A comma in a value of QEMU's `key=value` syntax is doubled.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// `-chardev` does not accept JSON: converts QAPI's `chardev-add` arguments (`{id, backend: {type, data}}`) to its
/// `key=value` form. Translates keys that differ between the two.
fn chardev_options(chardev: &Map<String, Value>) -> String {
    let mut options = Vec::new();
    let mut id = String::new();
    for (key, value) in chardev {
        match (key.as_str(), value) {
            ("id", value) => id = format!("id={}", escape(&text(value))),
            ("backend", Value::Object(backend)) => {
                options.insert(0, text(backend.get("type").unwrap_or(&Value::Null)));
                if let Some(Value::Object(data)) = backend.get("data") {
                    flatten(data, &mut options);
                }
            }
            ("backend", value) => options.insert(0, text(value)),
            (key, value) => options.push(format!("{key}={}", escape(&text(value)))),
        }
    }
    options.insert(1.min(options.len()), id);
    options.join(",")
}

fn flatten(data: &Map<String, Value>, options: &mut Vec<String>) {
    for (key, value) in data {
        match (key.as_str(), value) {
            // SocketAddressLegacy: {addr: {type, data: {…}}}; the type shows in the keys.
            ("addr" | "remote" | "local", Value::Object(address)) => match address.get("data") {
                Some(Value::Object(inner)) => flatten(inner, options),
                _ => flatten(address, options),
            },
            ("type", _) => {}
            ("str", value) => options.push(format!("fd={}", escape(&text(value)))),
            ("out", value) => options.push(format!("path={}", escape(&text(value)))),
            ("in", value) => options.push(format!("input-path={}", escape(&text(value)))),
            (key, value) => options.push(format!("{key}={}", escape(&text(value)))),
        }
    }
}

/// `-numa` does not accept JSON. A list, such as `cpus`, is its key several times.
fn numa_options(options: &Map<String, Value>) -> String {
    let mut words = Vec::new();
    for (key, value) in options {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        words.extend(values.iter().map(|value| format!("{key}={}", escape(&text(value)))));
    }
    words.join(",")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        other => other.to_string(),
    }
}

/// The words quoted for a shell, one option per line.
#[must_use]
pub fn for_shell(argv: &[String]) -> String {
    let mut text = String::new();
    for (number, word) in argv.iter().enumerate() {
        if number > 0 {
            text.push_str(if word.starts_with('-') { " \\\n    " } else { " " });
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            text.push_str(word);
        } else {
            text.push_str(&format!("'{}'", word.replace('\'', r"'\''")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spec: Value) -> String {
        let spec: VmSpec = serde_json::from_value(spec).unwrap();
        let around = Surroundings {
            binary: Path::new("/usr/bin/qemu-system-x86_64"),
            arch: Some(Arch::X86),
            name: "primary",
            accel: Accel::Tcg,
            image: Some(Path::new("/tmp/a,b/ticker.bin")),
            channels: Channels::Inherited { qmp: 11, serial: 12, qtest: 13, agent: Some(14), log: Some(15) },
        };
        command_line(&spec, &around).join(" ")
    }

    #[test]
    fn the_default_vm_boots_the_ticker_as_firmware() {
        let line = line(json!({"machine": "q35", "memory": "150M", "incoming": "defer"}));
        for part in [
            "-machine q35 -accel tcg -cpu max -m 157286400B",
            "-chardev socket,id=lockstep-qmp,fd=11 -qmp chardev:lockstep-qmp",
            "-bios /tmp/a,b/ticker.bin",
            "-incoming defer",
        ] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }

    #[test]
    fn trace_events_go_with_their_times_to_the_pipe() {
        let line = line(json!({"trace": ["migration_*", "x"]}));
        assert!(line.contains("-D /proc/self/fd/15 "), "{line}");
        assert!(line.contains("-trace enable=migration_* -trace enable=x -msg timestamp=on"), "{line}");
    }

    #[test]
    fn the_flash_memory_belongs_to_the_machine() {
        let flash = json!({"code": "/c", "vars": "/v"});
        let with = line(json!({"machine": "q35,hpet=off", "firmware": flash, "guest": "none"}));
        let expected = "-machine q35,hpet=off,pflash0=lockstep-code,pflash1=lockstep-vars -blockdev {";
        assert!(with.contains(expected), "{with}");
        let default = line(json!({"firmware": flash, "guest": "none"}));
        assert!(default.contains("-machine pflash0=lockstep-code,"), "{default}");
        assert!(!line(json!({"guest": "none"})).contains("-machine"));
    }

    #[test]
    fn the_machine_none_has_no_cpu() {
        let has_cpu = |machine| line(json!({"machine": machine, "guest": "none"})).contains(" -cpu ");
        assert_eq!(["none", "type=none,usb=off", "nonesuch"].map(has_cpu), [false, false, true]);
    }

    #[test]
    fn the_boot_sector_is_on_a_disk_that_is_not_changed() {
        let line = line(json!({"guest": {"ticker": {"boot": "disk"}}}));
        assert!(line.contains("snapshot=on,file=/tmp/a,,b/ticker.bin -device ide-hd,drive=ticker"), "{line}");
    }

    #[test]
    fn a_linux_guest_gets_its_kernel_and_command_line() {
        let line = line(json!({"guest": {"linux": {"kernel": "/k", "initrd": "/i", "cmdline": "quiet"}}}));
        assert!(line.contains("-kernel /k -initrd /i -append quiet"), "{line}");
    }

    #[test]
    fn a_guest_with_an_agent_gets_its_port_after_the_devices() {
        let guest = json!({"image": {"kernel": "/k", "append": "quiet", "access": "agent"}});
        let line = line(json!({"guest": guest, "devices": [{"driver": "virtio-rng-pci"}]}));
        let port = "-chardev socket,id=lockstep-agent,fd=14 -device virtio-serial,id=lockstep-agent-bus \
            -device virtserialport,bus=lockstep-agent-bus.0,id=lockstep-agent,chardev=lockstep-agent,name=org.qemu.guest_agent.0";
        let tail = format!(r#"-device {{"driver":"virtio-rng-pci"}} {port}"#);
        assert!(line.ends_with(&tail) && line.contains("-kernel /k -append quiet"), "{line}");
    }

    #[test]
    fn a_chardev_takes_the_form_of_qapi() {
        let chardev = json!({"id": "mirror0", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": "/tmp/m"}}, "server": true, "wait": false}}});
        let line = line(json!({"guest": "none", "chardevs": [chardev]}));
        assert!(line.ends_with("-chardev socket,id=mirror0,path=/tmp/m,server=on,wait=off"), "{line}");
    }

    #[test]
    fn a_numa_node_has_a_word_for_each_of_its_cpus() {
        let node = json!({"type": "node", "nodeid": 1, "cpus": [2, 3], "memdev": "a,b"});
        let line = line(json!({"guest": "none", "numa": [node, {"type": "dist", "src": 0}]}));
        assert!(
            line.ends_with("-numa type=node,nodeid=1,cpus=2,cpus=3,memdev=a,,b -numa type=dist,src=0"),
            "{line}"
        );
    }

    #[test]
    fn raw_arguments_are_last_and_objects_are_json() {
        let line = line(json!({"guest": "none", "args": ["-S"], "devices": [{"driver": "virtio-rng-pci"}]}));
        assert!(line.ends_with(r#"-device {"driver":"virtio-rng-pci"} -S"#), "{line}");
    }

    #[test]
    fn a_quoted_command_line_keeps_its_arguments() {
        let argv = ["qemu", "-name", "it's", "-device", r#"{"driver":"x"}"#, ""].map(str::to_owned);
        let text = for_shell(&argv);
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s|' {}", text.trim_start_matches("qemu "))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), r#"-name|it's|-device|{"driver":"x"}||"#);
    }
}
