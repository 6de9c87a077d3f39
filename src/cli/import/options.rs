//! The options of QEMU's command line, and what becomes of each.

use super::convert::Scenario;

/// What becomes of an option.
#[derive(Clone, Copy)]
pub(super) enum Becomes {
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
    ("cdrom", Value(Scenario::cdrom)),
    ("blockdev", Named(Scenario::object)),
    ("object", Named(Scenario::object)),
    ("netdev", Named(Scenario::object)),
    ("device", Named(Scenario::object)),
    ("chardev", Value(Scenario::chardev)),
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
    ("no-acpi", Flag),
    ("no-hpet", Flag),
    ("no-fd-bootchk", Flag),
    ("only-migratable", Flag),
    ("preconfig", Flag),
    ("mem-prealloc", Flag),
    ("usb", Flag),
    ("win2k-hack", Flag),
    ("singlestep", Flag),
    ("one-insn-per-tb", Flag),
];

/// What becomes of an option; `None` if it stays in `args` with its value.
pub(super) fn becomes(option: &str) -> Option<Becomes> {
    OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, becomes)| *becomes)
}
