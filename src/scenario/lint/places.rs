//! The places and the names in a part of a file.

use crate::diagnostic::Location;
use crate::scenario::model::{CaseStep, VmSource};
use crate::scenario::typed;
use crate::template;
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
        Self { key: &step.at, node: step.value() }
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

/// Visits the paths below a name that a template uses, such as `captures.n` for `run`.
pub(super) fn each_path(text: &str, root: &str, mut visit: impl FnMut(&[&str])) {
    for path in template::names_below(text, root) {
        visit(&path.iter().skip(1).map(String::as_str).collect::<Vec<_>>());
    }
}

/// Visits the templates in a part of a file that use `run`, each with its node.
pub(super) fn each_run_text<'n>(node: &'n Node, visit: &mut impl FnMut(&'n str, &'n Node)) {
    node.walk(None, &mut |_, node| {
        if let Some(text) = node.text().filter(|text| template::is_template(text) && text.contains("run")) {
            visit(text, node);
        }
    });
}
