//! Steps that are expanded into other steps: `hook`, `use` and `repeat`. (A `block` is just its list.)

use serde_json::Value;

use super::load::unknown_key;
use super::model::Block;
use super::params::{self, Given};
use super::source::{Key, Kind, Node};
use super::steps::{MAX_STEPS, Place, Steps};
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Location};
use crate::step::DEFAULT_TIMEOUT;
use crate::units::Span;

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
        let Some(value) = self.map_of(key, value, &["file", "with"], "use: {file: steps.yaml}") else {
            return Vec::new();
        };
        let Some((_, file)) = value.entry("file") else {
            self.complain(
                Code::MissingKey,
                &key.at,
                "the key `file` is missing",
                "write `use: {file: steps.yaml}`",
            );
            return Vec::new();
        };
        let Some(path) = self.loader.target(file, Code::Use) else {
            return Vec::new();
        };
        if place.uses.contains(&path) {
            let names: Vec<String> =
                place.uses.iter().chain([&path]).map(|path| path.display().to_string()).collect();
            let message = format!("`use` is circular: {}", names.join(" -> "));
            self.complain(Code::Use, &file.at, message, "");
            return Vec::new();
        }
        let Some(root) = self.loader.read(&path) else {
            return Vec::new();
        };
        for (key, _) in root.entries() {
            if !["params", "steps", "description"].contains(&key.name.as_str()) {
                let help = "a file for `use` has `params` and `steps` only";
                self.loader.complain(unknown_key(key, &[]).help(help));
            }
        }
        let Some(steps) = root.get("steps") else {
            let message = format!("`{}` has no `steps`", path.display());
            self.complain(Code::Use, &file.at, message, "");
            return Vec::new();
        };
        let Some(with) = self.outer_values(value.get("with"), &key.at, &place) else {
            return Vec::new();
        };
        let declared = params::declared(root.get("params"), &mut self.loader.diagnostics);
        params::check_with(Some(&with), &declared, &mut self.loader.diagnostics);
        let mut names = place.scope.names().clone();
        names.retain(|name, _| ["case", "disk", "credential", "port", "link"].contains(&name.as_str()));
        names.insert("env".to_owned(), Value::Object(self.loader.env.clone()));
        let scope = place.scope.renamed(names);
        let given = Given { with: Some(&with), cell: &[], defines: &[], user: &key.at };
        let Some(values) = params::resolve(&declared, &given, &scope, &mut self.loader.diagnostics) else {
            return Vec::new();
        };
        place.uses.push(path);
        place.via.insert(0, key.at.clone());
        let scope = scope.with(values.clone());
        self.list(steps, &Place { scope: &scope, locals: values, ..place })
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
            entries.push((key.clone(), Node::of_value(&typed::escaped(rendered), &value.at)));
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
        let known = ["times", "over", "as", "index", "until", "steps"];
        let example = "repeat: {times: 3, steps: […]}";
        let Some(value) = self.map_of(key, value, &known, example) else {
            return Vec::new();
        };
        let Some((_, steps)) = value.entry("steps") else {
            self.complain(
                Code::MissingKey,
                &key.at,
                "the key `steps` is missing",
                format!("write `{example}`"),
            );
            return Vec::new();
        };
        let Some((kind, how)) = self.kind_of_loop(key, &value) else {
            return Vec::new();
        };
        if let (Some((name, _)), "times" | "until") = (value.entry("as"), kind.name.as_str()) {
            self.complain(
                Code::WrongValue,
                &name.at,
                format!("`as` cannot be used with `{}`", kind.name),
                "use it with `over`",
            );
        }
        let mut inner = place.clone();
        inner.via.insert(0, key.at.clone());
        match kind.name.as_str() {
            "until" => match self.index(&value, &inner) {
                Some(index) => self.until(node, key, (how, index), steps, inner),
                None => Vec::new(),
            },
            "over" => {
                self.refuse_modifiers(node, &[]);
                self.over(&value, kind, how, steps, &inner)
            }
            _ => {
                self.refuse_modifiers(node, &[]);
                self.times(&value, (kind, how), (key, steps), &inner)
            }
        }
    }

    /// What determines the number of rounds of a loop: its `times`, `over` or `until`.
    fn kind_of_loop<'n>(&mut self, key: &Key, value: &'n Node) -> Option<&'n (Key, Node)> {
        let kinds: Vec<&(Key, Node)> =
            ["times", "over", "until"].iter().filter_map(|kind| value.entry(kind)).collect();
        match kinds.as_slice() {
            [one] => Some(one),
            [] => {
                let help = "add `times: N`, `over: […]` with `as: NAME`, or `until: {…}`";
                self.complain(Code::MissingKey, &key.at, "the loop has no `times`, `over` or `until`", help);
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!(
                    "a loop takes one of `times`, `over` and `until`, not `{}` and `{}`",
                    first.name, second.name
                );
                self.complain(Code::WrongValue, &second.at, message, "keep one of them");
                None
            }
        }
    }

    fn times(
        &mut self,
        value: &Node,
        (kind, how): (&Key, &Node),
        (key, steps): (&Key, &Node),
        place: &Place<'_, '_>,
    ) -> Vec<Block> {
        let times = typed::read::<usize>(&kind.at, how, place.scope, &mut self.loader.diagnostics);
        let mut times = times.unwrap_or(1);
        if times > MAX_STEPS {
            let message = format!("a case has at most {MAX_STEPS} steps");
            self.complain(Code::TooMuch, &how.at, message, "use fewer rounds");
            times = 1;
        }
        let Some(index) = self.index(value, place) else {
            return Vec::new();
        };
        let mut blocks = Vec::new();
        for number in 1..=times {
            if !self.count(&key.at) {
                break;
            }
            blocks.extend(self.round(steps, place, numbered(&index, number)));
        }
        if times == 0 {
            // Never run, but checked.
            self.round(steps, place, numbered(&index, 1));
        }
        blocks
    }

    fn over(
        &mut self,
        value: &Node,
        kind: &Key,
        how: &Node,
        steps: &Node,
        place: &Place<'_, '_>,
    ) -> Vec<Block> {
        let Some((name_key, name)) = value.entry("as") else {
            let help = "write `over: […], as: NAME`, and `{{NAME}}` in the steps";
            self.complain(
                Code::MissingKey,
                &kind.at,
                "`over` needs `as`, the name of the loop variable",
                help,
            );
            return Vec::new();
        };
        let diagnostics = &mut self.loader.diagnostics;
        let Some(variable) = typed::read::<String>(&name_key.at, name, place.scope, diagnostics) else {
            return Vec::new();
        };
        let as_key = Key { name: variable.clone(), at: name.at.clone() };
        let usable = params::check_name(&as_key, diagnostics);
        let values = match typed::render_now(how, place.scope, diagnostics) {
            Some(Value::Array(values)) if usable => values,
            Some(Value::Array(_)) | None => return Vec::new(),
            Some(_) => {
                self.complain(
                    Code::WrongValue,
                    &how.at,
                    format!("`over` takes a list, not {}", how.what()),
                    "write `over: [first, second]`",
                );
                return Vec::new();
            }
        };
        let Some(index) = self.index(value, place) else {
            return Vec::new();
        };
        if index.as_ref() == Some(&variable) {
            let message = format!("`as` and `index` have the same name `{variable}`");
            self.complain(Code::WrongValue, &name.at, message, "give them different names");
            return Vec::new();
        }
        let mut blocks = Vec::new();
        for (at, item) in values.into_iter().enumerate() {
            if !self.count(&kind.at) {
                break;
            }
            let mut names = numbered(&index, at + 1);
            names.push((variable.clone(), item));
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

    /// The `index` of a loop, if it has one; `None` if it is invalid.
    fn index(&mut self, value: &Node, place: &Place<'_, '_>) -> Option<Option<String>> {
        let Some((key, node)) = value.entry("index") else {
            return Some(None);
        };
        let diagnostics = &mut self.loader.diagnostics;
        let name = typed::read::<String>(&key.at, node, place.scope, diagnostics)?;
        params::check_name(&Key { name: name.clone(), at: node.at.clone() }, diagnostics)
            .then_some(Some(name))
    }

    fn until(
        &mut self,
        node: &Node,
        key: &Key,
        (how, index): (&Node, Option<String>),
        steps: &Node,
        mut place: Place<'_, '_>,
    ) -> Vec<Block> {
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

    /// The map of a `use` or `repeat`, with its keys checked.
    fn map_of(&mut self, key: &Key, value: &Node, known: &[&str], example: &str) -> Option<Node> {
        if !matches!(value.kind, Kind::Map(_)) {
            let message = format!("`{}` is a map, not {}", key.name, value.what());
            self.complain(Code::WrongValue, &value.at, message, format!("write `{example}`"));
            return None;
        }
        for (key, _) in value.entries() {
            if !known.contains(&key.name.as_str()) {
                self.loader.complain(unknown_key(key, known));
            }
        }
        Some(value.clone())
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
