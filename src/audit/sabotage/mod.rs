//! The sabotages, one file each, and their table.

mod ack_invented;
mod acts;
mod answer_late;
mod answer_wrong;
mod block_ignored;
mod capabilities_ignored;
mod capability_without_effect;
mod colo_last_mode;
mod colo_mode;
mod colo_reason;
mod command_ignored;
mod command_late;
mod command_twice;
mod cont;
mod device;
mod disk;
mod disk_line_lost;
mod disk_old;
mod disk_swap;
mod event_late;
mod event_lost;
mod event_order;
mod event_twice;
mod freeze;
mod heartbeat_ignored;
mod kill;
mod line_doubled;
mod line_lost;
mod line_repeated;
mod link_blackhole;
mod link_close;
mod link_cut;
mod link_flip;
mod link_slow;
mod link_unanswered;
mod memory_bit;
mod memory_first;
mod memory_last;
mod memory_middle;
mod memory_stale;
mod memory_still;
mod memory_swap;
mod memory_video;
mod memory_witness;
mod memory_zero;
mod migrate_ignored;
mod migration_counters;
mod migration_status;
mod migration_times;
mod monitor_silent;
mod object_ignored;
mod parameter_without_effect;
mod parameter_wrong;
mod parameters_ignored;
mod quit;
mod reply_empty;
mod reply_error;
mod reply_late;
mod reset;
mod serial_garbled;
mod serial_silent;
mod stall;
mod status_wrong;
mod stop;
mod throttle;
mod yank_ignored;
mod yank_left;

use std::fmt::Debug;
use std::pin::Pin;

use serde_json::Value;

use super::blow::Blow;
use super::scene::{Scene, Sites};
use super::site::Site;
use crate::qemu::qmp_filter::{Late, Said};
use crate::session::interference::{Flow, Operation};

/// What a sabotage is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// The machine.
    Machine,
    /// Its memory and devices.
    Memory,
    /// What the runner hears from QEMU.
    Replies,
    /// What QEMU hears from the runner.
    Commands,
    /// The links.
    Links,
    /// The disks.
    Disks,
    /// The clients.
    Clients,
    /// The serial port.
    Serial,
}

impl Kind {
    /// All of them, in the order of the reports.
    pub(crate) const ALL: [Self; 8] = [
        Self::Machine,
        Self::Memory,
        Self::Replies,
        Self::Commands,
        Self::Links,
        Self::Disks,
        Self::Clients,
        Self::Serial,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Memory => "memory",
            Self::Replies => "replies",
            Self::Commands => "commands",
            Self::Links => "links",
            Self::Disks => "disks",
            Self::Clients => "clients",
            Self::Serial => "serial",
        }
    }
}

/// When a check can know of a sabotage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// At once: if only a deadline catches it, it is late.
    AtOnce,
    /// Only by what does not happen.
    ByDeadline,
}

/// A message from QEMU in a filter.
#[derive(Debug)]
pub(crate) struct Message<'m> {
    /// The message.
    pub value: &'m Value,
    /// The command that it replies to.
    pub command: Option<&'m str>,
    /// What the filter keeps for itself.
    pub kept: &'m mut Value,
}

impl Message<'_> {
    /// Whether it is the reply to this command, or an error.
    pub(crate) fn answers(&self, command: &str) -> bool {
        self.command == Some(command) && self.value.get("event").is_none()
    }

    /// Whether it is a reply to this command, and no error.
    pub(crate) fn replies_to(&self, command: &str) -> bool {
        self.command == Some(command) && self.value.get("return").is_some()
    }
}

/// What a strike returns: why it could not be done.
pub(crate) type Struck = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What arrives in the place of a message from QEMU.
pub(crate) type Hear = fn(&Site, Message<'_>) -> Option<Vec<Late>>;
/// What happens in the place of a command; gets its name, the message, and what the filter keeps.
pub(crate) type Say = fn(&Site, &str, &Value, &mut Value) -> Option<Said>;
/// The lines in the place of a serial line; also gets the guest's first tick.
pub(crate) type ChangeLine = fn(&Site, &[u8], &mut Value) -> Option<Vec<Vec<u8>>>;

/// How a sabotage acts.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Once, on the machine.
    Strike(fn(Blow) -> Struck),
    /// On messages from QEMU, and on commands to it, by the two functions; as often as they return something.
    Filter {
        heard: Option<Hear>,
        said: Option<Say>,
        /// Whether the first change is the last one.
        once: bool,
    },
    /// On serial lines, each with its line end; as often as it returns something.
    Lines { change: ChangeLine, once: bool },
    /// On bytes of a link.
    Bytes { change: fn(&Site, usize, &mut Vec<u8>) -> Option<Flow>, once: bool },
    /// On an operation of a client.
    Operation(Operation),
}

/// A sabotage.
#[derive(Clone, Copy)]
pub(crate) struct Sabotage {
    /// Its name.
    pub name: &'static str,
    /// What it is done to.
    pub kind: Kind,
    /// What it does, in one sentence.
    pub does: &'static str,
    /// What nothing looks at if it is unnoticed; `VM` is the target, `DETAIL` the detail.
    pub blind: &'static str,
    /// The step that would notice it, in the words of the language.
    pub hint: fn(&Site) -> &'static str,
    /// When a check can know of it.
    pub shows: Shows,
    /// Where it makes sense.
    pub sites: fn(&Scene<'_>) -> Sites,
    /// How it acts.
    pub act: Act,
}

impl Debug for Sabotage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sabotage").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sabotage {
    /// A text of it for a site.
    fn filled(text: &str, site: &Site) -> String {
        let mut words = site.detail.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let text = text.replace("VM", &site.target).replace("FIRST", word()).replace("SECOND", word());
        text.replace("DETAIL", &site.detail)
    }

    /// Its hint at sites with plausible names.
    pub(crate) fn examples(&self) -> Vec<String> {
        let target = match self.kind {
            Kind::Links => "migration",
            Kind::Clients => "user",
            _ => "vm",
        };
        let details: &[&str] = match self.name {
            name if name.starts_with("event-") => &["MIGRATION completed", "RESET"],
            "capability-without-effect" => {
                &["multifd", "postcopy-ram", "xbzrle", "x-colo", "auto-converge", "mapped-ram", "return-path"]
            }
            "parameter-without-effect" => &[
                "max-bandwidth",
                "downtime-limit",
                "x-checkpoint-delay",
                "multifd-channels",
                "tls-creds",
                "other",
            ],
            "disk-line-lost" | "disk-swap" | "disk-old" => &["image"],
            "reply-empty" => &["query-status", "query-migrate", "query-colo-status", "query-yank"],
            "command-ignored" | "command-late" => &[
                "migrate",
                "migrate_cancel",
                "migrate-set-capabilities",
                "migrate-set-parameters",
                "x-colo-lost-heartbeat",
                "stop",
                "system_reset",
                "system_powerdown",
                "device_del",
                "cont",
            ],
            _ => &["query-status"],
        };
        let site = |detail: &&str| Site::plausible(target, detail);
        details.iter().map(site).map(|site| self.hint(&site)).collect()
    }

    /// What nothing looks at.
    pub(crate) fn blind(&self, site: &Site) -> String {
        Self::filled(self.blind, site)
    }

    /// The step that would notice it.
    pub(crate) fn hint(&self, site: &Site) -> String {
        Self::filled((self.hint)(site), site)
    }
}

/// All sabotages.
pub(crate) const ALL: &[Sabotage] = &[
    stop::STOP,
    freeze::FREEZE,
    kill::KILL,
    quit::QUIT,
    reset::RESET,
    cont::CONT,
    stall::STALL,
    throttle::THROTTLE,
    memory_first::MEMORY_FIRST,
    memory_middle::MEMORY_MIDDLE,
    memory_last::MEMORY_LAST,
    memory_bit::MEMORY_BIT,
    memory_zero::MEMORY_ZERO,
    memory_still::MEMORY_STILL,
    memory_swap::MEMORY_SWAP,
    memory_stale::MEMORY_STALE,
    memory_witness::MEMORY_WITNESS,
    memory_video::MEMORY_VIDEO,
    device::DEVICE,
    event_lost::EVENT_LOST,
    event_twice::EVENT_TWICE,
    event_late::EVENT_LATE,
    event_order::EVENT_ORDER,
    reply_error::REPLY_ERROR,
    reply_late::REPLY_LATE,
    reply_empty::REPLY_EMPTY,
    monitor_silent::MONITOR_SILENT,
    status_wrong::STATUS_WRONG,
    migration_status::MIGRATION_STATUS,
    migration_counters::MIGRATION_COUNTERS,
    migration_times::MIGRATION_TIMES,
    colo_mode::COLO_MODE,
    colo_last_mode::COLO_LAST_MODE,
    colo_reason::COLO_REASON,
    yank_left::YANK_LEFT,
    parameter_wrong::PARAMETER_WRONG,
    yank_ignored::YANK_IGNORED,
    capabilities_ignored::CAPABILITIES_IGNORED,
    parameters_ignored::PARAMETERS_IGNORED,
    migrate_ignored::MIGRATE_IGNORED,
    heartbeat_ignored::HEARTBEAT_IGNORED,
    object_ignored::OBJECT_IGNORED,
    block_ignored::BLOCK_IGNORED,
    command_ignored::COMMAND_IGNORED,
    command_twice::COMMAND_TWICE,
    command_late::COMMAND_LATE,
    capability_without_effect::CAPABILITY_WITHOUT_EFFECT,
    parameter_without_effect::PARAMETER_WITHOUT_EFFECT,
    link_cut::LINK_CUT,
    link_blackhole::LINK_BLACKHOLE,
    link_slow::LINK_SLOW,
    link_flip::LINK_FLIP,
    link_close::LINK_CLOSE,
    link_unanswered::LINK_UNANSWERED,
    disk_line_lost::DISK_LINE_LOST,
    disk_swap::DISK_SWAP,
    disk_old::DISK_OLD,
    ack_invented::ACK_INVENTED,
    line_doubled::LINE_DOUBLED,
    answer_wrong::ANSWER_WRONG,
    answer_late::ANSWER_LATE,
    serial_silent::SERIAL_SILENT,
    serial_garbled::SERIAL_GARBLED,
    line_lost::LINE_LOST,
    line_repeated::LINE_REPEATED,
];
