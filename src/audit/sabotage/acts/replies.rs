//! Replies.

use serde_json::{Value, json};

use super::super::Message;
use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::{Site, Trigger};
use crate::audit::tape::{Heard, TapeStep};
use crate::qemu::qmp_filter::Late;

/// The replies to the commands that are wanted, each after the step before it.
pub(in super::super) fn reply_sites(scene: &Scene<'_>, is_wanted: fn(&str) -> bool) -> Sites {
    scene.message_sites(&scene.tape.replies, Trigger::Command, |_, reply| {
        if !is_wanted(&reply.name) || reply.message.get("return").is_none() {
            return None;
        }
        Some(asked_for(scene, reply))
    })
}

/// The replies to all commands, expected errors too.
pub(in super::super) fn all_reply_sites(scene: &Scene<'_>) -> Sites {
    scene.message_sites(&scene.tape.replies, Trigger::Command, |_, reply| {
        (!reply.name.is_empty()).then(|| asked_for(scene, reply))
    })
}

fn asked_for(scene: &Scene<'_>, reply: &Heard) -> Result<String, Rule> {
    let sender = &scene.tape.steps[scene.tape.step_at(reply.at)];
    match () {
        () if scene.is_left_to(reply) => Err(Rule::LostSide),
        () if !scene.asks_for(sender, &reply.name) => Err(Rule::Own),
        () => Ok(reply.name.clone()),
    }
}

/// The replies to a query that a change would alter, each after the step before it.
pub(in super::super) fn field_sites(scene: &Scene<'_>, query: &str, change: fn(&mut Value)) -> Sites {
    field_sites_with(scene, query, change, false)
}

/// The same, where a later step states a limit of time.
pub(in super::super) fn timed_field_sites(scene: &Scene<'_>, query: &str, change: fn(&mut Value)) -> Sites {
    field_sites_with(scene, query, change, true)
}

fn field_sites_with(scene: &Scene<'_>, query: &str, change: fn(&mut Value), timed: bool) -> Sites {
    scene.message_sites(&scene.tape.replies, Trigger::Command, |_, reply| {
        let mut altered = reply.message.get("return").filter(|_| reply.name == query)?.clone();
        change(&mut altered);
        if altered == reply.message["return"] {
            return None;
        }
        let sender = &scene.tape.steps[scene.tape.step_at(reply.at)];
        let parts = differing(&reply.message["return"], &altered);
        let asks = |step: &TapeStep| {
            scene.names(step, &reply.vm)
                && scene.asks_for(step, query)
                && scene.asks_part(step, query, &parts)
        };
        Some(match () {
            () if scene.is_left_to(reply) => Err(Rule::LostSide),
            () if !scene.asks_for(sender, query) => Err(Rule::Own),
            // It only looks at what it has set.
            () if sender.action() == "parameters" && !asks(sender) => Err(Rule::Own),
            () if !asks(sender) && scene.tape.steps.iter().any(asks) => Err(Rule::Elsewhere),
            () if scene.asks_again(sender, reply, &altered) => Err(Rule::AsksAgain),
            () if timed && !scene.is_timed(scene.tape.step_at(reply.at), f64::INFINITY) => Err(Rule::Untimed),
            () => Ok(query.to_owned()),
        })
    })
}

/// The keys whose values differ in two replies.
fn differing<'v>(one: &'v Value, other: &Value) -> Vec<&'v str> {
    let Some(map) = one.as_object() else { return Vec::new() };
    let changed = map.iter().filter(|(key, value)| other.get(key) != Some(value));
    changed.flat_map(|(key, value)| [vec![key.as_str()], differing(value, &other[key])].concat()).collect()
}

/// The reply to a command with a change, if the change has an effect.
pub(in super::super) fn changed(
    message: &Message<'_>,
    command: &str,
    change: impl Fn(&mut Value),
) -> Option<Vec<Late>> {
    if !message.replies_to(command) {
        return None;
    }
    let mut reply = message.value["return"].clone();
    change(&mut reply);
    let is_new = reply != message.value["return"];
    is_new.then(|| vec![Late::not(json!({"return": reply, "id": message.value["id"]}))])
}

/// A step that looks at the reply to a query.
pub(in super::super) fn query_hint(site: &Site) -> &'static str {
    match site.detail.as_str() {
        "query-migrate" => "check: {vm: VM, query: DETAIL, is: {status: completed}}",
        "query-colo-status" => "check: {vm: VM, query: DETAIL, is: {mode: none}}",
        "query-yank" => "check: {vm: VM, query: DETAIL, is_not: [{type: migration}]}",
        _ => "check: {vm: VM, query: DETAIL, is: {running: true}}",
    }
}
