//! Links, clients, serial lines, times.

use regex::Regex;

use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::{Site, Trigger};
use crate::audit::tape::Heard;
use crate::session::link::{Setting, State};
use crate::units::{Size, Span};

/// The keys of `wait` and `check` that look at what a guest says.
pub(super) const OUTPUT: &[&str] = &["ticks", "serial", "progress"];

/// How long before a line a trial is ready for it, in seconds: the line may come earlier in it.
const EARLY: f64 = 0.2;

/// A longer limit of time, in seconds, is not exceeded by what delays a guest.
const LONGEST: f64 = 2.0;

/// An open link.
pub(in super::super) const fn open() -> Setting {
    Setting { state: State::Open, delay: Span::from_secs(0), rate: Size(0) }
}

/// The moments from the first connection of a link to its end.
pub(in super::super) fn link_sites(scene: &Scene<'_>) -> Sites {
    let mut sites = Sites::default();
    for (link, life) in &scene.tape.links {
        if life.bytes == 0 {
            sites.add(Err(Rule::Idle));
            continue;
        }
        for (at, step) in scene.steps_during(life.from, life.until) {
            let acts = !step.only_looks() || step.ended <= life.from;
            if acts && scene.is_cut(step.ended) {
                sites.add(Err(Rule::Idle));
            } else if acts {
                sites.add(Ok(scene.site(link, at, Trigger::Bytes)));
            }
        }
    }
    sites
}

/// The moments while a client is used.
pub(in super::super) fn client_sites(scene: &Scene<'_>) -> Sites {
    let site = |client: &String, at| Ok(scene.site(client, at, Trigger::Operation));
    let of = |(client, life): (&String, &crate::audit::tape::Used)| {
        let client = client.clone();
        // Not the step before it: the client is just being started.
        let steps = scene.steps_during(life.from, life.until).skip(1);
        steps.map(|(at, _)| site(&client, at)).collect::<Vec<_>>()
    };
    scene.tape.clients.iter().flat_map(of).collect()
}

/// The guests' moments, for what they print from then on.
pub(in super::super) fn line_sites(scene: &Scene<'_>) -> Sites {
    let line = |site: Result<Site, Rule>| match site? {
        site if scene.is_leaving(&site.target, &site, OUTPUT) => Err(Rule::Leaves),
        site => Ok(Site { trigger: Trigger::Line, ..site }),
    };
    scene.vms().into_iter().flat_map(|vm| scene.guest_moments(vm)).map(line).collect()
}

/// The lines that steps wait for, each after the step before it.
pub(in super::super) fn awaited_sites(scene: &Scene<'_>) -> Sites {
    let mut sites = Sites::default();
    for step in scene.tape.steps.iter().filter(|step| step.done) {
        let wait = &scene.json(step)["wait"];
        let Some(pattern) = wait["serial"].as_str().and_then(|text| Regex::new(text).ok()) else { continue };
        let from = if wait["fresh"] == false { 0.0 } else { step.began };
        for vm in scene.vms().into_iter().filter(|vm| scene.names(step, vm)) {
            let lines = scene.tape.lines.iter().filter(|line| line.vm == vm);
            let mut line = lines.filter(|line| line.at >= from && line.at <= step.ended);
            let line = line.rfind(|line| pattern.is_match(line.name.trim_end()));
            // What a pattern and a YAML text have as it is, up to the first number, which may be another one.
            let plain = |c: &char| c.is_ascii_alphabetic() || " _-:,".contains(*c);
            let text = line.map(|line| line.name.trim().chars().take_while(plain).collect::<String>());
            let before = line.zip(text.as_deref()).and_then(|(line, text)| {
                // Some time before it, unless a line like it comes meanwhile.
                let early = scene.step_before(line.at - EARLY).filter(|at| {
                    let from = scene.tape.steps[*at].ended;
                    let own = |other: &&Heard| other.vm == vm && other.name.contains(text);
                    let between = |other: &&Heard| other.at >= from && other.at < line.at;
                    !scene.tape.lines.iter().any(|other| own(&other) && between(&other))
                });
                early.or_else(|| scene.step_before(line.at))
            });
            sites.add(match (text.filter(|text| text.len() > 3), before) {
                (Some(text), Some(before)) => Ok(scene.site(vm, before, Trigger::Line).with(text.trim())),
                _ => Err(Rule::Idle),
            });
        }
    }
    sites
}

/// The moment after each failover, for the survivor.
pub(in super::super) fn repeated_sites(scene: &Scene<'_>) -> Sites {
    let mut sites = line_sites(scene);
    let is_failover = |site: &Site| {
        let step = scene.tape.steps.iter().find(|step| step.number == site.after.number);
        step.is_some_and(|step| step.action() == "failover" && scene.names(step, &site.target))
    };
    let (kept, others): (Vec<Site>, Vec<Site>) =
        sites.sites.into_iter().partition(|site| is_failover(site) && scene.has_ticker(&site.target));
    sites.sites = kept;
    others.into_iter().for_each(|_| sites.add(Err(Rule::Repeats)));
    sites
}

/// A step that notices a repeated line.
pub(in super::super) fn repeated_hint(_: &Site) -> &'static str {
    "check: {vm: VM, progress: kept}"
}

/// The guests' moments, where a later step states a limit of time.
pub(in super::super) fn timed_sites(scene: &Scene<'_>) -> Sites {
    let timed = |site: Result<Site, Rule>| {
        site.and_then(|site| {
            let at = scene.tape.steps.iter().position(|step| step.number == site.after.number);
            match at {
                Some(at) if !scene.is_timed(at, LONGEST) => Err(Rule::Untimed),
                _ if !scene.is_booted(&site.target, &site) => Err(Rule::Booting),
                _ => Ok(site),
            }
        })
    };
    scene.vms().into_iter().flat_map(|vm| scene.guest_moments(vm)).map(timed).collect()
}

/// The guests' moments that are not followed by a resume.
pub(in super::super) fn stop_sites(scene: &Scene<'_>) -> Sites {
    let lasting = |site: Result<Site, Rule>| match site {
        Ok(site) if scene.is_resumed(&site.target, &site) => Err(Rule::Resumed),
        Ok(site) if scene.is_sent(&site.target, &site) => Err(Rule::GuestLeft),
        Ok(site) if scene.is_saved(&site.target, &site, OUTPUT) => Err(Rule::Leaves),
        Ok(site) if scene.is_started_anyway(&site.target, &site) => Err(Rule::Leaves),
        Ok(site) if scene.is_stopped_anyway(&site.target, &site) => Err(Rule::Unchanged),
        site => site,
    };
    scene.vms().into_iter().flat_map(|vm| scene.guest_moments(vm)).map(lasting).collect()
}
