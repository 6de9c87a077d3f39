//! Loads scenario files, each once, with what they extend.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::Texts;
use super::keys::{self, KEYS, Shape};
use super::lint::Unused;
use super::merge::over;
use super::model::Parsed;
use super::paths::{same_file, tidy};
use super::source::indentation;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::template;
use crate::yaml::{self, Key, Kind, Node};

/// The files of a call, and their diagnostics.
#[derive(Default)]
pub(super) struct Loader {
    files: HashMap<PathBuf, Option<Node>>,
    /// Used in place of the files on disk.
    texts: Texts,
    /// The diagnostics so far.
    pub diagnostics: Diagnostics,
    /// The environment variables that a file uses.
    pub env: Map<String, Value>,
    /// The seed of random axes.
    pub seed: u64,
    /// The steps without templates that were parsed, by the address of their map.
    pub constant_steps: HashMap<usize, Parsed>,
    /// The number of steps of all cases so far.
    pub steps: usize,
    /// The declarations, and whether they are used.
    pub unused: Unused,
    /// Whether to merge files with errors, as far as that is possible.
    is_lenient: bool,
    /// The size of the cases so far; see [`weight`](super::typed::weight).
    weight: usize,
}

/// The maximum size of all cases, so that they fit into memory.
const MAX_WEIGHT: usize = 20_000_000;

impl Loader {
    /// One that uses these texts in place of the files on disk.
    pub(super) fn with(texts: &Texts) -> Self {
        Self { texts: texts.clone(), ..Self::default() }
    }

    /// A file merged over everything that it extends, even with errors.
    pub(super) fn merged(path: &Path, texts: &Texts) -> Option<Node> {
        Self { is_lenient: true, ..Self::with(texts) }.scenario(path)
    }

    /// Adds a diagnostic.
    pub(super) fn complain(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds the size of a case. Returns false above the maximum, which is reported once, at this place.
    pub(super) fn hold(&mut self, weight: usize, at: &Location) -> bool {
        let before = self.weight;
        self.weight += weight;
        if before <= MAX_WEIGHT && self.weight > MAX_WEIGHT {
            let message = format!("the cases have more than {MAX_WEIGHT} values in total");
            let help = "long texts count as several; make fewer cases, or split the file";
            self.complain(Diagnostic::error(Code::TooMuch, at, message).help(help));
        }
        self.weight <= MAX_WEIGHT
    }

    /// The files that were read, whether they can be or not.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// Whether the maximum size was exceeded.
    pub(super) fn is_full(&self) -> bool {
        self.weight > MAX_WEIGHT
    }

    /// The tree of a file; `None` after reporting an error.
    pub(super) fn read(&mut self, path: &Path) -> Option<Node> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let read = match self.texts.get(path) {
            Some(text) => yaml::from_bytes(path, text.as_bytes().to_vec()),
            None => yaml::read(path),
        };
        self.keep(path, read)
    }

    fn keep(&mut self, path: &Path, read: Result<Node, Vec<Diagnostic>>) -> Option<Node> {
        let node = match read {
            Ok(node) => {
                self.note_environment(&node.at);
                Some(node)
            }
            Err(errors) => {
                self.diagnostics.extend(errors);
                None
            }
        };
        self.files.insert(path.to_owned(), node.clone());
        node
    }

    /// A scenario file merged over everything it extends.
    pub(super) fn scenario(&mut self, path: &Path) -> Option<Node> {
        self.extended(path, &mut Vec::new())
    }

    fn extended(&mut self, path: &Path, chain: &mut Vec<PathBuf>) -> Option<Node> {
        let node = self.read(path)?;
        let sound = self.shape(&node) || self.is_lenient;
        let Some((_, extends)) = node.entry("extends") else {
            return Some(node).filter(|_| sound);
        };
        chain.push(path.to_owned());
        let Some(parent) = self.target(extends, Code::Extends) else {
            chain.pop();
            return Some(node).filter(|_| self.is_lenient);
        };
        let circle = chain.iter().position(|known| same_file(known, &parent));
        let merged = if let Some(from) = circle {
            let names: Vec<String> =
                chain[from..].iter().chain([&parent]).map(|path| path.display().to_string()).collect();
            let message = format!("`extends` is circular: {}", names.join(" -> "));
            self.complain(Diagnostic::error(Code::Extends, &extends.at, message));
            None
        } else {
            self.extended(&parent, chain).map(|parent| over(&node, &parent, keys::merge))
        };
        chain.pop();
        merged.filter(|_| sound)
    }

    /// The file that a text names, relative to the file that contains the text.
    pub(super) fn target(&mut self, node: &Node, code: Code) -> Option<PathBuf> {
        let wrong = match node.text() {
            None => Some(("expected the path of a file".to_owned(), String::new())),
            Some(text) if template::is_template(text) => Some((
                "the path of a file cannot be a template".to_owned(),
                "write the path itself, or use `when` on several steps".to_owned(),
            )),
            Some(_) => None,
        };
        if let Some((message, help)) = wrong {
            self.complain(Diagnostic::error(code, &node.at, message).help(help));
            return None;
        }
        let folder = node.at.path().parent().unwrap_or(Path::new(""));
        let path = tidy(&folder.join(node.text().unwrap_or_default()));
        if self.texts.contains_key(&path) || self.files.contains_key(&path) || path.is_file() {
            return Some(path);
        }
        let message = format!("there is no file `{}`", path.display());
        let help = match similar(folder, node.text().unwrap_or_default()) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => "the path is relative to the file that contains it".to_owned(),
        };
        self.complain(Diagnostic::error(code, &node.at, message).help(help));
        None
    }

    /// Checks the keys of a scenario file and the types of its sections.
    fn shape(&mut self, node: &Node) -> bool {
        let before = self.diagnostics.errors_added();
        if !matches!(node.kind, Kind::Map(_)) {
            let message = format!("a scenario file is a map, not {}", node.what());
            let help = match node.kind {
                Kind::Seq(_) => "put the steps under `steps:`, and the VMs under `vms:`",
                _ => "write `vms: …` and `steps: …`",
            };
            self.complain(Diagnostic::error(Code::WrongValue, &node.at, message).help(help));
            return false;
        }
        for (key, value) in node.entries() {
            let Some(known) = KEYS.iter().find(|known| known.name == key.name) else {
                let wrong = unknown_key(key, &keys::names().collect::<Vec<_>>());
                self.complain(match indentation(node, key) {
                    Some(help) => wrong.help(help),
                    None => wrong,
                });
                continue;
            };
            let (expected, help) = match (known.shape, &value.kind) {
                (Shape::Map, kind) if !matches!(kind, Kind::Map(_)) => {
                    ("a map", format!("write `{}: {{NAME: …}}`", key.name))
                }
                (Shape::Steps, kind) if !matches!(kind, Kind::Seq(_)) => {
                    ("a list of steps", "start each step with `- `".to_owned())
                }
                _ => continue,
            };
            let message = format!("`{}` is {expected}, not {}", key.name, value.what());
            self.complain(Diagnostic::error(Code::WrongValue, &value.at, message).help(help));
        }
        super::lists::check(node.get("vms"), &mut self.diagnostics);
        self.diagnostics.errors_added() == before
    }

    /// Collects the variables that a file's templates use, so that a case does not have the whole environment.
    fn note_environment(&mut self, at: &Location) {
        static NAME: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"env\.([A-Za-z_][A-Za-z0-9_]*)").ok());
        let names = NAME.iter().flat_map(|regex| regex.captures_iter(&at.file.text));
        for name in names.filter_map(|found| found.get(1)) {
            if let Ok(value) = std::env::var(name.as_str()) {
                self.env.insert(name.as_str().to_owned(), Value::String(value));
            }
        }
    }
}

/// The error for an unknown key.
pub(super) fn unknown_key(key: &Key, known: &[&str]) -> Diagnostic {
    Diagnostic::error(Code::UnknownKey, &key.at, format!("unknown key `{}`", key.name))
        .help(suggest(&key.name, known.iter().copied()))
}

/// The path of a file that exists and is similar to a wrong one.
fn similar(folder: &Path, wrong: &str) -> Option<String> {
    // The same number of levels up, and its files and those one directory below.
    let up = "../".repeat(wrong.matches("../").count());
    let top = match folder.join(&up) {
        top if top.as_os_str().is_empty() => PathBuf::from("."),
        top => top,
    };
    let files = |pattern: &str| glob::glob(&format!("{}/{pattern}", top.display())).into_iter().flatten();
    let files = files("*.y*ml").chain(files("*/*.y*ml")).flatten();
    let files: Vec<String> =
        files.map(|file| format!("{up}{}", file.strip_prefix(&top).unwrap_or(&file).display())).collect();
    let help = suggest(wrong, files.iter().map(String::as_str));
    Some(help.strip_prefix("did you mean `")?.strip_suffix("`?")?.to_owned())
}
