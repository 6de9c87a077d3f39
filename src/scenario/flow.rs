//! Steps that are expanded into other steps: `hook`, `use` and `repeat`. (A `block` is just its list.)

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::path;
use super::later::{AnyStep, Later};
use super::load::unknown_key;
use super::model::Block;
use super::params::{self, Given};
use super::source::origin;
use super::steps::{MAX_STEPS, Place, Steps};
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::step::forms::{forms, read};
use crate::step::{DEFAULT_TIMEOUT, Misfit, Read, Rule, Wait};
use crate::template::Origins;
use crate::units::Span;
use crate::yaml::{Key, Kind, Node};

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

/// The keys of a file for `use`.
pub(super) const KEYS_OF_USED: &[&str] = &["params", "steps", "description"];

forms! {
    /// A loop.
    pub(crate) enum Repeat;

    Times {
        /// The number of rounds.
        times: usize,
        /// A name for the number of the round, counted from 1.
        index: Option<String>,
        /// The steps to repeat.
        steps: Later<Vec<AnyStep>>,
    }
    Over {
        /// The values: one round for each.
        over: Vec<Value>,
        /// With `over`: the name of the loop variable.
        r#as: String,
        /// See [`Times`].
        index: Option<String>,
        /// See [`Times`].
        steps: Later<Vec<AnyStep>>,
    }
    Until {
        /// A condition as in `wait`, checked after each round. The step's `timeout` is the loop's.
        until: Later<Wait>,
        /// See [`Times`].
        index: Option<String>,
        /// See [`Times`].
        steps: Later<Vec<AnyStep>>,
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
    /// The steps of the scenario for a hook; empty if it has none.
    pub(super) fn hook(
        &mut self,
        node: &Node,
        key: &Key,
        value: &Node,
        mut place: Place<'_, '_>,
    ) -> Vec<Block> {
        self.refuse_modifiers(node, &[]);
        let Some(name) = typed::read::<String>(&key.at, value, place.scope, &mut self.loader.diagnostics)
        else {
            return Vec::new();
        };
        self.placed.insert(name.clone());
        let Some(steps) = self.hooks.and_then(|hooks| hooks.get(&name)) else {
            return Vec::new();
        };
        if place.hooks.contains(&name) {
            self.complain(
                Code::Hook,
                &value.at,
                format!("the hook `{name}` contains itself"),
                "remove it from the hook's own steps",
            );
            return Vec::new();
        }
        place.hooks.push(name);
        place.via.insert(0, key.at.clone());
        if place.uses.is_empty() {
            return self.list(steps, &place);
        }
        // The steps belong to the scenario and use its names, wherever the hook is.
        let top = self.top;
        let hidden = top.names().iter().filter(|(name, _)| place.scope.is_round(name));
        let locals = hidden.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.list(steps, &Place { scope: top, locals, ..place })
    }

    /// The steps of another file.
    pub(super) fn used(
        &mut self,
        node: &Node,
        key: &Key,
        value: &Node,
        mut place: Place<'_, '_>,
    ) -> Vec<Block> {
        self.refuse_modifiers(node, &[]);
        self.steps_of_file(key, value, &mut place).map_or_else(Vec::new, |(steps, values, origins)| {
            let scope = place.scope.renamed(self.names_in_file(&place));
            let scope = scope.with(values.clone()).with_origins(&origins);
            self.list(&steps, &Place { scope: &scope, locals: values, ..place })
        })
    }

    /// The names of the case that the steps of another file may use, besides its params.
    fn names_in_file(&self, place: &Place<'_, '_>) -> Map<String, Value> {
        let mut names = place.scope.names().clone();
        names.retain(|name, _| ["case", "disk", "credential", "port", "link"].contains(&name.as_str()));
        names.insert("env".to_owned(), Value::Object(self.loader.env.clone()));
        names
    }

    /// The steps of the file of a `use`, and the values of its params.
    fn steps_of_file(
        &mut self,
        key: &Key,
        value: &Node,
        place: &mut Place<'_, '_>,
    ) -> Option<(Node, Map<String, Value>, Origins)> {
        self.outer::<Use>(key, value, &["file", "with"], place)?;
        let file = value.get("file")?;
        let path = self.loader.target(file, Code::Use)?;
        if place.uses.contains(&path) {
            let names: Vec<String> =
                place.uses.iter().chain([&path]).map(|path| path.display().to_string()).collect();
            let message = format!("`use` is circular: {}", names.join(" -> "));
            self.complain(Code::Use, &file.at, message, "");
            return None;
        }
        let root = self.loader.read(&path)?;
        for (key, _) in root.entries().iter().filter(|(key, _)| !KEYS_OF_USED.contains(&key.name.as_str())) {
            let help = "a file for `use` has `params` and `steps` only";
            self.loader.complain(unknown_key(key, &[]).help(help));
        }
        let Some(steps) = root.get("steps") else {
            let message = format!("`{}` has no `steps`", path.display());
            self.complain(Code::Use, &file.at, message, "");
            return None;
        };
        let with = self.outer_values(value.get("with"), &key.at, place)?;
        let scope = place.scope.renamed(self.names_in_file(place));
        let declared = params::declared(root.get("params"), &mut self.loader.diagnostics);
        params::check_with(Some(&with), &declared, &mut self.loader.diagnostics);
        self.loader.unused.params(&root, &declared);
        let given = Given { with: Some(&with), cell: &[], defines: &[], user: &key.at };
        let (values, origins) = params::resolve(&declared, &given, &scope, &mut self.loader.diagnostics)?;
        place.uses.push(path);
        place.via.insert(0, key.at.clone());
        Some((steps.clone(), values, origins))
    }

    /// Reads a `use` or a `repeat`, but not what is read `later`.
    fn outer<T: Read>(
        &mut self,
        key: &Key,
        value: &Node,
        later: &[&str],
        place: &Place<'_, '_>,
    ) -> Option<T> {
        typed::read_outer(&key.at, value, later, place.scope, &mut self.loader.diagnostics)
    }

    /// `with`, rendered with the names of the using file; each value keeps its place.
    fn outer_values(&mut self, with: Option<&Node>, user: &Location, place: &Place<'_, '_>) -> Option<Node> {
        let mut entries = Vec::new();
        let Some(with) = with else {
            return Some(Node::map(entries, user.clone()));
        };
        if !matches!(with.kind, Kind::Map(_)) {
            let message = format!("`with` is a map, not {}", with.what());
            self.complain(Code::WrongValue, &with.at, message, "");
            return None;
        }
        for (key, value) in with.entries() {
            let rendered = typed::render_now(value, place.scope, &mut self.loader.diagnostics)?;
            let at = origin(value, place.scope, place.scope.origins());
            entries.push((key.clone(), Node::of_value(&typed::escaped(rendered), &at)));
        }
        Some(Node::map(entries, with.at.clone()))
    }

    /// A loop: unrolled, or kept if it has `until`.
    pub(super) fn repeat(
        &mut self,
        node: &Node,
        key: &Key,
        value: &Node,
        place: Place<'_, '_>,
    ) -> Vec<Block> {
        let Some(value) = self.solid(value, &place) else {
            return Vec::new();
        };
        let Some(repeat) = self.outer::<Repeat>(key, &value, &["until", "steps"], &place) else {
            return Vec::new();
        };
        let Some(steps) = value.get("steps").filter(|_| self.check_names(&repeat, key, &value)) else {
            return Vec::new();
        };
        let mut inner = place.clone();
        inner.via.insert(0, key.at.clone());
        if !matches!(repeat, Repeat::Until(_)) {
            self.refuse_modifiers(node, &[]);
        }
        match repeat {
            Repeat::Until(Until { index, .. }) => self.until(node, key, (&value, index), steps, inner),
            Repeat::Times(Times { mut times, index, .. }) => {
                if times > MAX_STEPS {
                    let message = format!("a case has at most {MAX_STEPS} steps");
                    let at = typed::place(&key.at, &value, &["times".to_owned()]).0;
                    self.complain(Code::TooMuch, &at, message, "use fewer rounds");
                    times = 1;
                }
                if times == 0 {
                    // Never run, but checked.
                    self.round(steps, &inner, numbered(&index, 1));
                }
                let rounds = (1..=times).map(|number| numbered(&index, number));
                self.rounds(&key.at, steps, &inner, rounds)
            }
            Repeat::Over(Over { over, r#as, index, .. }) => {
                let rounds = over.into_iter().enumerate().map(|(at, item)| {
                    let mut names = numbered(&index, at + 1);
                    names.push((r#as.clone(), item));
                    names
                });
                self.rounds(&key.at, steps, &inner, rounds)
            }
        }
    }

    /// Checks the names that a loop gives to its steps; returns whether they can be used.
    fn check_names(&mut self, repeat: &Repeat, key: &Key, value: &Node) -> bool {
        let mut known: Option<&String> = None;
        repeat.names().all(|(of, name)| {
            let at = typed::place(&key.at, value, &[of.to_owned()]).0;
            if known == Some(name) {
                let message = format!("`as` and `index` have the same name `{name}`");
                self.complain(Code::WrongValue, &at, message, "give them different names");
                return false;
            }
            known = Some(name);
            params::check_name(&Key { name: name.clone(), at }, &mut self.loader.diagnostics)
        })
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
        node: &Node,
        key: &Key,
        (value, index): (&Node, Option<String>),
        steps: &Node,
        mut place: Place<'_, '_>,
    ) -> Vec<Block> {
        let Some(how) = value.get("until") else {
            return Vec::new();
        };
        self.refuse_modifiers(node, &["timeout"]);
        let timeout = match node.entry("timeout") {
            Some((at, value)) => {
                typed::read::<Span>(&at.at, value, place.scope, &mut self.loader.diagnostics)
                    .unwrap_or(DEFAULT_TIMEOUT)
            }
            None => DEFAULT_TIMEOUT,
        };
        let when = std::mem::take(&mut place.when);
        let wait = Key { name: "wait".to_owned(), at: how.at.clone() };
        let whole = Node::map(vec![(wait.clone(), how.clone())], how.at.clone());
        let scope = index.as_deref().map(|index| place.scope.with_round(index));
        let mut inner = Place { scope: scope.as_ref().unwrap_or(place.scope), ..place.clone() };
        index.iter().for_each(|index| _ = inner.locals.remove(index));
        let until = self.step(&whole, &wait, how, inner.clone());
        let steps = self.list(steps, &inner);
        let block = until.map(|until| Block::RepeatUntil {
            at: key.at.clone(),
            until: Box::new(until),
            timeout,
            when,
            index,
            steps,
        });
        block.into_iter().collect()
    }

    /// A step that is expanded before the run has no result, no error and no duration.
    pub(super) fn refuse_modifiers(&mut self, node: &Node, but: &[&str]) {
        let refused = ["timeout", "capture", "expect_error"];
        for (key, _) in node.entries() {
            let name = key.name.as_str();
            if refused.contains(&name) && !but.contains(&name) {
                let message = format!("`{name}` is not allowed on a step that expands to other steps");
                let diagnostic = Diagnostic::error(Code::Step, &key.at, message);
                self.loader.complain(diagnostic.help("put it on those steps"));
            }
        }
    }
}

/// The number of a round by the loop's `index`.
fn numbered(index: &Option<String>, number: usize) -> Vec<(String, Value)> {
    index.iter().map(|name| (name.clone(), Value::from(number))).collect()
}
