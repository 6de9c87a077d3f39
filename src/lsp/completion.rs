//! What can be typed at a place: keys, words, names.

use std::ops::Range;

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionTextEdit, Documentation, InsertTextFormat, MarkupContent,
    MarkupKind, TextEdit,
};
use serde_json::Value;

use super::keys::{Found, Key, at, doc_of, keys, words};
use super::names::{Kind, Name, kind_of_keys, kind_of_value, of_loops};
use super::outline::{Entry, Part, outline};
use super::place;
use super::qemu_names::QemuNames;
use super::view::{View, params_of_other};
use crate::scenario::lint::{ROOTS_OF_RUN, fields_of_run};
use crate::template;

/// Stands for the cursor, as a letter of a word. No scenario has it.
const CURSOR: char = '\u{e000}';

/// The place of the cursor.
struct Cursor<'v> {
    view: &'v View<'v>,
    names: &'v QemuNames,
    /// The entry that the cursor is in; its ranges are those of the text with the cursor.
    entry: Entry,
    /// The names of the other keys of its map.
    given: Vec<String>,
    /// What is replaced.
    replaced: Range<usize>,
    items: Vec<CompletionItem>,
}

/// The completions at a byte of the text.
pub(super) fn items(view: &View<'_>, names: &QemuNames, cursor: usize) -> Vec<CompletionItem> {
    let mut text = view.text.to_owned();
    text.insert(cursor, CURSOR);
    let entries = outline(&text);
    let has = |range: &Option<Range<usize>>| {
        range.as_ref().is_some_and(|range| text[range.clone()].contains(CURSOR))
    };
    let Some(entry) = entries.iter().find(|entry| has(&entry.key) || has(&entry.value)).cloned() else {
        return Vec::new();
    };
    let others = entries.iter().filter(|other| other.within() == entry.within() && other.key != entry.key);
    let given = others.filter_map(Entry::name).map(str::to_owned).collect();
    let in_key = has(&entry.key);
    let token = if in_key { entry.key.clone() } else { entry.value.clone() }.unwrap_or_default();
    let scalar = token.start..token.end - CURSOR.len_utf8();
    let replaced = word_at_cursor(&text, &token);
    let mut at_cursor = Cursor { view, names, entry, given, replaced, items: Vec::new() };
    if in_key {
        let map = at_cursor.entry.path.split_last().map_or_else(Vec::new, |(_, above)| above.to_vec());
        at_cursor.keys(&map, "");
    } else if let Some(word) = in_template(view.text, &scalar, cursor) {
        at_cursor.template(&word);
    } else {
        at_cursor.values();
    }
    at_cursor.items
}

/// The range of the cursor's word in a scalar, in the text without the cursor. Quotes are not part of it.
fn word_at_cursor(text: &str, scalar: &Range<usize>) -> Range<usize> {
    let ends = |letter: char| letter.is_whitespace() || ['"', '\''].contains(&letter);
    let (before, after) = text[scalar.clone()].split_once(CURSOR).unwrap_or_default();
    let start = before.rfind(ends).map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
    let end = before.len() + after.find(ends).unwrap_or(after.len());
    scalar.start + start..scalar.start + end
}

/// The range of the word before and after the cursor, if that is inside `{{…}}`.
pub(super) fn in_template(text: &str, scalar: &Range<usize>, cursor: usize) -> Option<Range<usize>> {
    let before = text.get(scalar.start..cursor)?;
    let opened = before.rfind("{{")?;
    if before[opened..].contains("}}") {
        return None;
    }
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let start = before.len() - before.chars().rev().take_while(|letter| is_of_word(*letter)).count();
    let after = text[cursor..scalar.end.max(cursor)].chars().take_while(|letter| is_of_word(*letter)).count();
    (start >= opened + 2).then_some(scalar.start + start..cursor + after)
}

impl Cursor<'_> {
    fn add(&mut self, label: &str, kind: CompletionItemKind, doc: &str, text: String, is_snippet: bool) {
        if self.items.iter().any(|item| item.label == label) {
            return;
        }
        let documentation = (!doc.is_empty()).then(|| {
            Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value: doc.to_owned() })
        });
        let range = place::range(self.view.text, &self.replaced);
        self.items.push(CompletionItem {
            label: label.to_owned(),
            kind: Some(kind),
            documentation,
            sort_text: Some(format!("{:04}", self.items.len())),
            filter_text: Some(label.to_owned()),
            insert_text_format: Some(if is_snippet {
                InsertTextFormat::SNIPPET
            } else {
                InsertTextFormat::PLAIN_TEXT
            }),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit::new(range, text))),
            ..CompletionItem::default()
        });
    }

    fn word(&mut self, label: &str, kind: CompletionItemKind) {
        self.add(label, kind, "", label.to_owned(), false);
    }

    /// The keys of the map at a path; `before` is inserted before each.
    fn keys(&mut self, map: &[Part], before: &str) {
        let has_colon = self.view.text[self.replaced.end..].trim_start_matches(' ').starts_with(':');
        let after = if has_colon { "" } else { ": " };
        let given = if before.is_empty() { self.given.clone() } else { Vec::new() };
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let mut keys = keys(&at(map), &given);
        keys.sort_by_key(|key| !key.is_required);
        for key in keys {
            let snippet = snippet(&key).filter(|_| self.view.client.snippets && !has_colon);
            let is_snippet = snippet.is_some();
            let text = format!("{before}{}{after}{}", key.name, snippet.unwrap_or_default());
            self.add(key.name, CompletionItemKind::PROPERTY, doc_of(key.schema), text, is_snippet);
        }
        for name in kind_of_keys(map).map(|kind| self.known(kind, map)).unwrap_or_default() {
            if !given.contains(&name.as_str()) {
                self.add(&name, CompletionItemKind::PROPERTY, "", format!("{name}{after}"), false);
            }
        }
    }

    /// The values at the path of the entry; without a key, it may also become a map or an item.
    fn values(&mut self) {
        let path = self.entry.path.clone();
        let found = at(&path);
        for word in words(&found) {
            self.add(&word.text, CompletionItemKind::ENUM_MEMBER, word.doc, word.text.clone(), false);
        }
        for name in kind_of_value(&path).map(|kind| self.known(kind, &path)).unwrap_or_default() {
            self.word(&name, CompletionItemKind::REFERENCE);
        }
        if self.entry.key.is_some() {
            return;
        }
        self.keys(&path, "");
        let is_list = |found: &Found| found.schema["items"].is_object();
        if !self.entry.flow && path.last() != Some(&Part::Item) && found.iter().any(is_list) {
            self.keys(&[path, vec![Part::Item]].concat(), "- ");
        }
    }

    /// The known names of a kind; `path` is that of the value or the map.
    fn known(&self, kind: Kind, path: &[Part]) -> Vec<String> {
        match kind {
            Kind::File => self.files(),
            Kind::ParamOfOther => {
                let params = params_of_other(self.view, &self.entry, path);
                params.into_iter().map(|name| name.name).collect()
            }
            Kind::Vm => [self.declared(Kind::Vm), self.declared(Kind::Role)].concat(),
            _ => [self.declared(kind), self.names.of(kind)].concat(),
        }
    }

    fn declared(&self, kind: Kind) -> Vec<String> {
        let names = self.view.declared().into_iter().filter(|name| name.kind == kind);
        names.map(|name| name.name).filter(|name| !template::is_template(name)).collect()
    }

    /// The YAML files next to this one, and one directory below it or beside it.
    fn files(&self) -> Vec<String> {
        let Some(folder) = self.view.path.parent() else {
            return Vec::new();
        };
        let above = folder.parent().unwrap_or(folder);
        let mut names = Vec::new();
        for (base, pattern, up) in
            [(folder, "*.yaml", ""), (folder, "*/*.yaml", ""), (above, "*/*.yaml", "../")]
        {
            let pattern = format!("{}/{pattern}", glob::Pattern::escape(&base.display().to_string()));
            for file in glob::glob(&pattern).into_iter().flatten().flatten() {
                let is_listed = file == self.view.path || (!up.is_empty() && file.starts_with(folder));
                if let Some(name) = file.strip_prefix(base).ok().filter(|_| !is_listed) {
                    names.push(format!("{up}{}", name.display()));
                }
            }
        }
        names
    }

    /// The names inside `{{…}}`.
    fn template(&mut self, word: &Range<usize>) {
        let typed = self.view.text[word.clone()].to_owned();
        self.replaced = word.clone();
        let known = self.view.declared();
        let path: Vec<&str> = typed.split('.').collect();
        for name in names_of_template(&known, &path[..path.len() - 1]) {
            let label = [&path[..path.len() - 1], &[name.as_str()]].concat().join(".");
            self.word(&label, CompletionItemKind::VARIABLE);
        }
        if path.len() == 1 {
            for (name, _) in of_loops(self.view.text, &self.entry) {
                self.word(&name, CompletionItemKind::VARIABLE);
            }
            for helper in template::helpers() {
                self.word(helper, CompletionItemKind::FUNCTION);
            }
        }
    }
}

/// The names that can follow a path inside `{{…}}`.
fn names_of_template(known: &[Name], path: &[&str]) -> Vec<String> {
    let of = |kind: Kind| -> Vec<String> {
        known.iter().filter(|name| name.kind == kind).map(|name| name.name.clone()).collect()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match path {
        [] => [of(Kind::Param), words(&["run", "case", "env", "port", "link", "disk", "credential", "self"])]
            .concat(),
        ["run"] => words(ROOTS_OF_RUN),
        ["run", "captures"] => of(Kind::Capture),
        ["run", "vm"] => [of(Kind::Vm), of(Kind::Role)].concat(),
        ["run", "role"] => of(Kind::Role),
        ["run", "process"] => of(Kind::Process),
        ["run", "link"] | ["link"] => of(Kind::Link),
        ["run", "client"] => of(Kind::Client),
        ["run", root, _] => words(fields_of_run(root)),
        ["case"] => words(&["name", "dir"]),
        ["port"] => of(Kind::Port),
        ["disk"] | ["self", "disk"] => of(Kind::Disk),
        ["credential"] => of(Kind::Credential),
        ["self"] => words(&["name", "disk", "fd"]),
        _ => Vec::new(),
    }
}

/// What is inserted after a key: the snippet of its action, on one line.
fn snippet(key: &Key) -> Option<String> {
    let body = key.schema["defaultSnippets"][0].get("body")?;
    Some(flow(body))
}

/// A snippet's value as YAML on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) if text.contains("{{") => format!("\"{text}\""),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
