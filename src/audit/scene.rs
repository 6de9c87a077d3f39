//! A case with its straight run: where a sabotage makes sense, and where a rule says that it cannot matter.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rule::Rule;
use super::site::{Site, Trigger, of_event};
use super::tape::{Heard, Tape, TapeStep, named};
use crate::qemu::contains::contains;
use crate::qemu::network::of_wire;
use crate::qemu::spec::{Guest, VmSpec};
use crate::scenario::model::Case;
use crate::units::Span;

/// A case with its straight run.
#[derive(Debug)]
pub(crate) struct Scene<'s> {
    /// The case.
    pub case: &'s Case,
    /// Its straight run.
    pub tape: &'s Tape,
}

/// The sites of a sabotage in a case, and those that rules leave out.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    /// Where it is tried.
    pub sites: Vec<Site>,
    /// How many sites each rule leaves out.
    pub left_out: BTreeMap<Rule, usize>,
}

impl Sites {
    pub(crate) fn add(&mut self, site: Result<Site, Rule>) {
        match site {
            Ok(site) => self.sites.push(site),
            Err(rule) => *self.left_out.entry(rule).or_default() += 1,
        }
    }
}

impl FromIterator<Result<Site, Rule>> for Sites {
    fn from_iter<I: IntoIterator<Item = Result<Site, Rule>>>(all: I) -> Self {
        let mut sites = Self::default();
        all.into_iter().for_each(|site| sites.add(site));
        sites
    }
}

impl Scene<'_> {
    /// The VMs that were started, without networks.
    pub(crate) fn vms(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.tape.lives.iter().map(|life| life.vm.as_str()).collect();
        names.into_iter().filter(|name| of_wire(name).is_none()).collect()
    }

    /// What a VM is.
    pub(crate) fn spec(&self, vm: &str) -> Option<&VmSpec> {
        self.case.vms.get(vm)
    }

    /// Whether a VM runs the built-in guest.
    pub(crate) fn has_ticker(&self, vm: &str) -> bool {
        self.spec(vm).is_some_and(|spec| matches!(spec.guest, Guest::Ticker(_)))
    }

    /// The steps after this one that were done.
    pub(crate) fn after(&self, step: usize) -> impl Iterator<Item = &TapeStep> {
        self.tape.steps.iter().skip(step + 1).filter(|step| step.done)
    }

    /// Whether a step names a VM.
    pub(crate) fn names(&self, step: &TapeStep, vm: &str) -> bool {
        step.step.as_ref().is_some_and(|own| named(self.case, &own.action).iter().any(|name| name == vm))
    }

    /// Each moment at which a VM is in use: after its start and after each step that changes something.
    pub(crate) fn moments(&self, vm: &str) -> Vec<Result<Site, Rule>> {
        let all = self.tape.steps.iter().enumerate();
        all.filter(|(_, step)| step.done && self.tape.is_alive(vm, step.ended))
            .filter(|(_, step)| !step.only_looks() && step.action() != "exec")
            .map(|(at, _)| self.usable(vm, at).map(|()| self.site(vm, at, Trigger::Now)))
            .collect()
    }

    /// The moments in which the VM's guest runs or will run with what it has now.
    pub(crate) fn guest_moments(&self, vm: &str) -> Vec<Result<Site, Rule>> {
        let moment = |site: Result<Site, Rule>| {
            let site = site?;
            match self.is_replaced(vm, site.after.number) {
                Some(rule) => Err(rule),
                None => Ok(site),
            }
        };
        self.moments(vm).into_iter().map(moment).collect()
    }

    /// The last step that ended well before this time, by its index.
    pub(crate) fn step_before(&self, at: f64) -> Option<usize> {
        self.tape.steps.iter().rposition(|step| step.done && step.ended <= at)
    }

    /// A site after the step with this index.
    pub(crate) fn site(&self, target: &str, step: usize, trigger: Trigger) -> Site {
        let own = &self.tape.steps[step];
        Site {
            target: target.to_owned(),
            after: super::site::StepRef {
                number: own.number,
                title: own.title.clone(),
                place: own.place.clone(),
                occurrence: own.occurrence,
            },
            trigger,
            detail: String::new(),
            earlier: 0,
        }
    }

    /// The action of a step, as it is in a file.
    pub(crate) fn json(&self, step: &TapeStep) -> Value {
        let action = step.step.as_ref().map(|own| serde_json::to_value(&own.action));
        action.and_then(Result::ok).unwrap_or_default()
    }

    /// The steps from the last one that ended before a time to another time.
    pub(crate) fn steps_during(&self, from: f64, until: f64) -> impl Iterator<Item = (usize, &TapeStep)> {
        let first = self.step_before(from).unwrap_or(0);
        let all = self.tape.steps.iter().enumerate().skip(first);
        all.filter(move |(_, step)| step.done && step.ended < until)
    }

    /// Whether a VM's guest has been heard before a site, so that it has written its memory: a step has waited for its
    /// output, or it has come from another VM.
    pub(crate) fn is_booted(&self, vm: &str, site: &Site) -> bool {
        let incoming = self.spec(vm).is_some_and(|spec| spec.incoming.is_some());
        let heard = |step: &&TapeStep| {
            let wait = &self.json(step)["wait"];
            step.done && self.names(step, vm) && ["ticks", "serial"].iter().any(|key| wait.get(key).is_some())
        };
        let mut before = self.tape.steps.iter().take_while(|step| step.number <= site.after.number);
        incoming || before.any(|step| heard(&step))
    }

    /// Whether a step after this one states a limit of time that is shorter than `longest`, in seconds.
    pub(crate) fn is_timed(&self, at: usize, longest: f64) -> bool {
        let seconds = |value: &Value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse::<Span>().ok().map(|span| span.0.as_secs_f64()),
            _ => None,
        };
        self.after(at).any(|step| {
            let check = &self.json(step)["check"];
            let limit = if check.get("metric").is_some() { &check["below"] } else { &check["longest_gap"] };
            check.get("clock").is_some() || seconds(limit).is_some_and(|limit| limit < longest)
        })
    }

    /// Whether checkpoints come by the timer, so that each event of one comes again.
    pub(crate) fn is_periodic(&self) -> bool {
        let delay = |command: &Heard| command.message["arguments"]["x-checkpoint-delay"].as_u64();
        self.tape.commands.iter().filter_map(delay).any(|delay| delay < 10_000)
    }

    /// Whether a step asks for the reply to a command; some steps look for themselves.
    pub(crate) fn asks_for(&self, step: &TapeStep, command: &str) -> bool {
        if !step.only_looks() {
            // Steps that read or write memory ask for the run state by themselves.
            return step.action() == "qmp" || command != "query-status";
        }
        let action = self.json(step);
        let key = match command {
            "query-status" => "status",
            "query-migrate" => "migration",
            _ => "query",
        };
        ["wait", "check"].iter().any(|kind| {
            let own = &action[kind];
            own["query"] == command || (key != "query" && own.get(key).is_some_and(|own| !own.is_null()))
        })
    }

    /// Whether a step waits for another run state than this reply to `query-status` would say, and asks again.
    pub(crate) fn asks_again(&self, step: &TapeStep, reply: &Heard, altered: &Value) -> bool {
        let wanted = &self.json(step)["wait"]["status"];
        let later = |own: &Heard| {
            own.vm == reply.vm && own.name == reply.name && own.at > reply.at && own.at <= step.ended
        };
        reply.name == "query-status"
            && !wanted.is_null()
            && *wanted != altered["status"]
            && self.tape.replies.iter().any(later)
    }

    /// When the step of a site ended.
    pub(super) fn ended(&self, site: &Site) -> f64 {
        let own = self.tape.steps.iter().find(|step| step.number == site.after.number);
        own.map_or(f64::INFINITY, |step| step.ended)
    }

    /// Whether the guest moves from a VM after a site before a step looks at one of these there.
    pub(crate) fn is_leaving(&self, vm: &str, site: &Site, at: &[&str]) -> bool {
        let now = self.ended(site);
        let left =
            |(at, status): &(f64, &str)| *at > now && matches!(*status, "completed" | "postcopy-active");
        let Some((left, _)) = self.statuses(vm).find(left).filter(|_| self.is_source(vm)) else {
            return false;
        };
        let looks = |step: &&TapeStep| {
            let action = self.json(step);
            let keys = ["wait", "check"].into_iter().flat_map(|kind| at.iter().map(move |key| (kind, *key)));
            let looks = keys.into_iter().any(|(kind, key)| action[kind].get(key).is_some());
            looks && step.ended > now && step.began < left && self.names(step, vm)
        };
        !self.has_failover() && !self.tape.steps.iter().any(|step| looks(&step))
    }

    /// Whether the guest moves from a VM after a site before a step looks at one of these there, and no other VM gets it.
    pub(crate) fn is_saved(&self, vm: &str, site: &Site, at: &[&str]) -> bool {
        let now = self.ended(site);
        let got = |event: &Heard| event.vm != vm && event.name == "RESUME" && event.at > now;
        self.is_leaving(vm, site, at) && !self.tape.events.iter().any(got)
    }

    /// Whether a VM is stopped at a site, or the scenario stops it itself before a step looks for its output.
    pub(crate) fn is_stopped_anyway(&self, vm: &str, site: &Site) -> bool {
        let now = self.ended(site);
        let runs = |event: &&Heard| event.vm == vm && matches!(event.name.as_str(), "STOP" | "RESUME");
        let last = self.tape.events.iter().filter(runs).rfind(|event| event.at <= now);
        if last.is_some_and(|event| event.name == "STOP") {
            return true;
        }
        let mut commands = self.tape.commands.iter().filter(|command| command.vm == vm && command.at > now);
        let Some(stop) = commands.find(|command| command.name == "stop") else { return false };
        !self.tape.steps.iter().any(|step| {
            let wait = &self.json(step)["wait"];
            let looks = ["ticks", "serial"].iter().any(|key| wait.get(key).is_some());
            looks && step.ended > now && step.began < stop.at && self.names(step, vm)
        })
    }

    /// Whether a step looks at a VM, or changes another one, between two commands on it.
    pub(crate) fn is_between(&self, first: &Heard, second: &Heard) -> bool {
        self.tape.steps.iter().any(|step| {
            let within = step.began > first.at && step.ended < second.at;
            within && (!step.only_looks() || self.names(step, &first.vm))
        })
    }

    /// Whether a step asks a VM for a part of a reply.
    pub(crate) fn asks_part(&self, step: &TapeStep, query: &str, parts: &[&str]) -> bool {
        let action = self.json(step);
        let text = action.to_string();
        let named = parts.iter().any(|part| text.contains(&format!("\"{part}\"")));
        named || (query == "query-migrate" && parts.contains(&"status") && text.contains("\"migration\""))
    }

    /// Whether a saved state is loaded into the running VM after a site.
    pub(crate) fn is_loaded(&self, vm: &str, site: &Site) -> bool {
        let now = self.ended(site);
        self.tape.commands.iter().any(|command| {
            command.vm == vm
                && command.at > now
                && matches!(command.name.as_str(), "snapshot-load" | "loadvm")
        })
    }

    /// Whether the guest is resumed after a site before a step looks for its output.
    pub(crate) fn is_resumed(&self, vm: &str, site: &Site) -> bool {
        let Some(now) = self.tape.steps.iter().find(|step| step.number == site.after.number) else {
            return false;
        };
        let resumes = self.tape.events.iter().filter(|event| event.vm == vm && event.name == "RESUME");
        let Some(resumed) = resumes.map(|event| event.at).find(|at| *at > now.ended) else { return false };
        let looks = |step: &&TapeStep| {
            let wait = &self.json(step)["wait"];
            let output = ["ticks", "serial"].iter().any(|key| wait.get(key).is_some());
            output && step.began >= now.ended && step.began < resumed && self.names(step, vm)
        };
        !self.tape.steps.iter().any(|step| looks(&step))
    }

    /// Whether something is about a side that a failover has given up.
    pub(crate) fn is_left_to(&self, heard: &Heard) -> bool {
        self.is_lost(&heard.vm, self.tape.step_at(heard.at))
    }

    /// The events, by their index, for which a step has waited.
    pub(crate) fn awaited_events(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut cursors: BTreeMap<&str, usize> = BTreeMap::new();
        for step in self.tape.steps.iter().filter(|step| step.done) {
            let wait = self.json(step)["wait"].take();
            for vm in self.vms().into_iter().filter(|vm| self.names(step, vm)) {
                let all = self.tape.events.iter().enumerate().filter(|(_, event)| event.vm == vm);
                let Some(name) = wait["event"].as_str() else { continue };
                let from = if wait["fresh"] == true { step.began } else { f64::NEG_INFINITY };
                let cursor = cursors.entry(vm).or_default();
                let data = |event: &Heard| match wait.get("data").filter(|data| !data.is_null()) {
                    Some(data) => contains(&event.message["data"], data),
                    None => true,
                };
                let matched = |at: usize, event: &Heard| {
                    at >= *cursor && event.name == name && event.at >= from && data(event)
                };
                if let Some((at, _)) = all.into_iter().find(|(at, event)| matched(*at, event)) {
                    *cursor = at + 1;
                    found.insert(at);
                }
            }
        }
        found
    }

    /// A site at each message of the straight run that `judge` wants, on its VM, after the step before it; one for each
    /// detail within a step. `judge` gets the index of the message.
    pub(crate) fn message_sites(
        &self,
        messages: &[Heard],
        trigger: fn(String) -> Trigger,
        judge: impl Fn(usize, &Heard) -> Option<Result<String, Rule>>,
    ) -> Sites {
        let mut sites = Sites::default();
        let mut seen = BTreeSet::new();
        let vms = self.vms();
        for (at, message) in messages.iter().enumerate().filter(|(_, one)| vms.contains(&one.vm.as_str())) {
            let Some(before) = self.step_before(message.at) else { continue };
            if self.after(before).next().is_none() {
                continue;
            }
            let Some(judged) = judge(at, message) else { continue };
            let of = judged.clone().unwrap_or_default();
            if seen.insert((message.vm.clone(), message.name.clone(), of, before)) {
                let ended = self.tape.steps[before].ended;
                let same = |other: &&Heard| {
                    other.vm == message.vm
                        && other.at <= ended
                        && of_event(&other.message) == of_event(&message.message)
                };
                let site = |detail: String| Site {
                    detail,
                    earlier: messages.iter().filter(same).count(),
                    ..self.site(&message.vm, before, trigger(message.name.clone()))
                };
                sites.add(judged.map(site));
            }
        }
        sites
    }

    /// The moments in which the guest of a VM is stopped for good: it has moved to another VM.
    pub(crate) fn stopped_moments(&self, vm: &str) -> Vec<Result<Site, Rule>> {
        let all = self.tape.steps.iter().enumerate();
        all.filter(|(_, step)| step.done && self.tape.is_alive(vm, step.ended))
            .filter(|(_, step)| self.guest_has_left(vm, step.ended))
            .map(|(at, _)| match self.after(at).next() {
                None => Err(Rule::NothingAfter),
                Some(_) if self.only_ends(vm, at) => Err(Rule::Ends),
                Some(_) => Ok(self.site(vm, at, Trigger::Now)),
            })
            .collect()
    }

    /// Whether all steps on a VM after this one end it.
    fn only_ends(&self, vm: &str, at: usize) -> bool {
        let mut later = self.after(at).filter(|later| self.names(later, vm)).peekable();
        let ends = |step: &TapeStep| matches!(step.action(), "quit" | "signal");
        later.peek().is_some() && later.all(ends)
    }

    /// Whether what happens to a VM after this step can matter.
    fn usable(&self, vm: &str, at: usize) -> Result<(), Rule> {
        let step = &self.tape.steps[at];
        if step.is_refused() {
            return Err(Rule::Refused);
        }
        if self.after(at).next().is_none() {
            return Err(Rule::NothingAfter);
        }
        if self.guest_has_left(vm, step.ended) {
            return Err(Rule::GuestLeft);
        }
        let lost = self.lost_at(vm).unwrap_or(usize::MAX);
        let until_lost = self.tape.steps.iter().enumerate().take(lost).skip(at + 1);
        let mut looks = until_lost.filter(|(_, later)| later.done && self.names(later, vm));
        if lost <= at || (lost < usize::MAX && looks.next().is_none()) {
            return Err(Rule::LostSide);
        }
        if self.only_ends(vm, at) { Err(Rule::Ends) } else { Ok(()) }
    }

    /// Whether the guest of a VM has moved to another VM by this time.
    fn guest_has_left(&self, vm: &str, at: f64) -> bool {
        let mut left = false;
        let sources = self.is_source(vm);
        for event in self.tape.events.iter().filter(|event| event.vm == vm && event.at <= at) {
            match event.name.as_str() {
                "MIGRATION" if event.message["data"]["status"] == "completed" => left = sources,
                "RESUME" => left = false,
                _ => {}
            }
        }
        left && !self.has_failover()
    }

    fn has_failover(&self) -> bool {
        self.tape.steps.iter().any(|step| step.action() == "failover")
    }

    /// Whether a VM is the side of a COLO pair that a failover has given up by this step.
    pub(crate) fn is_lost(&self, vm: &str, at: usize) -> bool {
        self.lost_at(vm).is_some_and(|lost| lost <= at)
    }

    /// The failover that gives up a VM.
    fn lost_at(&self, vm: &str) -> Option<usize> {
        let mut steps = self.tape.steps.iter();
        steps.position(|step| step.done && step.action() == "failover" && !self.names(step, vm))
    }

    /// Why what a VM's guest has now is replaced later, if it is.
    fn is_replaced(&self, vm: &str, number: usize) -> Option<Rule> {
        let now = self.tape.steps.iter().find(|step| step.number == number)?.ended;
        let arrives = |event: &&Heard| {
            event.vm == vm && event.name == "MIGRATION" && event.message["data"]["status"] == "active"
        };
        let incoming = self.spec(vm).is_some_and(|spec| spec.incoming.is_some());
        // It waits for a migration, or gets one.
        let arrived = self.tape.events.iter().filter(|event| event.vm == vm && event.name == "RESUME");
        let runs = arrived.map(|event| event.at).fold(f64::INFINITY, f64::min);
        if incoming && (now < runs || self.tape.events.iter().filter(arrives).any(|event| event.at > now)) {
            return Some(Rule::Incoming);
        }
        // The secondary of a pair gets the primary's memory with the next checkpoint.
        let resumes = self.tape.events.iter().filter(|event| event.vm == vm && event.name == "RESUME");
        let in_colo = self.tape.events.iter().rfind(|event| {
            event.vm == vm && event.at <= now && (event.name == "COLO_EXIT" || event.name == "MIGRATION")
        });
        let in_colo = in_colo.is_some_and(|event| event.message["data"]["status"] == "colo");
        (incoming && in_colo && resumes.filter(|event| event.at > now).count() > 0)
            .then_some(Rule::Checkpoint)
    }
}
