//! The sabotages, one file each, and their table.

mod acts;
mod event_lost;
mod freeze;
mod line_lost;
mod memory_middle;
mod stop;
mod yank_ignored;

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
    /// Whether it is an event of this name.
    pub(crate) fn is_event(&self, name: &str) -> bool {
        self.value["event"] == name
    }

    /// Whether it is a reply to this command, and no error.
    pub(crate) fn replies_to(&self, command: &str) -> bool {
        self.command == Some(command) && self.value.get("return").is_some()
    }
}

/// What a strike returns: why it could not be done.
pub(crate) type Struck = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// How a sabotage acts.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Once, on the machine.
    Strike(fn(Blow) -> Struck),
    /// On messages from QEMU, and on commands to it, by the two functions; as often as they return something.
    Filter {
        heard: Option<fn(&Site, Message<'_>) -> Option<Vec<Late>>>,
        said: Option<fn(&Site, &str, &Value, &mut Value) -> Option<Said>>,
        /// Whether the first change is the last one.
        once: bool,
    },
    /// On serial lines, each with its line end; as often as it returns something.
    Lines { change: fn(&Site, &[u8], &mut Value) -> Option<Vec<Vec<u8>>>, once: bool },
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
    pub hint: &'static str,
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
        text.replace("DETAIL", &site.detail).replace("VM", &site.target)
    }

    /// What nothing looks at.
    pub(crate) fn blind(&self, site: &Site) -> String {
        Self::filled(self.blind, site)
    }

    /// The step that would notice it.
    pub(crate) fn hint(&self, site: &Site) -> String {
        Self::filled(self.hint, site)
    }
}

/// All sabotages.
pub(crate) const ALL: &[Sabotage] = &[
    stop::STOP,
    freeze::FREEZE,
    memory_middle::MEMORY_MIDDLE,
    event_lost::EVENT_LOST,
    yank_ignored::YANK_IGNORED,
    line_lost::LINE_LOST,
];
