//! The migrations of a straight run, and what their settings were.

use super::scene::Scene;
use super::site::Site;
use super::tape::Heard;

impl Scene<'_> {
    /// The statuses of a VM's migrations, with their times.
    pub(super) fn statuses(&self, vm: &str) -> impl Iterator<Item = (f64, &str)> {
        let events = self.tape.events.iter().filter(move |event| event.vm == vm && event.name == "MIGRATION");
        events.filter_map(|event| Some((event.at, event.message["data"]["status"].as_str()?)))
    }

    /// Whether the guest runs on the destination of a postcopy, and its source only serves pages.
    pub(crate) fn is_sent(&self, vm: &str, site: &Site) -> bool {
        let now = self.ended(site);
        let begun = |command: &Heard| {
            command.vm == vm && command.name == "migrate-start-postcopy" && command.at <= now
        };
        self.is_source(vm) && self.tape.commands.iter().any(begun)
    }

    /// Whether a migration of a VM comes so far, after a command, that it uses a setting that is not made again before.
    pub(crate) fn is_used(&self, command: &Heard, setting: &str) -> bool {
        let again = |later: &&Heard| {
            let arguments = &later.message["arguments"];
            let capabilities = arguments["capabilities"].as_array();
            let mut names = capabilities.into_iter().flatten().map(|one| &one["capability"]);
            later.vm == command.vm
                && later.at > command.at
                && (arguments.get(setting).is_some() || names.any(|name| name == setting))
        };
        let until = self.tape.commands.iter().find(again).map_or(f64::INFINITY, |later| later.at);
        let far: &[&str] = match setting {
            "postcopy-ram" => &["postcopy-active"],
            _ => &["active", "completed", "colo", "postcopy-active"],
        };
        self.statuses(&command.vm).any(|(at, status)| at > command.at && at < until && far.contains(&status))
    }

    /// Whether a cancelled migration has the effect that a command wants: one is cancelled after it.
    pub(crate) fn cancels(&self, command: &Heard) -> bool {
        self.statuses(&command.vm).any(|(at, status)| at >= command.at && status.starts_with("cancel"))
    }

    /// Whether a command is sent to a VM on which a capability is on.
    pub(crate) fn is_on(&self, command: &Heard, capability: &str) -> bool {
        let earlier = self.tape.commands.iter().filter(|own| own.vm == command.vm && own.at < command.at);
        let mut all = earlier.filter_map(|own| own.message["arguments"]["capabilities"].as_array()).flatten();
        all.rfind(|one| one["capability"] == capability).is_some_and(|one| one["state"] == true)
    }

    /// Whether a migration of a VM has failed.
    pub(crate) fn has_failed(&self, vm: &str) -> bool {
        self.statuses(vm).any(|(_, status)| status == "failed")
    }

    /// Whether the last migration before a time was cancelled, or its connections were ended by a command.
    pub(crate) fn is_cut(&self, at: f64) -> bool {
        let names = ["migrate", "migrate_cancel", "migrate-pause"];
        let ours = |own: &&Heard| own.at <= at && names.contains(&own.name.as_str());
        self.tape.commands.iter().rfind(ours).is_some_and(|last| match last.name.as_str() {
            "migrate_cancel" => self.cancels(last),
            name => name == "migrate-pause",
        })
    }

    /// Whether the guest moves by postcopy after a site before a step looks whether it runs. A postcopy starts the guest on the
    /// destination even if it was stopped on the source (measured on 11.1).
    pub(crate) fn is_started_anyway(&self, vm: &str, site: &Site) -> bool {
        let now = self.ended(site);
        let mut moves = self.statuses(vm).filter(|(at, _)| *at > now);
        let next = moves.find(|(_, status)| matches!(*status, "completed" | "postcopy-active"));
        next.is_some_and(|(_, status)| status == "postcopy-active")
            && self.is_leaving(vm, site, &["ticks", "serial", "memory", "status"])
    }

    /// Whether earlier commands have set all parameters of a command to the same values.
    pub(crate) fn is_set(&self, command: &Heard) -> bool {
        let value = |name: &str| {
            let own = |own: &&Heard| own.vm == command.vm && own.at < command.at && own.name == command.name;
            self.tape.commands.iter().filter(own).rev().find_map(|own| own.message["arguments"].get(name))
        };
        let set =
            command.message["arguments"].as_object().filter(|_| command.name == "migrate-set-parameters");
        set.is_some_and(|set| set.iter().all(|(name, own)| value(name) == Some(own)))
    }

    /// Whether a guest migrates from this VM.
    pub(crate) fn is_source(&self, vm: &str) -> bool {
        self.tape.commands.iter().any(|command| command.vm == vm && command.name == "migrate")
    }
}
