//! The specification of a VM in a scenario.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::accel::{Accel, Accelerators};
use super::access::Access;
use super::binary::Binary;
use super::disk::Disk;
use super::firmware::Firmware;
use super::health::Health;
use super::image::Image;
use super::linux::Linux;
use super::memory::Memory;
pub use super::scalar::Scalar;
use super::smp::Smp;
use super::trace;
use crate::units::{ByteCount, Size};

/// A VM of the scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// The QEMU to run: a name given by `--qemu NAME=PATH`, or a path. Default: `default`, which is `--qemu PATH` if
    /// given, else `qemu-system-<arch>` in `PATH`.
    #[serde(default = "default_qemu")]
    pub qemu: String,
    /// The architecture, as in `qemu-system-<arch>`; a QEMU that emulates another one is refused. Default: that of
    /// the QEMU given by `--qemu`, else `x86_64`. The built-in guest runs on `x86_64`, `i386`, `aarch64`, `s390x` and
    /// `ppc64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The machine type, an alias or the full name with its version, and its properties as for `-machine`. Default:
    /// the binary's own default; on `aarch64`, which has none, `virt`. Under TCG a `pseries` has no mitigations that TCG
    /// lacks. If the VMs of a case use different QEMUs, an alias stands for the newest versioned
    /// type that all of them know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The accelerators to try in order; the first that works is used. Default: `[kvm, tcg]`. One with properties, as
    /// for `-accel`, is a map: `{kvm: {dirty-ring-size: 4096}}`. KVM works if this QEMU runs a small guest with it, with
    /// this machine type and CPU. Without hardware virtualization (`vmx`, `svm`) KVM is slower than TCG: it is then used
    /// only if nothing else is allowed. The reports have the reason.
    #[serde(default = "default_accel")]
    pub accel: Accelerators,
    /// The CPU model, as for `-cpu`; the machine `none` has no CPU. Default: `max`.
    #[serde(default = "default_cpu")]
    pub cpu: String,
    /// The CPUs: their number, or a map of their topology (`-smp`). Default: that of the machine type, mostly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smp: Option<Smp>,
    /// The guest's RAM: its size, at least `1M`, or a map with the room for memory devices (`-m`). Default: `128M`.
    #[serde(default = "default_memory")]
    pub memory: Memory,
    /// NUMA nodes, their distances and their CPUs, each as `NumaOptions` of QEMU's QAPI schema (`-numa`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<Map<String, Value>>,
    /// UEFI firmware in flash memory: `ovmf`, which is Debian's package of that name, or a map of its files. Each VM has
    /// its own copy of the variables. Default: the machine type's own firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// What runs in the VM. Default: `ticker`.
    #[serde(default, deserialize_with = "guest")]
    #[schemars(schema_with = "guest_schema")]
    pub guest: Guest,
    /// What the guest may print or do that would otherwise fail the case: `{allow: REGEX}`, or a list of them, or
    /// `off` for anything. Each is searched in the line of the serial port, or in the event as shown in reports:
    /// `RESET (guest=true reason=guest-reset)`. Default: nothing.
    #[serde(default, skip_serializing_if = "Health::is_strict")]
    pub health: Health,
    /// Absent: the VM starts at once. `defer`: it waits for `migrate`. Anything else: the URI for `-incoming`. Every QEMU
    /// runs in the case's private directory, to which a relative path in a URI or in `args` is relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoming: Option<String>,
    /// Whether it is started before the first step (the default) or by a `start` step.
    #[serde(default = "yes")]
    pub start: bool,
    /// Whether the runner connects to it when it is started (the default) or in a `connect` step. A QEMU that waits
    /// for data from another one before it has a monitor, as with `-incoming cpr`, can only be connected to later.
    #[serde(default = "yes")]
    pub connect: bool,
    /// Descriptors that the process inherits, by name, created before anything is started. `{{self.fd.NAME}}` is the
    /// number of one in the VM's own options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fds: BTreeMap<String, Inherited>,
    /// Whether to negotiate QMP's out-of-band execution. Default: if the binary offers it; with `true`, it is an
    /// error if the binary does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oob: Option<bool>,
    /// Disk images of its own, created when it is started for the first time. `{{self.disk.NAME}}` is the path of one
    /// in the VM's own options, `{{run.vm.VM.disk.NAME}}` elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, Disk>,
    /// Block devices, each as `BlockdevOptions` of QEMU's QAPI schema (`-blockdev`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockdevs: Vec<Map<String, Value>>,
    /// Character devices, each as the arguments of QMP's `chardev-add` (`-chardev`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chardevs: Vec<Map<String, Value>>,
    /// Network backends, each as `Netdev` of QEMU's QAPI schema (`-netdev`), or on a network of the scenario:
    /// `{type: network, id: ID, network: NAME}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub netdevs: Vec<Map<String, Value>>,
    /// Objects, each as `ObjectOptions` of QEMU's QAPI schema (`-object`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Map<String, Value>>,
    /// Devices, each as the arguments of QMP's `device_add` (`-device`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Map<String, Value>>,
    /// Settings for `-global`, such as `migration.x-events: on`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub globals: BTreeMap<String, Scalar>,
    /// QEMU's trace events to record: the names of events, with `*` and `?` as in `-trace enable=PATTERN`. Their lines are
    /// in `events.jsonl` and in the transcript of the page. `lockstep probe --json` lists the events of a QEMU. A case is
    /// skipped if the QEMU is built without the trace backend `log`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub trace: Vec<trace::Events>,
    /// Raw arguments, last on the command line: a list in which each item is one argument, or a text that is split
    /// into words like in a shell. An item of this list and of those above may have a `when`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables for the process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Scalar>,
}

impl VmSpec {
    /// The architecture of the QEMU to use.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.arch.as_deref().unwrap_or("x86_64")
    }

    /// Whether a QEMU emulates the VM's architecture.
    #[must_use]
    pub fn runs_on(&self, binary: &Binary) -> bool {
        self.arch.as_ref().is_none_or(|arch| *arch == binary.arch)
    }

    /// What is wrong if it does not.
    #[must_use]
    pub fn other_target(&self, binary: &Binary) -> Option<String> {
        let wanted = self.arch.as_ref().filter(|_| !self.runs_on(binary))?;
        let (path, target) = (binary.path.display(), &binary.arch);
        Some(format!("`arch: {wanted}`, but the QEMU at `{path}` emulates {target}"))
    }

    /// The machine type without its properties.
    #[must_use]
    pub fn machine_type(&self) -> Option<&str> {
        let machine = self.machine.as_deref()?;
        Some(machine.split(',').next().unwrap_or_default().trim_start_matches("type="))
    }
}

/// A descriptor that a VM's process inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inherited {
    /// A Unix-domain socket that listens at this path; a relative one is relative to the case's private directory.
    pub listen: String,
}

/// What runs in a VM.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guest {
    /// The built-in workload: dirties memory, prints a line every few passes, and checks itself.
    Ticker(Ticker),
    /// Linux: the guest built by `scripts/fetch-guest`, or the scenario's own kernel.
    Linux(Linux),
    /// A guest of one's own: a disk image, or a kernel.
    Image(Image),
    /// No built-in guest: the scenario's own `args` and devices decide.
    None,
}

impl Guest {
    /// How the runner gets in, if it can.
    #[must_use]
    pub const fn access(&self) -> Option<&Access> {
        match self {
            Self::Linux(Linux { access, .. }) | Self::Image(Image { access, .. }) => access.as_ref(),
            Self::Ticker(_) | Self::None => None,
        }
    }

    /// The same to change it.
    pub const fn access_mut(&mut self) -> Option<&mut Access> {
        match self {
            Self::Linux(Linux { access, .. }) | Self::Image(Image { access, .. }) => access.as_mut(),
            Self::Ticker(_) | Self::None => None,
        }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::Ticker(Ticker::default())
    }
}

/// The built-in workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ticker {
    /// How much memory it writes to on each pass, in whole 4 KiB pages distributed over all of the VM's RAM. Default:
    /// `4M`.
    #[serde(default = "default_dirty")]
    pub dirty: Size,
    /// How much memory it writes once, at its start, and compares on each pass. Its content can be compressed to
    /// about a quarter, or further with more effort. Default: `256K`.
    #[serde(default = "default_still")]
    pub still: Size,
    /// Further blocks of RAM that it uses, such as a memory device (`pc-dimm`): at most two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<RamBlock>,
    /// How it is booted. Default: `firmware`.
    #[serde(default)]
    pub boot: Boot,
    /// How many passes there are per printed line (a tick). Default: chosen so that a line comes every few
    /// milliseconds under emulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<u32>,
    /// Whether it also patches its own code: on each pass it writes its count into a routine, runs it, and reports if
    /// the routine returns another number, which means that the emulator ran stale code. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_patching: bool,
    /// Whether it suspends the machine once (ACPI S3), after its first tick; `system_wakeup` wakes it, and it
    /// continues with its count. Needs `boot: firmware`. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Whether it writes to I/O port 0x80 after each page, which causes a VM exit to QEMU. A KVM without hardware
    /// virtualization needs this for a dirty ring, which it checks only then. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exits: bool,
}

impl Default for Ticker {
    fn default() -> Self {
        Self {
            dirty: default_dirty(),
            still: default_still(),
            blocks: Vec::new(),
            boot: Boot::default(),
            passes: None,
            self_patching: false,
            suspend: false,
            exits: false,
        }
    }
}

impl Ticker {
    fn checked(self) -> Result<Self, &'static str> {
        if self.suspend && self.boot == Boot::Disk {
            return Err("a machine wakes up in its firmware, so `suspend` needs `boot: firmware`");
        }
        if self.blocks.len() > 2 {
            return Err("the built-in guest uses at most two more `blocks`");
        }
        if self.blocks.iter().any(|block| block.size.0 < Size::mib(1).0 || block.address.0 % 4096 != 0) {
            return Err("a RAM block must have at least `1M` and begin at a multiple of `4K`");
        }
        Ok(self)
    }
}

/// A block of guest RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RamBlock {
    /// Its guest-physical address, as a size (`4G`) or in bytes.
    pub address: ByteCount,
    /// Its size; `1M` or more.
    pub size: Size,
}

/// How the ticker boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// As the machine's firmware (`-bios`): runs within milliseconds, without disk or SeaBIOS.
    #[default]
    Firmware,
    /// From the boot sector of an IDE disk, through SeaBIOS.
    Disk,
}

fn default_qemu() -> String {
    "default".to_owned()
}

fn default_accel() -> Accelerators {
    Accelerators::default()
}

fn default_cpu() -> String {
    "max".to_owned()
}

const fn default_memory() -> Memory {
    Memory::of(Size::mib(128))
}

const fn default_dirty() -> Size {
    Size::mib(4)
}

const fn default_still() -> Size {
    Size(256 << 10)
}

const fn yes() -> bool {
    true
}

fn guest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Guest, D::Error> {
    struct GuestVisitor;
    impl<'de> Visitor<'de> for GuestVisitor {
        type Value = Guest;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`ticker`, `linux`, `none`, `{ticker: {…}}`, `{linux: {…}}` or `{image: {…}}`")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Guest, E> {
            match name {
                "ticker" => Ok(Guest::default()),
                "linux" => Ok(Guest::Linux(Linux::default())),
                "none" => Ok(Guest::None),
                "image" => Err(E::custom("`image` needs its keys; write `{image: {disk: FILE}}`")),
                other => Err(E::custom(format!(
                    "`{other}` is not a guest; write `ticker`, `linux`, `none`, `{{ticker: {{…}}}}`, `{{linux: {{…}}}}` or `{{image: {{…}}}}`"
                ))),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Guest, A::Error> {
            let Some(kind) = map.next_key::<String>()? else {
                return Err(de::Error::custom(
                    "an empty map names no guest; write `ticker`, `linux` or `none`",
                ));
            };
            let guest = match kind.as_str() {
                "ticker" => Guest::Ticker(map.next_value::<Ticker>()?.checked().map_err(de::Error::custom)?),
                "linux" => Guest::Linux(map.next_value::<Linux>()?.checked().map_err(de::Error::custom)?),
                "image" => Guest::Image(map.next_value::<Image>()?.checked().map_err(de::Error::custom)?),
                other => return Err(de::Error::unknown_field(other, &["ticker", "linux", "image"])),
            };
            match map.next_key::<String>()? {
                None => Ok(guest),
                Some(second) => {
                    Err(de::Error::custom(format!("a VM has one guest, not `{kind}` and `{second}`")))
                }
            }
        }
    }
    deserializer.deserialize_any(GuestVisitor)
}

fn guest_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let ticker = generator.subschema_for::<Ticker>();
    let linux = generator.subschema_for::<Linux>();
    let image = generator.subschema_for::<Image>();
    schemars::json_schema!({"anyOf": [
        {"enum": ["ticker", "linux", "none"]},
        {"type": "object", "properties": {"ticker": ticker, "linux": linux, "image": image},
         "additionalProperties": false, "minProperties": 1, "maxProperties": 1},
    ]})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_vm_is_a_ticker_with_the_documented_defaults() {
        let vm: VmSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!(
            vm.guest,
            Guest::Ticker(Ticker {
                dirty: Size::mib(4),
                still: Size(256 << 10),
                blocks: vec![],
                boot: Boot::Firmware,
                passes: None,
                self_patching: false,
                suspend: false,
                exits: false
            })
        );
        assert_eq!((vm.memory.size(), vm.cpu.as_str(), vm.start), (Size::mib(128), "max", true));
        assert_eq!(vm.accel.names(), [Accel::Kvm, Accel::Tcg]);
    }

    #[test]
    fn a_guest_is_a_word_or_one_map() {
        let guest = |value| serde_json::from_value::<VmSpec>(json!({ "guest": value })).map(|vm| vm.guest);
        assert_eq!(guest(json!("none")).unwrap(), Guest::None);
        assert_eq!(guest(json!("linux")).unwrap(), Guest::Linux(Linux::default()));
        assert_eq!(guest(json!({"linux": {}})).unwrap(), Guest::Linux(Linux::default()));
        assert!(
            matches!(guest(json!({"ticker": {"boot": "disk"}})).unwrap(), Guest::Ticker(t) if t.boot == Boot::Disk)
        );
        assert!(guest(json!("tocker")).unwrap_err().to_string().contains("`tocker` is not a guest"));
        assert!(
            guest(json!({"ticker": {}, "linux": {"kernel": "k"}}))
                .unwrap_err()
                .to_string()
                .contains("one guest")
        );
    }

    #[test]
    fn a_serialized_vm_reads_back_unchanged() {
        let vm: VmSpec =
            serde_json::from_value(json!({"guest": {"ticker": {"dirty": "8M"}}, "globals": {"a.b": true}}))
                .unwrap();
        let text = serde_json::to_value(&vm).unwrap();
        assert_eq!(serde_json::from_value::<VmSpec>(text).unwrap(), vm);
    }
}
