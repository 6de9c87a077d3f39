//! The state of a case between two steps, as far as it can be known before the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Location;
use crate::scenario::model::{Case, When};

/// Whether a VM is running.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum VmStatus {
    /// It has not been started yet.
    NotStarted,
    /// It was started and has not ended.
    Running,
    /// It has ended: the place, and how.
    Ended(Location, &'static str),
    /// Only known when the case runs.
    Unknown,
}

/// A capture or a process that a step provides.
#[derive(Debug, Clone)]
pub(super) struct Provided {
    /// The first place that provides it.
    pub at: Location,
    /// The conditions of each step that provides it; empty if unconditional.
    ways: Vec<Vec<String>>,
}

impl Provided {
    /// Whether it exists whenever a step with these conditions runs.
    pub(super) fn holds_under(&self, when: &[When]) -> bool {
        let asked = texts(when);
        self.ways.iter().any(|way| way.iter().all(|condition| asked.contains(condition)))
    }
}

/// Adds what a step at this place provides under these conditions.
pub(super) fn provide(all: &mut BTreeMap<String, Provided>, name: &str, at: &Location, when: &[When]) {
    let new = || Provided { at: at.clone(), ways: Vec::new() };
    let ways = &mut all.entry(name.to_owned()).or_insert_with(new).ways;
    let way = texts(when);
    if !ways.contains(&way) {
        ways.push(way);
    }
}

fn texts(when: &[When]) -> Vec<String> {
    when.iter().map(|condition| condition.template.clone()).collect()
}

/// A client that was started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartedClient {
    /// Whether it has `draws`.
    pub draws: bool,
    /// Whether the service holds something that its history can be compared with.
    pub has_contents: bool,
}

/// The state between two steps.
#[derive(Debug, Clone)]
pub(super) struct State<'c> {
    pub vms: BTreeMap<&'c str, VmStatus>,
    /// The VMs that a step has connected to since they were started.
    pub connected: BTreeSet<&'c str>,
    /// The VM of each role; `None` if only known when the case runs.
    pub roles: BTreeMap<&'c str, Option<&'c str>>,
    pub captures: BTreeMap<String, Provided>,
    pub processes: BTreeMap<String, Provided>,
    /// The clients that were started.
    pub clients: BTreeMap<&'c str, StartedClient>,
    /// Whether a step has started a migration.
    pub migrated: bool,
    /// Whether a program of the scenario has run; it may have done anything.
    pub outside: bool,
}

impl<'c> State<'c> {
    /// The state before the first step.
    pub(super) fn of(case: &'c Case) -> Self {
        let life = |start: bool| if start { VmStatus::Running } else { VmStatus::NotStarted };
        Self {
            vms: case.vms.iter().map(|(name, vm)| (name.as_str(), life(vm.start))).collect(),
            connected: BTreeSet::new(),
            roles: case.roles.iter().map(|(role, vm)| (role.as_str(), Some(vm.as_str()))).collect(),
            captures: BTreeMap::new(),
            processes: BTreeMap::new(),
            clients: BTreeMap::new(),
            migrated: false,
            outside: false,
        }
    }

    /// The VM of a name: the VM of a role, else the name itself. `None`: not known.
    pub(super) fn actual<'n>(&self, name: &'n str) -> Option<&'n str>
    where
        'c: 'n,
    {
        self.roles.get(name).copied().unwrap_or(Some(name))
    }

    /// The status of a VM by name or role, if known.
    pub(super) fn vm_status(&self, name: &str) -> Option<&VmStatus> {
        self.vms.get(self.actual(name)?)
    }

    /// Rebinds roles; if not `sure`, they become unknown.
    pub(super) fn rebind<'n>(&mut self, bound: impl Iterator<Item = (&'n str, &'c str)>, sure: bool) {
        let bound: Vec<_> = bound.map(|(role, vm)| (role, self.actual(vm))).collect();
        for (role, vm) in bound {
            if let Some(own) = self.roles.get_mut(role) {
                *own = vm.filter(|vm| sure || *own == Some(*vm));
            }
        }
    }

    /// Starts a VM; if not `sure`, its status becomes unknown.
    pub(super) fn start(&mut self, name: &str, sure: bool) {
        let Some(vm) = self.actual(name) else {
            return self.forget(|life| *life != VmStatus::Running);
        };
        if sure {
            self.connected.remove(vm);
        }
        if let Some(life) = self.vms.get_mut(vm) {
            *life = if sure { VmStatus::Running } else { VmStatus::Unknown };
        }
    }

    /// Connects to a VM.
    pub(super) fn connect(&mut self, name: &'c str) {
        match self.actual(name) {
            Some(vm) => {
                self.connected.insert(vm);
            }
            None => self.connected.extend(self.vms.keys()),
        }
    }

    /// Ends a VM; if not `sure`, its status becomes unknown.
    pub(super) fn end(&mut self, name: &str, at: &Location, how: &'static str, sure: bool) {
        let Some(vm) = self.actual(name) else {
            return self.forget(|life| *life == VmStatus::Running);
        };
        match self.vms.get_mut(vm) {
            // Report the first end.
            Some(VmStatus::Ended(..)) | None => {}
            Some(life) => *life = if sure { VmStatus::Ended(at.clone(), how) } else { VmStatus::Unknown },
        }
    }

    /// A program runs; it may end any VM.
    pub(super) fn outside(&mut self) {
        self.outside = true;
        self.forget(|life| *life == VmStatus::Running);
    }

    /// Makes the status of the VMs with such a status unknown.
    fn forget(&mut self, changes: impl Fn(&VmStatus) -> bool) {
        self.vms.values_mut().filter(|life| changes(life)).for_each(|life| *life = VmStatus::Unknown);
    }

    /// Combines two possible states. Captures of either are kept: better to miss a wrong read under another condition than to
    /// report a right one.
    pub(super) fn join(&mut self, other: Self) {
        for (vm, life) in other.vms {
            if let Some(own) = self.vms.get_mut(vm).filter(|own| **own != life) {
                *own = VmStatus::Unknown;
            }
        }
        self.connected.extend(other.connected);
        for (role, vm) in other.roles {
            if let Some(own) = self.roles.get_mut(role).filter(|own| **own != vm) {
                *own = None;
            }
        }
    }

    /// Steps with this effect run at the same time.
    pub(super) fn beside(&mut self, effect: &Self) {
        self.migrated |= effect.migrated;
        self.outside |= effect.outside;
        self.join(effect.clone());
    }

    /// A branch has ended in this state. A VM that only this branch has changed is as it left it.
    pub(super) fn after_branch(&mut self, state: Self, before: &Self, effect: &Self, others: Vec<&Self>) {
        let changed = |by: &Self, vm: &str| by.vms.get(vm) != before.vms.get(vm);
        for (vm, life) in state.vms.into_iter().filter(|(vm, _)| changed(effect, vm)) {
            let is_shared = others.iter().any(|other| changed(other, vm));
            self.vms.insert(vm, if is_shared { VmStatus::Unknown } else { life });
        }
        for (role, vm) in state.roles {
            if let Some(own) = self.roles.get_mut(role).filter(|own| **own != vm) {
                *own = None;
            }
        }
        self.connected.extend(state.connected);
        self.captures.extend(state.captures);
        self.processes.extend(state.processes);
        self.clients.extend(state.clients);
        self.migrated |= state.migrated;
        self.outside |= state.outside;
    }
}
