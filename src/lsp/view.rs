//! What is known of an open text when the editor asks about it.

use std::path::Path;

use lsp_types::{ClientCapabilities, Uri};

use super::check::Checked;
use super::names::{Kind, Name, declared, declared_in_text, extended, resolve, tree};
use super::outline::{Entry, Part, outline, unquoted};
use crate::scenario::model::Case;
use crate::scenario::{Texts, merged};
use crate::yaml::{Key, Node};

/// What the editor can do.
pub(super) struct Client {
    pub related_places: bool,
    pub snippets: bool,
    pub watches_files: bool,
}

impl Client {
    pub(super) fn of(capabilities: &ClientCapabilities) -> Self {
        let text = capabilities.text_document.as_ref();
        let diagnostics = text.and_then(|text| text.publish_diagnostics.as_ref());
        let item = text.and_then(|text| text.completion.as_ref()?.completion_item.as_ref());
        let workspace = capabilities.workspace.as_ref();
        let files = workspace.and_then(|workspace| workspace.did_change_watched_files.as_ref());
        Self {
            related_places: diagnostics.and_then(|it| it.related_information).unwrap_or(false),
            snippets: item.and_then(|item| item.snippet_support).unwrap_or(false),
            watches_files: files.and_then(|files| files.dynamic_registration).unwrap_or(false),
        }
    }
}

/// An open text.
pub(super) struct Open {
    pub uri: Uri,
    pub version: i32,
    /// The newest result.
    pub checked: Option<Checked>,
    /// The newest result with cases, if that one has errors and no cases.
    pub good: Option<Checked>,
    /// The newest merged file that was valid.
    pub root: Option<Node>,
}

impl Open {
    pub(super) fn new(uri: Uri, version: i32) -> Self {
        Self { uri, version, checked: None, good: None, root: None }
    }

    /// Uses a new result.
    pub(super) fn take(&mut self, checked: Checked) {
        if checked.root.is_some() {
            self.root.clone_from(&checked.root);
        }
        let has_errors = checked.loaded.diagnostics.has_errors();
        let old = self.checked.replace(checked);
        self.good =
            old.filter(|old| !old.loaded.cases.is_empty()).or(self.good.take()).filter(|_| has_errors);
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = &Case> {
        self.checked.iter().flat_map(|checked| &checked.loaded.cases)
    }
}

/// An open text when the editor asks about it.
pub(super) struct View<'s> {
    pub path: &'s Path,
    pub text: &'s str,
    /// All open texts.
    pub texts: &'s Texts,
    pub client: &'s Client,
    /// Its result, if it is that of this text.
    pub checked: Option<&'s Checked>,
    /// The file merged over what it extends, as it is now or was when it was last valid YAML; else what it extends.
    pub root: Option<Node>,
    /// Whether that is as it is now.
    pub is_valid: bool,
    /// The open files that extend or use it, merged.
    pub roots_of_users: Vec<&'s Node>,
    /// The cases in which it is used: its own, else those of the files that extend or use it.
    pub cases: Vec<&'s Case>,
    /// Whether these are cases of an older text, since this one has errors.
    pub is_old: bool,
}

impl View<'_> {
    /// The names that the file declares, and those of the files that extend or use it.
    pub(super) fn declared(&self) -> Vec<Name> {
        let mut names = if self.is_valid { Vec::new() } else { declared_in_text(self.path, self.text) };
        let in_text = names.clone();
        let is_known = |name: &Name| {
            let same = |other: &Name| other.kind == name.kind && other.name == name.name;
            name.at.path() == self.path && in_text.iter().any(same)
        };
        let of_roots = self.roots().flat_map(|root| declared(root, self.texts));
        names.extend(of_roots.filter(|name| !is_known(name)));
        names
    }

    /// The merged file, and those that extend or use it.
    fn roots(&self) -> impl Iterator<Item = &Node> {
        self.root.iter().chain(self.roots_of_users.iter().copied())
    }

    /// The steps of a hook: their key, in this file or in those that extend or use it.
    pub(super) fn hooks(&self, name: &str) -> impl Iterator<Item = &Key> {
        self.roots().filter_map(move |root| root.get("hooks")?.entry(name)).map(|(key, _)| key)
    }
}

/// The parameters of the other file that the `with` at this path sets: that of `extends`, or of the `use` around the entry.
pub(super) fn params_of_other(view: &View<'_>, entry: &Entry, with: &[Part]) -> Vec<Name> {
    let is_use = with.len() > 1;
    let of_use = |other: &&Entry| match other.path.as_slice() {
        [.., Part::Key(parent), Part::Key(key)] => {
            parent == "use" && key == "file" && entry.inside.contains(&other.within())
        }
        _ => false,
    };
    let used = || {
        let value = outline(view.text).iter().find(of_use)?.value.clone()?;
        Some(resolve(view.path, &unquoted(&view.text[value])))
    };
    let Some(path) = (if is_use { used() } else { extended(view.path, view.text) }) else {
        return Vec::new();
    };
    let root = if is_use { tree(&path, view.texts) } else { merged(&path, view.texts) };
    let params = root.as_ref().and_then(|root| root.get("params")).map(Node::entries).unwrap_or_default();
    let name = |key: &Key| Name { kind: Kind::Param, name: key.name.clone(), at: key.at.clone() };
    params.iter().map(|(key, _)| name(key)).collect()
}
