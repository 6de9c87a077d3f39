//! Handlebars in the scalars of a scenario: strict, without escaping, and type-preserving.
//!
//! A scalar that is a single expression keeps the JSON type of its value; any other becomes text. An unknown name is
//! an error, even as a parameter of a helper or in a branch that is not taken. If a value is only known when a step
//! runs (`run.…`, `case.dir`, `port.…`, `link.…`, the version of a binary that was not probed), the whole scalar is
//! deferred: it stays text until then.

mod alias;
mod arithmetic;
mod helpers;
mod names;
mod origins;
mod reserved;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, Output, RenderContext, RenderError, RenderErrorReason,
    Renderable, ScopedJson, Template, TemplateErrorReason,
};
use serde_json::{Map, Value};

use arithmetic::{add, div, mul, round, sub};
use helpers::{Function, Of, append, as_text, choose, json_helper, pick, same};

pub use alias::with_aliases;
pub use helpers::is_true;
pub use origins::{Origins, only_name};
pub use reserved::is_reserved;

/// The helpers of Handlebars and those that need more than their values, with the number of values each takes.
const HELPERS: &[(&str, RangeInclusive<usize>)] = &[
    ("eq", 2..=2),
    ("ne", 2..=2),
    ("lt", 2..=2),
    ("lte", 2..=2),
    ("gt", 2..=2),
    ("gte", 2..=2),
    ("and", 2..=16),
    ("or", 2..=16),
    ("not", 1..=1),
    ("len", 1..=1),
    ("version", 1..=1),
    ("if", 1..=1),
    ("unless", 1..=1),
    ("each", 1..=1),
    (JSON, 1..=1),
];

/// The helpers whose value is a function of the values that each takes. Without values, `{{round}}` is a name.
const FUNCTIONS: &[(&str, RangeInclusive<usize>, Function)] = &[
    ("pick", 3..=16, |values| Ok(pick(values))),
    ("choose", 3..=3, |values| Ok(choose(values))),
    ("append", 2..=16, |values| Ok(append(values))),
    ("add", 2..=16, add),
    ("sub", 2..=2, sub),
    ("mul", 2..=16, mul),
    ("div", 2..=2, div),
    ("round", 1..=1, round),
    ("text", 1..=1, |values| Ok(as_text(values))),
    (TEXT, 1..=1, |values| Ok(same(values))),
];

/// The names of the helpers.
pub fn helpers() -> impl Iterator<Item = &'static str> {
    let functions = FUNCTIONS.iter().map(|(name, ..)| *name);
    HELPERS.iter().map(|(name, _)| *name).chain(functions).filter(|name| !name.starts_with("__"))
}

/// The helper that writes a value as JSON, to preserve its type.
const JSON: &str = "__json";

/// The helper that returns its parameter; see [`escape`].
const TEXT: &str = "__text";

/// The maximum length and nesting depth of a template, to bound the parser's time and stack.
const MAX_LENGTH: usize = 64 * 1024;
const MAX_NESTING: usize = 24;

/// The maximum size of a rendered template, and the maximum number of values it may read.
const MAX_OUTPUT: usize = 1 << 20;
const MAX_LOOKS: usize = 100_000;

/// Provides the versions of a case's QEMUs.
pub trait Versions: Sync {
    /// The version of the VM's QEMU, or of the case's if no VM is named. `None`: not known (yet).
    fn version(&self, vm: Option<&str>) -> Option<semver::Version>;

    /// Checks that there is a VM of that name.
    ///
    /// # Errors
    /// What is wrong with the name.
    fn check(&self, vm: &str) -> Result<(), String> {
        let _ = vm;
        Ok(())
    }
}

/// Provides no versions.
#[derive(Debug, Clone, Copy)]
pub struct NoVersions;

impl Versions for NoVersions {
    fn version(&self, _: Option<&str>) -> Option<semver::Version> {
        None
    }
}

/// The names that a template may use.
#[derive(Clone)]
pub struct Scope<'a> {
    context: Context,
    versions: &'a dyn Versions,
    /// The names of loop indexes, which are only known in the run; each has the number of the first round here.
    rounds: BTreeSet<String>,
    origins: Origins,
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scope").field(self.context.data()).finish()
    }
}

impl<'a> Scope<'a> {
    /// A scope with the names of a map and a provider of versions. If `run` and `case.dir` are in the map, nothing is
    /// deferred.
    #[must_use]
    pub fn new(names: Map<String, Value>, versions: &'a dyn Versions) -> Self {
        Self {
            context: Context::from(Value::Object(names)),
            versions,
            rounds: BTreeSet::new(),
            origins: Origins::default(),
        }
    }

    /// Adds names, which take precedence.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = (String, Value)>) -> Self {
        let (mut names, mut rounds) = (self.names().clone(), self.rounds.clone());
        let mut origins = Arc::clone(&self.origins);
        for (name, value) in more {
            rounds.remove(&name);
            Arc::make_mut(&mut origins).remove(&name);
            names.insert(name, value);
        }
        Self { rounds, origins, ..Self::new(names, self.versions) }
    }

    /// Adds the name of a loop index that is only known when its steps run.
    #[must_use]
    pub fn with_round(&self, name: &str) -> Self {
        let mut scope = self.with([(name.to_owned(), Value::from(1))]);
        scope.rounds.insert(name.to_owned());
        scope
    }

    /// Replaces the names, keeping the provider of versions.
    #[must_use]
    pub fn renamed(&self, names: Map<String, Value>) -> Self {
        Self::new(names, self.versions)
    }

    /// Replaces the provider of versions.
    #[must_use]
    pub fn with_versions(self, versions: &dyn Versions) -> Scope<'_> {
        let Self { context, rounds, origins, .. } = self;
        Scope { context, versions, rounds, origins }
    }

    /// Whether a name is a loop index.
    #[must_use]
    pub fn is_round(&self, name: &str) -> bool {
        self.rounds.contains(name)
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.context.data().as_object().unwrap_or(&NONE)
    }
}

/// A template that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// How to fix it; may be empty.
    pub help: String,
    /// Whether a name is unknown; else the template itself is invalid.
    pub unknown_name: bool,
}

impl TemplateError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), unknown_name: false }
    }
}

/// The result of rendering a scalar.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendered {
    /// Its value.
    Value(Value),
    /// It uses `run`, `case.dir`, `port` or `link`, and stays text until the step runs.
    Deferred,
    /// It uses a loop index that is only known when the step runs. The value is that of the first round.
    Round(Value),
    /// It uses a version that is not known. The value is computed as if every version range matched.
    Unprobed(Value),
}

/// Whether a text contains a template.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Escapes a text into a template that renders to that text; a text without `{{` needs no escaping.
#[must_use]
pub fn escape(text: &str) -> String {
    if !is_template(text) {
        return text.to_owned();
    }
    let quoted = Value::String(text.to_owned()).to_string();
    format!("{{{{{TEXT} {}}}}}", quoted.replace('{', "\\u007b").replace('}', "\\u007d"))
}

/// The names under `run` that a template uses, each as a path that starts with `run`; empty if the template cannot be
/// parsed.
#[must_use]
pub fn run_names(text: &str) -> Vec<Vec<String>> {
    names_below(text, "run")
}

/// The same for another root.
#[must_use]
pub fn names_below(text: &str, root: &str) -> Vec<Vec<String>> {
    if !is_template(text) || !text.contains(root) {
        return Vec::new();
    }
    match &*compile(text) {
        Ok(compiled) => names::below(&compiled.template, root),
        Err(_) => Vec::new(),
    }
}

/// The first names of all paths of a template; `None` if it is not valid.
pub(crate) fn names(text: &str) -> Option<BTreeSet<String>> {
    compile(text).as_ref().as_ref().ok().map(|compiled| names::roots(&compiled.template))
}

/// Whether a template may use values that are only known when the case runs.
#[must_use]
pub fn is_deferred(text: &str) -> bool {
    let roots = ["run", "port", "link", "disk", "credential", "self"];
    is_template(text)
        && (text.contains("run.")
            || text.contains("case.dir")
            || matches!(&*compile(text), Ok(compiled)
                if roots.iter().any(|root| !names::below(&compiled.template, root).is_empty())))
}

/// The path of a text that is one plain path in braces.
pub(crate) fn only_path(text: &str) -> Option<String> {
    compile(text).as_ref().as_ref().ok()?.path.clone()
}

/// Renders a scalar's text.
///
/// # Errors
/// If it is not a valid template, uses an unknown name, or calls a helper incorrectly.
pub fn render(text: &str, scope: &Scope<'_>) -> Result<Rendered, TemplateError> {
    if !is_template(text) {
        return Ok(Rendered::Value(Value::String(text.to_owned())));
    }
    let compiled = compile(text);
    let compiled = (*compiled).as_ref().map_err(Clone::clone)?;
    let data = scope.context.data();
    if names::check(&compiled.template, data)? {
        return Ok(Rendered::Deferred);
    }
    let names_round = |name: &String| !names::below(&compiled.template, name).is_empty();
    let value = if scope.rounds.iter().any(names_round) { Rendered::Round } else { Rendered::Value };
    if let Some(found) = compiled.path.as_deref().and_then(|path| names::lookup(path, data)) {
        return Ok(value(found.clone()));
    }
    let version = VersionHelper { versions: scope.versions, unknown: AtomicBool::new(false) };
    let template = compiled.json.as_ref().unwrap_or(&compiled.template);
    let text = run(template, &scope.context, &version)?;
    let result = if compiled.json.is_some() {
        serde_json::from_str(&text).map_err(|error| TemplateError::new(error.to_string(), ""))?
    } else {
        Value::String(text)
    };
    Ok(if version.unknown.into_inner() { Rendered::Unprobed(result) } else { value(result) })
}

fn run(template: &Template, context: &Context, version: &VersionHelper<'_>) -> Result<String, TemplateError> {
    let mut rendering = RenderContext::new(None);
    rendering.register_local_helper("version", Box::new(version));
    let mut out = Bounded::default();
    match template.render(&REGISTRY, context, &mut rendering, &mut out) {
        _ if out.full => {
            let message = format!("the template renders to more than {} KiB", MAX_OUTPUT >> 10);
            Err(TemplateError::new(message, ""))
        }
        Ok(()) => Ok(out.text),
        Err(error) => Err(TemplateError::new(error.reason().to_string(), "")),
    }
}

/// A writer limited to [`MAX_OUTPUT`] bytes.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Output for Bounded {
    fn write(&mut self, piece: &str) -> std::io::Result<()> {
        self.full |= self.text.len() + piece.len() > MAX_OUTPUT;
        if self.full {
            return Err(std::io::Error::other("too much"));
        }
        self.text.push_str(piece);
        Ok(())
    }
}

struct Compiled {
    template: Template,
    /// For a single expression: the same as JSON.
    json: Option<Template>,
    /// For a single plain path: the path.
    path: Option<String>,
}

static REGISTRY: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(handlebars::no_escape);
    registry.register_helper(JSON, Box::new(json_helper));
    for (name, _, function) in FUNCTIONS {
        registry.register_helper(name, Box::new(Of(*function)));
    }
    registry
});

/// The maximum number of compiled templates to keep.
const MAX_COMPILED: usize = 100_000;

type Compilation = Arc<Result<Compiled, TemplateError>>;

/// Compiles every text once: a matrix renders the same few hundred scalars thousands of times.
fn compile(text: &str) -> Compilation {
    static CACHE: LazyLock<Mutex<HashMap<String, Compilation>>> = LazyLock::new(Mutex::default);
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = cache.get(text) {
        return Arc::clone(known);
    }
    // Only an editor's server sees so many: a new text with each change.
    if cache.len() >= MAX_COMPILED {
        cache.clear();
    }
    let compiled = Arc::new(compile_uncached(text));
    cache.insert(text.to_owned(), Arc::clone(&compiled));
    compiled
}

fn compile_uncached(text: &str) -> Result<Compiled, TemplateError> {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if text.len() > MAX_LENGTH || deepest > MAX_NESTING || text.matches("{{#").count() > MAX_NESTING {
        return Err(TemplateError::new("the template is too long or too deeply nested", ""));
    }
    let template = Template::compile(text).map_err(|error| {
        let help = "write `{{name}}`, `{{eq name 'value'}}` or `{{#if name}}…{{/if}}`";
        let message = match error.reason() {
            // The parser's own message would name its grammar rules.
            TemplateErrorReason::InvalidSyntax(_) => format!("`{text}` is not a valid template"),
            reason => format!("`{text}` is not a valid template: {reason}"),
        };
        TemplateError::new(message, help)
    })?;
    names::check_helpers(&template)?;
    let path = names::only_path(&template);
    let json = if names::is_one_expression(&template) && path.as_deref().is_none_or(|p| p.starts_with('@')) {
        let inner = text.trim_start_matches('{').trim_end_matches('}');
        let inner = inner.trim_matches('~').trim_start_matches('&').trim();
        Template::compile(&format!("{{{{{JSON} ({inner})}}}}")).ok()
    } else {
        None
    };
    Ok(Compiled { template, json, path })
}

struct VersionHelper<'a> {
    versions: &'a dyn Versions,
    unknown: AtomicBool,
}

impl HelperDef for &VersionHelper<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let wrong = |message: String| RenderError::from(RenderErrorReason::Other(message));
        let range = helper.param(0).map_or(&Value::Null, |param| param.value());
        let range = names::version_range(range).map_err(|error| wrong(error.message))?;
        let vm = helper.hash_get("vm").map(handlebars::PathAndJson::value);
        let vm = match vm {
            None => None,
            Some(Value::String(name)) => {
                self.versions.check(name).map_err(wrong)?;
                Some(name.as_str())
            }
            Some(other) => return Err(wrong(format!("`vm={other}` is not the name of a VM"))),
        };
        let matches = match self.versions.version(vm) {
            // Only numbers count: QEMU's `11.0.92` is a release candidate of 11.1.
            Some(version) => {
                range.matches(&semver::Version::new(version.major, version.minor, version.patch))
            }
            None => {
                self.unknown.store(true, Ordering::Relaxed);
                true
            }
        };
        Ok(ScopedJson::from(Value::Bool(matches)))
    }
}

#[cfg(test)]
mod tests;
