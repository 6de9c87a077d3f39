//! Steps that are expanded into other steps: `hook`, `use`, `repeat` and `parallel`. (A `block` is just its list.)

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::path;
use super::later::Later;
use super::load::circle;
use super::model::Block;
use super::names;
use super::params::{self, Given};
use super::steps::{MAX_STEPS, Place, Steps, Written};
use super::typed::{self, Reader, origin};
use crate::diagnostic::{Code, Location};
use crate::step::forms::{forms, read};
use crate::step::{DEFAULT_TIMEOUT, Misfit, Read, Rule, Step, Wait};
use crate::template;
use crate::yaml::{Key, Node};

/// The steps of another file, which has `params` and `steps` only.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    /// The file, relative to this one.
    #[serde(rename = "file")]
    #[schemars(schema_with = "path")]
    _file: Later<String>,
    /// Values for its params.
    #[serde(rename = "with")]
    _with: Option<Later<Map<String, Value>>>,
}

/// Modifiers that are not allowed on steps that expand to other steps: these have no timeout, result or error of their own.
pub(crate) const NOT_WITH_FLOW: &[&str] = &["timeout", "capture", "expect_error"];

/// The keys of a file for `use`.
pub(super) const KEYS_OF_USED: &[&str] = &["params", "steps", "description"];

/// The names of a case that the steps of a used file may use, besides `run`.
const NAMES_OF_THE_CASE: [&str; 5] = ["case", "disk", "credential", "port", "link"];

/// Whether a path begins with a name of the case.
fn is_of_the_case(path: &str) -> bool {
    path.split('.').next().is_some_and(|root| root == "run" || NAMES_OF_THE_CASE.contains(&root))
}

forms! {
    /// A loop.
    pub(crate) enum Repeat;

    Times {
        /// The number of rounds.
        times: usize,
        /// A name for the number of the round, counted from 1.
        index: Option<String>,
        /// The steps to repeat.
        steps: Later<Vec<Step>>,
    }
    Over {
        /// The values: one round for each.
        over: Vec<Value>,
        /// With `over`: the name of the loop variable.
        r#as: String,
        /// See [`Times`].
        index: Option<String>,
        /// See [`Times`].
        steps: Later<Vec<Step>>,
    }
    Until {
        /// A condition as in `wait`, checked after each round. The step's `timeout` is the loop's.
        until: Later<Wait>,
        /// See [`Times`].
        index: Option<String>,
        /// See [`Times`].
        steps: Later<Vec<Step>>,
    }
}

impl Repeat {
    pub(crate) const RULES: &[Rule] = &[
        Rule::OneForm {
            forms: Self::FORMS,
            none: (
                "the loop has no `times`, `over` or `until`",
                "add `times: N`, `over: […]` with `as: NAME`, or `until: {…}`",
            ),
            both: "keep one of them",
        },
        Rule::Needs {
            key: "over",
            any: &["as"],
            none: (
                "`over` needs `as`, the name of the loop variable",
                "write `over: […], as: NAME`, and `{{NAME}}` in the steps",
            ),
        },
    ];

    /// The names that its steps may use.
    fn names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let (Self::Times(Times { index, .. })
        | Self::Over(Over { index, .. })
        | Self::Until(Until { index, .. })) = self;
        let variable = if let Self::Over(Over { r#as, .. }) = self { Some(("as", r#as)) } else { None };
        index.iter().map(|index| ("index", index)).chain(variable)
    }
}

impl Read for Repeat {
    fn read(value: &Value) -> Result<Self, Misfit> {
        read(Self::FORMS, Self::READERS, Self::RULES, &[], value)
    }
}

impl Steps<'_, '_, '_> {
    /// The steps of the scenario for a hook, if it has any.
    pub(super) fn hook(&mut self, written: Written<'_>, mut place: Place<'_, '_>) -> Option<Vec<Block>> {
        let Written { node, key, value } = written;
        self.refuse_modifiers(node, &[]);
        let name: String = self.reader(place.scope).read(&key.at, value)?;
        self.placed.insert(name.clone());
        let (top, root) = (self.top, self.root);
        let steps = root.get("hooks")?.get(&name)?;
        if place.hooks.contains(&name) {
            let message = format!("the hook `{name}` contains itself");
            self.complain(Code::Hook, &value.at, message, "remove it from the hook's own steps");
            return None;
        }
        place.hooks.push(name);
        place.via.insert(0, key.at.clone());
        if place.uses.is_empty() {
            return Some(self.list(steps, &place));
        }
        // The steps belong to the scenario and use its names, wherever the hook is.
        let hidden = top.names().iter().filter(|(name, _)| place.scope.is_round(name));
        let locals = hidden.map(|(name, value)| (name.clone(), value.clone())).collect();
        Some(self.list(steps, &Place { scope: top, locals, ..place }))
    }

    /// The steps of another file.
    pub(super) fn used(&mut self, written: Written<'_>, mut place: Place<'_, '_>) -> Option<Vec<Block>> {
        let Written { node, key, value } = written;
        self.refuse_modifiers(node, &[]);
        self.reader(place.scope).read_outer::<Use>(&key.at, value, &["file", "with"])?;
        let file = value.get("file")?;
        let path = self.loader.target(file, Code::Use)?;
        if place.uses.contains(&path) {
            let message = format!("`use` is circular: {}", circle(&place.uses, &path));
            self.complain(Code::Use, &file.at, message, "");
            return None;
        }
        let root = self.loader.read(&path)?;
        for (key, _) in root.entries().iter().filter(|(key, _)| !KEYS_OF_USED.contains(&key.name.as_str())) {
            let help = "a file for `use` has `params` and `steps` only";
            self.complain(Code::UnknownKey, &key.at, format!("unknown key `{}`", key.name), help);
        }
        if root.get("steps").is_none() {
            let message = format!("`{}` has no `steps`", path.display());
            self.complain(Code::Use, &file.at, message, "");
            return None;
        }
        let (with, aliases) = self.outer_values(value.get("with"), &key.at, &place)?;
        // Its steps may use some names of the case, and its params.
        let mut names = place.scope.names().clone();
        names.retain(|name, _| NAMES_OF_THE_CASE.contains(&name.as_str()));
        names.insert("env".to_owned(), Value::Object(self.loader.env.clone()));
        let scope = place.scope.renamed(names);
        // Without aliases it stays the same tree, whose constant steps are known.
        let aliased = match aliases.is_empty() {
            true => Node::clone(&root),
            false => root.map_texts(&|text| template::with_aliases(text, &aliases)),
        };
        let steps = aliased.get("steps")?;
        let declared = params::declared(&aliased, &mut self.loader.diagnostics);
        params::check_with(value, &declared, &mut self.loader.diagnostics);
        self.loader.unused.params(&root, &declared);
        let (late, declared): (Vec<_>, Vec<_>) =
            declared.into_iter().partition(|param| aliases.contains_key(&param.name));
        if let Some(limited) = late.iter().find(|param| param.is_limited()) {
            let message =
                format!("`{}` has `one_of`, so its value must be known before the run", limited.name);
            let at = value.get("with").map_or(&key.at, |with| with.place_of(&limited.name));
            self.complain(Code::Deferred, at, message, "remove `one_of` from the parameter");
            return None;
        }
        let given = Given { with: Some(&with), cell: &[], defines: &[], user: &key.at };
        let (values, scope) = params::resolve(&declared, &given, &mut self.reader(&scope))?;
        place.uses.push(path);
        place.via.insert(0, key.at.clone());
        Some(self.list(steps, &Place { scope: &scope, locals: values, ..place }))
    }

    /// `with`, rendered with the names of the using file; each value keeps its place. What is only known in the run must
    /// be a name of the case, which the parameter stands for.
    fn outer_values(
        &mut self,
        with: Option<&Node>,
        user: &Location,
        place: &Place<'_, '_>,
    ) -> Option<(Node, BTreeMap<String, String>)> {
        let (mut entries, mut aliases) = (Vec::new(), BTreeMap::new());
        let Some(with) = with else {
            return Some((Node::map(entries, user.clone()), aliases));
        };
        if !with.is_map() {
            let message = format!("`with` is a map, not {}", with.what());
            self.complain(Code::WrongValue, &with.at, message, "");
            return None;
        }
        for (key, value) in with.entries() {
            let piece = self.reader(place.scope).render(value)?;
            let path = value.text().filter(|_| piece.deferred.is_some()).and_then(template::only_path);
            if let Some(path) = path.filter(|path| is_of_the_case(path)) {
                aliases.insert(key.name.clone(), path);
                continue;
            }
            let help =
                "write one name alone, such as `{{port.NAME}}`; the used file can put it into a longer text";
            let rendered = self.reader(place.scope).known(piece, help)?;
            let at = origin(value, place.scope);
            entries.push((key.clone(), Node::of_value(&typed::escaped(rendered), &at)));
        }
        Some((Node::map(entries, with.at.clone()), aliases))
    }

    /// A loop: unrolled, or kept if it has `until`.
    pub(super) fn repeat(&mut self, written: Written<'_>, place: Place<'_, '_>) -> Option<Vec<Block>> {
        let Written { node, key, value } = written;
        let value = &self.solid(value, &place)?;
        let mut reader = self.reader(place.scope);
        let repeat: Repeat = reader.read_outer(&key.at, value, &["until", "steps"])?;
        let is_valid = check_names(&repeat, key, value, &mut reader);
        let steps = value.get("steps").filter(|_| is_valid)?;
        let mut inner = place.clone();
        inner.via.insert(0, key.at.clone());
        if !matches!(repeat, Repeat::Until(_)) {
            self.refuse_modifiers(node, &[]);
        }
        match repeat {
            Repeat::Until(Until { index, .. }) => {
                self.until(Written { value, ..written }, index, steps, inner).map(|block| vec![block])
            }
            Repeat::Times(Times { mut times, index, .. }) => {
                if times > MAX_STEPS {
                    let message = format!("a case has at most {MAX_STEPS} steps");
                    let at = typed::place(&key.at, value, &["times"]).0;
                    self.complain(Code::TooMuch, &at, message, "use fewer rounds");
                    times = 1;
                }
                if times == 0 {
                    // Never run, but checked.
                    self.round(steps, &inner, numbered(&index, 1));
                }
                let rounds = (1..=times).map(|number| numbered(&index, number));
                Some(self.rounds(&key.at, steps, &inner, rounds))
            }
            Repeat::Over(Over { over, r#as, index, .. }) => {
                let rounds = over.into_iter().enumerate().map(|(at, item)| {
                    let mut names = numbered(&index, at + 1);
                    names.push((r#as.clone(), item));
                    names
                });
                Some(self.rounds(&key.at, steps, &inner, rounds))
            }
        }
    }

    /// The steps of all rounds of a loop, each round with its own names.
    fn rounds(
        &mut self,
        at: &Location,
        steps: &Node,
        place: &Place<'_, '_>,
        rounds: impl Iterator<Item = Vec<(String, Value)>>,
    ) -> Vec<Block> {
        let mut blocks = Vec::new();
        for names in rounds {
            if !self.count(at) {
                break;
            }
            blocks.extend(self.round(steps, place, names));
        }
        blocks
    }

    /// The steps of one round of a loop, with the round's own names.
    fn round(&mut self, steps: &Node, place: &Place<'_, '_>, names: Vec<(String, Value)>) -> Vec<Block> {
        let scope = place.scope.with(names.clone());
        let mut inner = Place { scope: &scope, ..place.clone() };
        inner.locals.extend(names);
        self.list(steps, &inner)
    }

    fn until(
        &mut self,
        Written { node, key, value }: Written<'_>,
        index: Option<String>,
        steps: &Node,
        mut place: Place<'_, '_>,
    ) -> Option<Block> {
        let how = value.get("until")?;
        self.refuse_modifiers(node, &["timeout"]);
        let timeout = self.reader(place.scope).read_key(node, "timeout").unwrap_or(DEFAULT_TIMEOUT);
        let when = std::mem::take(&mut place.when);
        let wait = &Key { name: "wait".to_owned(), at: how.at.clone() };
        let whole = &Node::map(vec![(wait.clone(), how.clone())], how.at.clone());
        let scope = index.as_deref().map(|index| place.scope.with_round(index));
        let mut inner = Place { scope: scope.as_ref().unwrap_or(place.scope), ..place.clone() };
        index.iter().for_each(|index| _ = inner.locals.remove(index));
        let until = self.step(Written { node: whole, key: wait, value: how }, inner.clone());
        let steps = self.list(steps, &inner);
        let (at, until) = (key.at.clone(), Box::new(until?));
        Some(Block::RepeatUntil { at, until, timeout, when, index, steps })
    }

    /// Steps that run at the same time.
    pub(super) fn parallel(&mut self, written: Written<'_>, mut place: Place<'_, '_>) -> Option<Block> {
        let Written { node, key, value } = written;
        self.refuse_modifiers(node, &[]);
        let value = &self.solid(value, &place)?;
        let wrong = match value.entries() {
            _ if !value.is_map() => format!("expected a map of branches, not {}", value.what()),
            [] => "`parallel` has no branches".to_owned(),
            _ => String::new(),
        };
        if !wrong.is_empty() {
            self.complain(Code::WrongValue, &value.at, wrong, "write `parallel: {NAME: […], NAME: […]}`");
            return None;
        }
        place.via.insert(0, key.at.clone());
        let when = std::mem::take(&mut place.when);
        let mut branches = Vec::new();
        for (name, steps) in value.entries() {
            names::BRANCH.check(name, &mut self.loader.diagnostics);
            branches.push((name.name.clone(), self.list(steps, &place)));
        }
        let Place { groups, locals, .. } = place;
        Some(Block::Parallel { at: key.at.clone(), when, groups, locals, branches })
    }

    /// Reports the modifiers of [`NOT_WITH_FLOW`], except some.
    pub(super) fn refuse_modifiers(&mut self, node: &Node, but: &[&str]) {
        for (key, _) in node.entries() {
            let name = key.name.as_str();
            if NOT_WITH_FLOW.contains(&name) && !but.contains(&name) {
                let message = format!("`{name}` is not allowed on a step that expands to other steps");
                self.complain(Code::Step, &key.at, message, "put it on those steps");
            }
        }
    }
}

/// Checks the names that a loop gives to its steps; returns whether they can be used.
fn check_names(repeat: &Repeat, key: &Key, value: &Node, reader: &mut Reader<'_, '_>) -> bool {
    let mut known: Option<&String> = None;
    repeat.names().all(|(of, name)| {
        let at = typed::place(&key.at, value, &[of]).0;
        if known == Some(name) {
            let message = format!("`as` and `index` have the same name `{name}`");
            reader.error(Code::WrongValue, &at, message, "give them different names");
            return false;
        }
        known = Some(name);
        params::check_name(&Key { name: name.clone(), at }, reader.diagnostics)
    })
}

/// The number of a round by the loop's `index`.
fn numbered(index: &Option<String>, number: usize) -> Vec<(String, Value)> {
    index.iter().map(|name| (name.clone(), Value::from(number))).collect()
}
