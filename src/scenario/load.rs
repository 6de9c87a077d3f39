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
use super::paths::{same_file, tidy};
use super::shared::Shared;
use super::typed::{Reader, indentation};
use crate::diagnostic::{Code, Diagnostics, Location, similar, suggest};
use crate::template::{self, Scope};
use crate::yaml::{self, Kind, Node};

/// The files of a call, and their diagnostics.
#[derive(Default)]
pub(super) struct Loader {
    /// The files that were read, whether they can be or not.
    pub files: HashMap<PathBuf, Option<Node>>,
    /// Used in place of the files on disk.
    texts: Texts,
    /// The diagnostics so far.
    pub diagnostics: Diagnostics,
    /// The environment variables that a file uses.
    pub env: Map<String, Value>,
    /// The seed of random axes.
    pub seed: u64,
    /// What was read for several cells.
    pub shared: Shared,
    /// The number of steps of all cases so far.
    pub steps: usize,
    /// The declarations, and whether they are used.
    pub unused: Unused,
    /// Whether to merge files with errors, as far as that is possible.
    pub is_lenient: bool,
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

    /// Reads parts of a file.
    pub(super) const fn reader<'r, 'v>(&'r mut self, scope: &'r Scope<'v>) -> Reader<'r, 'v> {
        Reader { scope, diagnostics: &mut self.diagnostics }
    }

    /// Adds the size of a case. Returns false above the maximum, which is reported once, at this place.
    pub(super) fn hold(&mut self, weight: usize, at: &Location) -> bool {
        let before = self.weight;
        self.weight += weight;
        if before <= MAX_WEIGHT && self.weight > MAX_WEIGHT {
            let message = format!("the cases have more than {MAX_WEIGHT} values in total");
            let help = "long texts count as several; make fewer cases, or split the file";
            self.diagnostics.error(Code::TooMuch, at, message, help);
        }
        self.weight <= MAX_WEIGHT
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
        let node = read.map_err(|errors| self.diagnostics.extend(errors)).ok();
        if let Some(node) = &node {
            self.note_environment(&node.at);
        }
        self.files.insert(path.to_owned(), node.clone());
        node
    }

    /// A scenario file merged over everything it extends.
    pub(super) fn scenario(&mut self, path: &Path) -> Option<Node> {
        self.extended(path, &[])
    }

    fn extended(&mut self, path: &Path, above: &[PathBuf]) -> Option<Node> {
        let node = self.read(path)?;
        let sound = self.shape(&node) || self.is_lenient;
        let Some(extends) = node.get("extends") else {
            return Some(node).filter(|_| sound);
        };
        let Some(parent) = self.target(extends, Code::Extends) else {
            return Some(node).filter(|_| self.is_lenient);
        };
        let chain = [above, &[path.to_owned()]].concat();
        if let Some(from) = chain.iter().position(|known| same_file(known, &parent)) {
            let message = format!("`extends` is circular: {}", circle(&chain[from..], &parent));
            self.diagnostics.error(Code::Extends, &extends.at, message, "");
            return None;
        }
        self.extended(&parent, &chain).map(|parent| over(&node, &parent, keys::merge)).filter(|_| sound)
    }

    /// The file that a text names, relative to the file that contains the text.
    pub(super) fn target(&mut self, node: &Node, code: Code) -> Option<PathBuf> {
        let (message, help) = match node.text() {
            None => ("expected the path of a file".to_owned(), String::new()),
            Some(text) if template::is_template(text) => (
                "the path of a file cannot be a template".to_owned(),
                "write the path itself, or use `when` on several steps".to_owned(),
            ),
            Some(text) => {
                let folder = node.at.path().parent().unwrap_or(Path::new(""));
                let path = tidy(&folder.join(text));
                if self.texts.contains_key(&path) || self.files.contains_key(&path) || path.is_file() {
                    return Some(path);
                }
                let help = match similar_file(folder, text) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => "the path is relative to the file that contains it".to_owned(),
                };
                (format!("there is no file `{}`", path.display()), help)
            }
        };
        self.diagnostics.error(code, &node.at, message, help);
        None
    }

    /// Checks the keys of a scenario file and the types of its sections.
    fn shape(&mut self, node: &Node) -> bool {
        let before = self.diagnostics.errors_added();
        if !node.is_map() {
            let help = match node.kind {
                Kind::Seq(_) => "put the steps under `steps:`, and the VMs under `vms:`",
                _ => "write `vms: …` and `steps: …`",
            };
            let message = format!("a scenario file is a map, not {}", node.what());
            self.diagnostics.error(Code::WrongValue, &node.at, message, help);
            return false;
        }
        for (key, value) in node.entries() {
            let Some(known) = KEYS.iter().find(|known| known.name == key.name) else {
                let help = indentation(node, key).unwrap_or_else(|| suggest(&key.name, keys::names()));
                let message = format!("unknown key `{}`", key.name);
                self.diagnostics.error(Code::UnknownKey, &key.at, message, help);
                continue;
            };
            let (expected, help) = match (known.shape, &value.kind) {
                (Shape::Any, _) | (Shape::Map, Kind::Map(_)) | (Shape::Steps, Kind::Seq(_)) => continue,
                (Shape::Map, _) => ("a map", format!("write `{}: {{NAME: …}}`", key.name)),
                (Shape::Steps, _) => ("a list of steps", "start each step with `- `".to_owned()),
            };
            let message = format!("`{}` is {expected}, not {}", key.name, value.what());
            self.diagnostics.error(Code::WrongValue, &value.at, message, help);
        }
        super::merge::check_lists(node, &mut self.diagnostics);
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

/// The names of files that lead to themselves: `a -> b -> a`.
pub(super) fn circle(chain: &[PathBuf], again: &Path) -> String {
    let names = chain.iter().map(PathBuf::as_path).chain([again]);
    names.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" -> ")
}

/// The path of a file that exists and is similar to a wrong one.
fn similar_file(folder: &Path, wrong: &str) -> Option<String> {
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
    similar(wrong, &files.iter().map(String::as_str).collect::<Vec<_>>()).map(str::to_owned)
}
