//! Places in a part of a file.

use crate::diagnostic::Location;
use crate::scenario::model::{CaseStep, VmSource};
use crate::scenario::typed;
use crate::yaml::Node;

/// A part of a file, and the place of its key.
#[derive(Clone, Copy)]
pub(super) struct Part<'p> {
    key: &'p Location,
    node: &'p Node,
}

impl<'p> Part<'p> {
    /// The action of a step.
    pub(super) fn of(step: &'p CaseStep) -> Self {
        let node = step.source.get(step.step.action.key()).unwrap_or(&step.source);
        Self { key: &step.at, node }
    }

    /// The options of a VM.
    pub(super) const fn of_vm(vm: &'p VmSource) -> Self {
        Self { key: &vm.at, node: &vm.options }
    }

    /// The place of a value in it.
    pub(super) fn place(&self, path: &[impl AsRef<str>]) -> Location {
        typed::place(self.key, self.node, path).0
    }

    /// The same; in a list, the place of the item with this text.
    pub(super) fn item(&self, path: &[impl AsRef<str>], text: &str) -> Location {
        let (at, value) = typed::place(self.key, self.node, path);
        let item = value.items().iter().find(|item| item.text() == Some(text));
        item.map_or(at, |item| item.at.clone())
    }

    /// The place of a key in it, or the nearest one that exists.
    pub(super) fn key(&self, path: &[impl AsRef<str>]) -> Location {
        typed::key_place(self.node, path).unwrap_or_else(|| self.place(path))
    }
}
