//! The options of QEMU's command line, and what becomes of each.

use std::path::Path;

use anyhow::bail;

use super::backends;
use super::convert::Scenario;
use crate::template::escape;

/// What becomes of an option.
#[derive(Clone, Copy)]
enum Becomes {
    /// It has no value, and stays.
    Flag,
    /// It has no value, and is converted.
    Converted(fn(&mut Scenario)),
    /// Its value is converted.
    Value(fn(&mut Scenario, &str)),
    /// Like `Value`, with the option's name.
    Named(fn(&mut Scenario, &str, &str)),
    /// It is left out, with its value if `true`, for this reason.
    Nothing(bool, &'static str),
}

use Becomes::{Converted, Flag, Named, Nothing, Value};

const OWN: &str = "Lockstep has monitors and a serial port of its own";
const DISPLAY: &str = "a test has no display";
const PROCESS: &str = "Lockstep runs the process";

/// The options that do not just stay with their value in `args`.
const OPTIONS: &[(&str, Becomes)] = &[
    ("name", Value(Scenario::name)),
    ("machine", Value(Scenario::machine)),
    ("M", Value(Scenario::machine)),
    ("accel", Value(Scenario::accelerator)),
    ("enable-kvm", Converted(Scenario::kvm)),
    ("cpu", Value(Scenario::cpu)),
    ("m", Value(Scenario::memory)),
    ("smp", Value(Scenario::smp)),
    ("numa", Value(Scenario::numa)),
    ("global", Value(Scenario::global)),
    ("incoming", Value(Scenario::incoming)),
    ("S", Converted(Scenario::stopped)),
    ("kernel", Named(Scenario::boot_file)),
    ("initrd", Named(Scenario::boot_file)),
    ("append", Named(Scenario::boot_file)),
    ("drive", Value(Scenario::drive)),
    ("hda", Named(Scenario::disk)),
    ("hdb", Named(Scenario::disk)),
    ("hdc", Named(Scenario::disk)),
    ("hdd", Named(Scenario::disk)),
    ("cdrom", Named(Scenario::read_only)),
    ("bios", Named(Scenario::read_only)),
    ("blockdev", Named(Scenario::object)),
    ("object", Named(Scenario::object)),
    ("netdev", Named(Scenario::object)),
    ("device", Named(Scenario::object)),
    ("chardev", Value(Scenario::chardev)),
    ("tpmdev", Named(Scenario::object)),
    ("nic", Named(Scenario::network)),
    ("net", Named(Scenario::network)),
    ("qmp", Nothing(true, OWN)),
    ("qmp-pretty", Nothing(true, OWN)),
    ("monitor", Nothing(true, OWN)),
    ("mon", Value(Scenario::monitor)),
    ("serial", Nothing(true, OWN)),
    ("nographic", Nothing(false, DISPLAY)),
    ("curses", Nothing(false, DISPLAY)),
    ("display", Nothing(true, DISPLAY)),
    ("vnc", Nothing(true, DISPLAY)),
    ("spice", Nothing(true, DISPLAY)),
    ("full-screen", Nothing(false, DISPLAY)),
    ("show-cursor", Nothing(false, DISPLAY)),
    ("k", Nothing(true, DISPLAY)),
    ("audiodev", Value(Scenario::audio)),
    ("daemonize", Nothing(false, PROCESS)),
    ("pidfile", Nothing(true, PROCESS)),
    ("chroot", Nothing(true, PROCESS)),
    ("runas", Nothing(true, PROCESS)),
    ("run-with", Nothing(true, PROCESS)),
    ("D", Nothing(true, PROCESS)),
    ("snapshot", Nothing(false, "the disks are overlays or copies anyway")),
    ("nodefaults", Nothing(false, "Lockstep gives it")),
    ("no-user-config", Nothing(false, "Lockstep gives it")),
    ("nodefconfig", Nothing(false, "Lockstep gives `-no-user-config`")),
    ("s", Nothing(false, "the debugger's port is the same for all VMs")),
    ("vga", Value(Scenario::vga)),
    ("no-reboot", Flag),
    ("no-shutdown", Flag),
    ("no-acpi", Converted(|scenario| scenario.machine("acpi=off"))),
    ("no-hpet", Converted(|scenario| scenario.machine("hpet=off"))),
    ("no-fd-bootchk", Flag),
    ("only-migratable", Flag),
    ("preconfig", Flag),
    ("mem-prealloc", Flag),
    ("usb", Flag),
    ("win2k-hack", Flag),
    ("singlestep", Flag),
    ("one-insn-per-tb", Flag),
];

/// Whether a word is the name of a QEMU.
pub(super) fn is_program(word: &str) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "kvm"
}

/// The option that a word is, without its dashes.
fn option(word: &str) -> Option<&str> {
    word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|name| !name.is_empty())
}

/// Reads a command line; relative paths are relative to this folder.
pub(super) fn read(words: &[String], folder: &Path) -> anyhow::Result<Scenario> {
    let Some(at) = words.iter().position(|word| is_program(word)) else {
        bail!("the command line has no `qemu-system-…` with options");
    };
    let mut scenario = Scenario::new(folder);
    match words[at].rsplit_once("qemu-system-") {
        Some((_, "x86_64")) => {}
        Some((_, arch)) => scenario.set("arch", arch),
        None => scenario.kvm(),
    }
    let mut options = Vec::new();
    let mut words = words[at + 1..].iter().peekable();
    while let Some(word) = words.next() {
        let Some(name) = option(word) else {
            // A word without an option is an image.
            options.push(("hda", word.as_str()));
            continue;
        };
        let value = match becomes(name) {
            Some(Flag | Converted(_) | Nothing(false, _)) => None,
            Some(Value(_) | Named(_) | Nothing(true, _)) => match words.next() {
                Some(value) => Some(value),
                None => bail!("the option `-{name}` has no value"),
            },
            None => words.next_if(|next| option(next).is_none()),
        };
        options.push((name, value.map_or("", String::as_str)));
    }
    // A device can be left out with its backend, which can come later.
    options.sort_by_key(|(name, _)| {
        backends::BACKENDS.iter().position(|option| option == name).unwrap_or(usize::MAX)
    });
    for (name, value) in options {
        match becomes(name) {
            Some(Flag) => scenario.keep(&[&format!("-{name}")]),
            Some(Converted(convert)) => convert(&mut scenario),
            Some(Value(convert)) => convert(&mut scenario, value),
            Some(Named(convert)) => convert(&mut scenario, name, value),
            Some(Nothing(_, why)) => scenario.leave_out(name, value, why),
            None if value.is_empty() => scenario.keep(&[&format!("-{name}")]),
            None => scenario.keep(&[&format!("-{name}"), &escape(value)]),
        }
    }
    scenario.complete();
    Ok(scenario)
}

/// What becomes of an option; `None` if it stays in `args` with its value.
fn becomes(option: &str) -> Option<Becomes> {
    OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, becomes)| *becomes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::convert::{joined, pairs};

    fn import(command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        read(&words, Path::new("/nowhere")).unwrap().to_string()
    }

    #[test]
    fn a_comma_in_a_value_is_written_twice() {
        let all = pairs("file=a,,b,readonly,if=none", "file");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(all, [pair("file", "a,b"), pair("readonly", "on"), pair("if", "none")]);
        assert_eq!(joined(&all), "file=a,,b,readonly=on,if=none");
    }

    #[test]
    fn units_and_accelerators_are_those_of_the_language() {
        // QEMU 9 and later have no `-no-hpet`.
        let text = import("sudo /usr/bin/kvm -m 1g,slots=2,maxmem=4096 -no-hpet -M q35,accel=kvm:tcg -smp 2");
        for part in ["size: 1G", "slots: 2", "maxmem: 4096M", "machine: q35,hpet=off", "smp: 2", "- tcg"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The default machine.
        assert!(import("kvm -no-acpi").contains("machine: pc,acpi=off"));
        assert!(
            import("qemu-system-s390x -M aes-key-wrap=off").contains("- -machine\n    - aes-key-wrap=off")
        );
        assert!(import("qemu-system-aarch64 -m 64").contains("arch: aarch64\n    memory: 64M"));
    }

    #[test]
    fn a_template_in_a_value_is_only_text() {
        let text = import("qemu-system-x86_64 -uuid {{x}} -name a/b");
        assert!(text.contains("\\\\u007b\\\\u007b") || text.contains("u007b"), "{text}");
        assert!(text.starts_with("name: a_b\n"), "{text}");
    }
}
