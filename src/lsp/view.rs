//! What is known of an open text when the editor asks about it.

use std::path::Path;

use lsp_types::ClientCapabilities;

use super::check::Checked;
use super::names::{Name, declared, declared_in_text};
use crate::scenario::Texts;
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
    /// Their results.
    pub users: Vec<&'s Checked>,
}

impl View<'_> {
    /// The names that the file declares, and those of the files that extend or use it.
    pub(super) fn declared(&self) -> Vec<Name> {
        let roots = self.root.iter().chain(self.roots_of_users.iter().copied());
        let mut names: Vec<Name> = roots.flat_map(|root| declared(root, self.texts)).collect();
        if !self.is_valid {
            names.extend(declared_in_text(self.path, self.text));
        }
        names
    }

    /// The steps of a hook: their key, in this file or in those that extend or use it.
    pub(super) fn hooks(&self, name: &str) -> impl Iterator<Item = &Key> {
        let roots = self.root.iter().chain(self.roots_of_users.iter().copied());
        roots.filter_map(move |root| root.get("hooks")?.entry(name)).map(|(key, _)| key)
    }
}
