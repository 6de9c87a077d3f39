//! What is so at a moment of a case, as far as it can be known beforehand.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Location;
use crate::scenario::model::{Case, When};

/// Whether a VM is alive.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Life {
    /// It was not started yet.
    Unborn,
    /// It was started, and nothing has ended it.
    Up,
    /// It was ended: where, and how in words.
    Over(Location, &'static str),
    /// That is only known when the case runs.
    Unknown,
}

/// Something that a step brings about.
#[derive(Debug, Clone)]
pub(super) struct There {
    /// The first place that does.
    pub at: Location,
    /// The conditions of each step that does; one without conditions makes it sure.
    ways: Vec<Vec<String>>,
}

impl There {
    /// It is there if the conditions hold.
    pub(super) fn under(at: Location, when: &[When]) -> Self {
        Self { at, ways: vec![texts(when)] }
    }

    /// It is there under these conditions too.
    pub(super) fn also(&mut self, when: &[When]) {
        let way = texts(when);
        if !self.ways.contains(&way) {
            self.ways.push(way);
        }
    }

    /// Whether it is there wherever a step with these conditions runs.
    pub(super) fn holds_under(&self, when: &[When]) -> bool {
        let asked = texts(when);
        self.ways.iter().any(|way| way.iter().all(|condition| asked.contains(condition)))
    }
}

fn texts(when: &[When]) -> Vec<String> {
    when.iter().map(|condition| condition.template.clone()).collect()
}

/// What is so at a moment of a case.
#[derive(Debug, Clone)]
pub(super) struct State<'c> {
    pub vms: BTreeMap<&'c str, Life>,
    /// The VMs that some step has connected to since they were started.
    pub connected: BTreeSet<&'c str>,
    /// The VM that each role stands for; `None` where that is only known when the case runs.
    pub roles: BTreeMap<&'c str, Option<&'c str>>,
    pub captures: BTreeMap<String, There>,
    pub processes: BTreeMap<String, There>,
    /// The clients that some step before has started, each with whether its service draws.
    pub clients: BTreeMap<&'c str, bool>,
    /// Whether some step has started a migration.
    pub migrated: bool,
    /// Whether a program of the scenario has run, which may have done anything.
    pub outside: bool,
}

impl<'c> State<'c> {
    /// What is so before the first step.
    pub(super) fn of(case: &'c Case) -> Self {
        let life = |start: bool| if start { Life::Up } else { Life::Unborn };
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

    /// The VM that a name stands for: that of a role, else itself. `None`: any may be meant.
    pub(super) fn actual<'n>(&self, name: &'n str) -> Option<&'n str>
    where
        'c: 'n,
    {
        self.roles.get(name).copied().unwrap_or(Some(name))
    }

    /// Whether a VM is alive, by its name or role, where that is known.
    pub(super) fn life(&self, name: &str) -> Option<&Life> {
        self.vms.get(self.actual(name)?)
    }

    /// Roles stand for other VMs from now on, or may.
    pub(super) fn rebind<'n>(&mut self, bound: impl Iterator<Item = (&'n str, &'c str)>, sure: bool) {
        let bound: Vec<_> = bound.map(|(role, vm)| (role, self.actual(vm))).collect();
        for (role, vm) in bound {
            if let Some(own) = self.roles.get_mut(role) {
                *own = vm.filter(|vm| sure || *own == Some(*vm));
            }
        }
    }

    /// A VM is started, or may be.
    pub(super) fn start(&mut self, name: &str, sure: bool) {
        let Some(vm) = self.actual(name) else {
            self.vms.values_mut().filter(|life| **life != Life::Up).for_each(|life| *life = Life::Unknown);
            return;
        };
        if sure {
            self.connected.remove(vm);
        }
        if let Some(life) = self.vms.get_mut(vm) {
            *life = if sure { Life::Up } else { Life::Unknown };
        }
    }

    /// A VM is connected to, or may be.
    pub(super) fn connect(&mut self, name: &'c str) {
        match self.actual(name) {
            Some(vm) => {
                self.connected.insert(vm);
            }
            None => self.connected.extend(self.vms.keys()),
        }
    }

    /// A VM is ended, or may be.
    pub(super) fn end(&mut self, name: &str, at: &Location, how: &'static str, sure: bool) {
        let Some(vm) = self.actual(name) else {
            self.vms.values_mut().filter(|life| **life == Life::Up).for_each(|life| *life = Life::Unknown);
            return;
        };
        match self.vms.get_mut(vm) {
            // The first end is the one to tell of.
            Some(Life::Over(..)) | None => {}
            Some(life) => *life = if sure { Life::Over(at.clone(), how) } else { Life::Unknown },
        }
    }

    /// A program runs that may end whatever is alive.
    pub(super) fn outside(&mut self) {
        self.outside = true;
        for life in self.vms.values_mut().filter(|life| **life == Life::Up) {
            *life = Life::Unknown;
        }
    }

    /// What is so whether this came about or the other one. What was captured stays: a step that reads it under
    /// another condition is not told, rather than one that is right.
    pub(super) fn join(&mut self, other: Self) {
        for (vm, life) in other.vms {
            if let Some(own) = self.vms.get_mut(vm).filter(|own| **own != life) {
                *own = Life::Unknown;
            }
        }
        self.connected.extend(other.connected);
        for (role, vm) in other.roles {
            if let Some(own) = self.roles.get_mut(role).filter(|own| **own != vm) {
                *own = None;
            }
        }
    }
}
