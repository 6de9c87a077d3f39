//! Commands.

use serde_json::{Value, json};

use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::{Site, Trigger};
use crate::audit::tape::Heard;
use crate::qemu::qmp_filter::{Late, Said};

/// The commands that have sabotages of their own.
const OWN: &[&str] = &[
    "migrate",
    "migrate-incoming",
    "migrate-set-capabilities",
    "migrate-set-parameters",
    "object-add",
    "x-colo-lost-heartbeat",
    "yank",
];

/// The commands that do more when they are run twice.
const COUNTED: &[&str] = &[
    "chardev-send-break",
    "human-monitor-command",
    "inject-nmi",
    "input-send-event",
    "ringbuf-write",
    "send-key",
    "system_reset",
];

/// Whether a command changes something.
pub(in super::super) fn is_change(command: &str) -> bool {
    let queries = ["query-", "qom-list", "qom-get", "device-list-properties"];
    // These pass a descriptor, read memory, or end the VM.
    let others = ["qmp_capabilities", "pmemsave", "memsave", "getfd", "add-fd", "quit"];
    !queries.iter().any(|query| command.starts_with(query)) && !others.contains(&command)
}

/// Whether it changes block devices.
pub(in super::super) fn is_block(command: &str) -> bool {
    is_change(command)
        && ["block", "drive-", "nbd-server", "eject", "change-backing"]
            .iter()
            .any(|part| command.contains(part))
}

/// Whether no other sabotage is about it.
pub(in super::super) fn is_other(command: &str) -> bool {
    is_change(command) && !is_block(command) && !OWN.contains(&command)
}

/// The commands that are wanted and sent by steps that change something, each after the step before it.
pub(in super::super) fn command_sites(scene: &Scene<'_>, is_wanted: fn(&str) -> bool) -> Sites {
    judged_sites(scene, is_wanted, |_| None)
}

fn judged_sites(
    scene: &Scene<'_>,
    is_wanted: fn(&str) -> bool,
    rule: impl Fn(&Heard) -> Option<Rule>,
) -> Sites {
    scene.message_sites(&scene.tape.commands, Trigger::Command, |_, command| {
        if !is_wanted(&command.name) {
            return None;
        }
        let sender = &scene.tape.steps[scene.tape.step_at(command.at)];
        Some(match rule(command) {
            _ if sender.only_looks() => Err(Rule::Own),
            _ if sender.is_refused() => Err(Rule::Refused),
            _ if is_default(&command.message["arguments"]) || scene.is_set(command) => Err(Rule::Unchanged),
            _ if command.name == "migrate_cancel" && !scene.cancels(command) => Err(Rule::Unchanged),
            Some(rule) => Err(rule),
            None => Ok(command.name.clone()),
        })
    })
}

/// Whether a command sets what is so already: `downtime-limit` is 300 (QAPI `MigrationParameters`), and each VM has
/// `events`.
fn is_default(arguments: &Value) -> bool {
    *arguments == json!({"downtime-limit": 300})
        || *arguments == json!({"tls-hostname": ""})
        || *arguments == json!({"capabilities": [{"capability": "events", "state": true}]})
}

/// The commands that matter if they are run twice.
pub(in super::super) fn twice_sites(scene: &Scene<'_>) -> Sites {
    let counted = |command: &Heard| (!COUNTED.contains(&command.name.as_str())).then_some(Rule::Repeats);
    judged_sites(scene, is_change, counted)
}

/// The commands that matter if they are run after the next one.
pub(in super::super) fn late_sites(scene: &Scene<'_>) -> Sites {
    judged_sites(scene, is_change, |command| {
        let later = scene.tape.commands.iter().filter(|next| next.vm == command.vm && next.at > command.at);
        let next = later.into_iter().find(|next| is_change(&next.name));
        let sets = |name: &str| name.starts_with("migrate-set-");
        let same = |next: &Heard| next.name == command.name || (sets(&next.name) && sets(&command.name));
        next.filter(|next| same(next) || !scene.is_between(command, next)).map(|_| Rule::Unordered)
    })
}

/// A command that is acknowledged and not sent.
pub(in super::super) fn acknowledged(message: &Value) -> Said {
    Said { sent: Vec::new(), heard: vec![Late::not(json!({"return": {}, "id": message["id"]}))] }
}

/// A step that shows that a command has been executed.
pub(in super::super) fn command_hint(site: &Site) -> &'static str {
    match site.detail.as_str() {
        "migrate" | "migrate-incoming" => "wait: {vm: VM, migration: completed}",
        "migrate_cancel" => "wait: {vm: VM, migration: cancelled}",
        "migrate-set-capabilities" => {
            "check: {vm: VM, query: query-migrate-capabilities, is: [{capability: events, state: true}]}"
        }
        "migrate-set-parameters" => {
            "check: {vm: VM, query: query-migrate-parameters, is: {max-bandwidth: 1000000}}"
        }
        "x-colo-lost-heartbeat" => "wait: {vm: VM, query: query-colo-status, until: {mode: none}}",
        "stop" => "wait: {vm: VM, status: paused}",
        "system_reset" => "wait: {vm: VM, event: RESET}",
        "system_powerdown" => "wait: {vm: VM, event: POWERDOWN}",
        "device_del" => "wait: {vm: VM, event: DEVICE_DELETED}",
        _ => "wait: {vm: VM, status: running}",
    }
}
