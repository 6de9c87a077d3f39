//! A case with its straight run: where a sabotage makes sense, and where a rule says that it cannot matter.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::Rule;
use super::site::{Site, Trigger};
use super::tape::{Heard, Tape, TapeStep, named};
use crate::qemu::network::of_wire;
use crate::qemu::spec::{Guest, VmSpec};
use crate::scenario::model::Case;
use crate::step::Action;

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
            .filter(|(_, step)| !step.only_looks())
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
        }
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
        if self.is_lost(vm, at) {
            return Err(Rule::LostSide);
        }
        let mut later = self.after(at).filter(|later| self.names(later, vm)).peekable();
        let ends = |step: &TapeStep| matches!(step.action(), "quit" | "signal");
        if later.peek().is_some() && later.all(ends) {
            return Err(Rule::Ends);
        }
        Ok(())
    }

    /// Whether the guest of a VM has moved to another VM by this time.
    fn guest_has_left(&self, vm: &str, at: f64) -> bool {
        let mut left = false;
        let is_source = |step: &TapeStep| {
            let Some(Action::Migrate(migrate)) = step.step.as_ref().map(|step| &step.action) else {
                return false;
            };
            let from = self.case.roles.get(&migrate.from).unwrap_or(&migrate.from);
            from == vm
        };
        let sources = self.tape.steps.iter().any(is_source);
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
        let failover =
            self.tape.steps.iter().take(at + 1).rfind(|step| step.done && step.action() == "failover");
        failover.is_some_and(|step| {
            let survives = self.names(step, vm);
            !survives
        })
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
