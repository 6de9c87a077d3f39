//! Migration capabilities and parameters that are set, read back as set, and have no effect.

use serde_json::{Value, json};

use super::super::Message;
use super::commands::acknowledged;
use super::replies::changed;
use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::{Site, Trigger};
use crate::audit::tape::Heard;
use crate::qemu::qmp_filter::{Late, Said};

const SET_CAPABILITIES: &str = "migrate-set-capabilities";
const SET_PARAMETERS: &str = "migrate-set-parameters";

/// The capabilities that only the source of a migration uses (QAPI `MigrationCapability`).
const OF_SOURCE: &[&str] =
    &["auto-converge", "dirty-limit", "pause-before-switchover", "validate-uuid", "xbzrle", "zero-copy-send"];

/// Those that only the destination uses.
const OF_DESTINATION: &[&str] = &["postcopy-blocktime"];

/// Those that only refuse a migration.
const REFUSING: &[&str] = &["validate-uuid"];

/// The sites of the settings that a command makes, each with its name as the detail.
fn setting_sites(
    scene: &Scene<'_>,
    command: &str,
    settings: impl Fn(&Heard) -> Vec<Result<String, Rule>>,
) -> Sites {
    let mut sites = Sites::default();
    for sent in scene.tape.commands.iter().filter(|sent| sent.name == command) {
        let Some(before) = scene.step_before(sent.at) else { continue };
        let refused = scene.tape.steps[scene.tape.step_at(sent.at)].is_refused();
        for name in settings(sent) {
            let name = match name {
                _ if refused => Err(Rule::Refused),
                Ok(name) if !scene.is_used(sent, &name) => Err(Rule::Unused),
                Ok(name) if OF_SOURCE.contains(&name.as_str()) && !scene.is_source(&sent.vm) => {
                    Err(Rule::Unused)
                }
                Ok(name) if OF_DESTINATION.contains(&name.as_str()) && scene.is_source(&sent.vm) => {
                    Err(Rule::Unused)
                }
                Ok(name) if REFUSING.contains(&name.as_str()) && !scene.has_failed(&sent.vm) => {
                    Err(Rule::Permitted)
                }
                name => name,
            };
            sites.add(
                name.map(|name| {
                    scene.site(&sent.vm, before, Trigger::Command(command.to_owned())).with(name)
                }),
            );
        }
    }
    sites
}

/// The capabilities that steps switch on.
pub(in super::super) fn capability_sites(scene: &Scene<'_>) -> Sites {
    setting_sites(scene, SET_CAPABILITIES, |sent| {
        let all = sent.message["arguments"]["capabilities"].as_array().into_iter().flatten();
        let on = all.filter(|one| one["state"] == true);
        on.filter_map(|one| one["capability"].as_str())
            .filter(|name| *name != "events")
            .map(|name| Ok(name.to_owned()))
            .collect()
    })
}

/// The parameters that steps set.
pub(in super::super) fn parameter_sites(scene: &Scene<'_>) -> Sites {
    setting_sites(scene, SET_PARAMETERS, |sent| {
        let arguments = &sent.message["arguments"];
        let held = scene.is_on(sent, "pause-before-switchover");
        let judge = |(name, value): (&String, &Value)| match (name.as_str(), value.as_u64()) {
            ("max-bandwidth", Some(bytes)) if bytes >= 128 << 20 => Err(Rule::Lifted),
            ("max-postcopy-bandwidth", Some(0)) => Err(Rule::Lifted),
            ("downtime-limit", Some(milliseconds)) if milliseconds >= 300 => Err(Rule::Lifted),
            ("max-bandwidth" | "downtime-limit", _) if held => Err(Rule::Redundant),
            ("downtime-limit", _) if arguments.get("max-bandwidth").is_some() => Err(Rule::Redundant),
            _ => Ok(name.clone()),
        };
        arguments.as_object().into_iter().flatten().map(judge).collect()
    })
}

/// The command without the capability; notes in `kept` that it was left out.
pub(in super::super) fn without_capability(
    site: &Site,
    command: &str,
    message: &Value,
    kept: &mut Value,
) -> Option<Said> {
    let mut message = message.clone();
    let list = message["arguments"]["capabilities"].as_array_mut().filter(|_| command == SET_CAPABILITIES)?;
    let before = list.len();
    list.retain(|one| !(one["capability"] == *site.detail && one["state"] == true));
    if list.len() == before {
        return None;
    }
    *kept = json!(true);
    Some(if list.is_empty() { acknowledged(&message) } else { sent(message) })
}

/// The capabilities with the one that was left out.
pub(in super::super) fn with_capability(site: &Site, message: &Message<'_>) -> Option<Vec<Late>> {
    if message.kept.is_null() {
        return None;
    }
    changed(message, "query-migrate-capabilities", |reply| {
        let all = reply.as_array_mut().into_iter().flatten();
        all.filter(|one| one["capability"] == *site.detail).for_each(|one| one["state"] = json!(true));
    })
}

/// The command without the parameter; keeps its value.
pub(in super::super) fn without_parameter(
    site: &Site,
    command: &str,
    message: &Value,
    kept: &mut Value,
) -> Option<Said> {
    let mut message = message.clone();
    let arguments = message["arguments"].as_object_mut().filter(|_| command == SET_PARAMETERS)?;
    *kept = arguments.remove(&site.detail)?;
    Some(if arguments.is_empty() { acknowledged(&message) } else { sent(message) })
}

/// The parameters with the one that was left out.
pub(in super::super) fn with_parameter(site: &Site, message: &Message<'_>) -> Option<Vec<Late>> {
    if message.kept.is_null() {
        return None;
    }
    let value = message.kept.clone();
    changed(message, "query-migrate-parameters", |reply| reply[&site.detail] = value.clone())
}

fn sent(message: Value) -> Said {
    Said { sent: vec![Late::not(message)], heard: Vec::new() }
}

/// A step that shows that a capability has an effect.
pub(in super::super) fn capability_hint(site: &Site) -> &'static str {
    match site.detail.as_str() {
        "multifd" => "check: {vm: VM, query: query-migrate, is: {ram: {multifd-bytes: {above: 0}}}}",
        "postcopy-ram" => "check: {vm: VM, query: query-migrate, is: {ram: {postcopy-bytes: {above: 0}}}}",
        "xbzrle" => "check: {vm: VM, query: query-migrate, is: {xbzrle-cache: {pages: {above: 0}}}}",
        "x-colo" => "wait: {vm: VM, migration: colo}",
        "auto-converge" => {
            "wait: {vm: VM, query: query-migrate, until: {cpu-throttle-percentage: {above: 0}}}"
        }
        "mapped-ram" => "check: {file: saved, at_least: 64M}",
        _ => "check: {vm: VM, query: query-migrate, is: {ram: {normal-bytes: {above: 0}}}}",
    }
}

/// A step that shows that a parameter has an effect.
pub(in super::super) fn parameter_hint(site: &Site) -> &'static str {
    match site.detail.as_str() {
        "max-bandwidth" => "check: {metric: migration_throughput, below: 100}",
        "downtime-limit" => "check: {metric: migration_downtime, below: 300ms}",
        "x-checkpoint-delay" => "check: {metric: checkpoint_period, below: 1s}",
        "multifd-channels" => "check: {value: \"{{run.link.migration.connections}}\", above: 4}",
        "multifd-compression" | "multifd-zlib-level" | "multifd-zstd-level" => {
            "check: {vm: VM, query: query-migrate, is: {ram: {multifd-bytes: {below: 1000000}}}}"
        }
        "tls-creds" => "check: {vm: VM, query: query-migrate, is: {status: completed}}",
        _ => "check: {metric: migration_total_time, below: 10s}",
    }
}
