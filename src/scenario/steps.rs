//! Reads the steps of a case: renders templates, decides `when`, parses the action.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::lint::Seen;
use super::load::Loader;
use super::model::{Block, Case, CaseStep, Parsed, When};
use super::net::Net;
use super::typed::{self, Reader, at_origin, indentation};
use super::{names, paths, when};
use crate::diagnostic::{Code, Diagnostic, Location, invalid_regex, similar, suggest};
use crate::step::{ACTIONS, About, Action, Complaint, Complaints, FLOW, MODIFIERS, Scene, Step};
use crate::template::{self, Origins, Scope};
use crate::yaml::{Key, Kind, Node};

/// The maximum number of steps in a case, and in a call.
pub(super) const MAX_STEPS: usize = 20_000;
const MAX_STEPS_OF_ALL: usize = 3_000_000;

/// The context of steps: the names for their templates, and the steps around them.
#[derive(Clone)]
pub(super) struct Place<'p, 'v> {
    pub scope: &'p Scope<'v>,
    /// See [`CaseStep::locals`].
    pub locals: Map<String, Value>,
    /// See [`CaseStep::via`].
    pub via: Vec<Location>,
    pub when: Vec<When>,
    /// See [`CaseStep::groups`].
    pub groups: Vec<String>,
    /// Whether this cell runs them; if not, they are not checked against its VMs.
    pub runs: bool,
    /// The hooks that are being expanded.
    pub hooks: Vec<String>,
    /// The used files that are being expanded.
    pub uses: Vec<PathBuf>,
}

/// A step as it is written: the whole of it, and the key and the value of its action.
#[derive(Clone, Copy)]
pub(super) struct Written<'n> {
    pub node: &'n Node,
    pub key: &'n Key,
    pub value: &'n Node,
}

/// The expansion of the steps of one case.
pub(super) struct Steps<'l, 'p, 'v> {
    pub loader: &'l mut Loader,
    /// The names of the case, for the steps of hooks.
    pub top: &'p Scope<'v>,
    /// The scenario.
    pub root: &'p Node,
    /// The hooks that exist.
    pub placed: BTreeSet<String>,
    /// The actions to check once the whole case is known.
    pending: Vec<Pending>,
    /// The names that the steps use.
    pub seen: Seen,
    /// The names of all steps, including those that this cell omits.
    pub names: BTreeSet<String>,
    count: usize,
    /// Whether there are too many steps, which is reported once.
    full: bool,
}

/// The names of the background processes and clients that steps start, and of the metrics that they record.
#[derive(Default)]
pub(super) struct Started {
    pub processes: BTreeSet<String>,
    pub clients: BTreeSet<String>,
    pub metrics: BTreeSet<String>,
}

impl Started {
    /// Those of all steps of a case.
    pub(super) fn of(case: &Case) -> Self {
        Self::by(case.all_steps().into_iter().map(|step| &step.step))
    }

    fn by<'s>(steps: impl Iterator<Item = &'s Step>) -> Self {
        let mut started = Self::default();
        for step in steps {
            match &step.action {
                Action::Exec(exec) => started.processes.extend(exec.background.clone()),
                Action::Client(client) if client.starts() => _ = started.clients.insert(client.name.clone()),
                Action::Record(record) => started.metrics.extend(record.values.keys().cloned()),
                _ => {}
            }
        }
        started
    }

    /// The names that an action of the case may refer to.
    pub(super) fn scene<'s>(&'s self, case: &'s Case) -> Scene<'s> {
        let Self { processes, clients, metrics } = self;
        let Case { vms, roles, net: Net { links, .. }, .. } = case;
        Scene { vms, roles, processes, clients, links, metrics }
    }
}

/// An action to check later.
struct Pending {
    key: Location,
    parsed: Arc<Parsed>,
    origins: Origins,
    /// See [`Place::runs`].
    runs: bool,
}

impl<'l, 'p, 'v> Steps<'l, 'p, 'v> {
    pub(super) fn new(loader: &'l mut Loader, top: &'p Scope<'v>, root: &'p Node) -> Self {
        Self {
            loader,
            top,
            root,
            placed: BTreeSet::new(),
            pending: Vec::new(),
            seen: Seen::default(),
            names: BTreeSet::new(),
            count: 0,
            full: false,
        }
    }

    /// Reads parts of a step.
    pub(super) const fn reader<'r, 's>(&'r mut self, scope: &'r Scope<'s>) -> Reader<'r, 's> {
        Reader { scope, diagnostics: &mut self.loader.diagnostics }
    }

    /// Expands a list of steps.
    pub(super) fn list(&mut self, list: &Node, place: &Place<'_, '_>) -> Vec<Block> {
        let list = self.solid(list, place);
        if let Some(other) = list.as_ref().filter(|list| !matches!(list.kind, Kind::Seq(_))) {
            let message = format!("expected a list of steps, not {}", other.what());
            self.complain(Code::WrongValue, &other.at, message, "");
        }
        let steps = list.iter().flat_map(Node::items);
        let mut blocks: Vec<Block> = steps.filter_map(|step| self.one(step, place)).flatten().collect();
        blocks.shrink_to_fit();
        blocks
    }

    /// Renders a node that is a template for a list, step or loop; all parts get its place.
    pub(super) fn solid(&mut self, node: &Node, place: &Place<'_, '_>) -> Option<Node> {
        if !node.text().is_some_and(template::is_template) {
            return Some(node.clone());
        }
        let value = self.reader(place.scope).render_now(node)?;
        Some(Node::of_value(&typed::escaped(value), &node.at))
    }

    pub(super) fn complain(
        &mut self,
        code: Code,
        at: &Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.loader.diagnostics.error(code, at, message, help);
    }

    /// Counts a step or a round of a loop; returns false above the maximum.
    pub(super) fn count(&mut self, at: &Location) -> bool {
        self.count += 1;
        self.loader.steps += 1;
        let limit = if self.full {
            return false;
        } else if self.count > MAX_STEPS {
            format!("a case has more than {MAX_STEPS} steps")
        } else if self.loader.steps > MAX_STEPS_OF_ALL {
            format!("the cases have more than {MAX_STEPS_OF_ALL} steps in total")
        } else {
            return true;
        };
        self.full = true;
        self.complain(Code::TooMuch, at, limit, "repeat less often");
        false
    }

    fn one(&mut self, node: &Node, place: &Place<'_, '_>) -> Option<Vec<Block>> {
        let node = &self.solid(node, place)?;
        let (key, value) = self.action_key(node).filter(|(key, _)| self.count(&key.at))?;
        let written = Written { node, key, value };
        let mut place = place.clone();
        let goes_on = self.decide(node, &mut place);
        place.runs &= goes_on;
        if FLOW.contains(&key.name.as_str())
            && let Some(name) = self.reader(place.scope).read_key::<String>(node, "name")
        {
            self.names.insert(name.clone());
            place.groups.push(name);
        }
        let blocks = match key.name.as_str() {
            "hook" => self.hook(written, place),
            "use" => self.used(written, place),
            "repeat" => self.repeat(written, place),
            "parallel" => self.parallel(written, place).map(|block| vec![block]),
            "block" => {
                self.refuse_modifiers(node, &[]);
                Some(self.list(value, &place))
            }
            _ => self.step(written, place).map(|step| vec![Block::Step(Box::new(step))]),
        };
        // Steps that do not run here were checked too: they may run in another cell.
        blocks.filter(|_| goes_on)
    }

    /// The one action of a step.
    fn action_key<'n>(&mut self, node: &'n Node) -> Option<&'n (Key, Node)> {
        if !node.is_map() {
            let help = match node.text() {
                Some(text) if ACTIONS.contains(&text) => format!("write `{text}: …`"),
                _ => "write `action: …`".to_owned(),
            };
            let message = format!("a step is a map with one action, not {}", node.what());
            self.complain(Code::Step, &node.at, message, help);
            return None;
        }
        let all: Vec<&str> = ACTIONS.iter().chain(FLOW).copied().collect();
        let is_modifier = |(key, _): &&(Key, Node)| MODIFIERS.contains(&key.name.as_str());
        let is_known = |(key, _): &&(Key, Node)| all.contains(&key.name.as_str());
        let others: Vec<&(Key, Node)> = node.entries().iter().filter(|entry| !is_modifier(entry)).collect();
        let (actions, unknown): (Vec<_>, Vec<_>) = others.iter().copied().partition(is_known);
        for (key, _) in &unknown {
            if let [(action, _)] = actions.as_slice() {
                let of = format!("unknown key `{}` beside `{}`", key.name, action.name);
                let help = indentation(node, key).unwrap_or_else(|| suggest(&key.name, MODIFIERS));
                self.complain(Code::UnknownKey, &key.at, of, help);
            } else {
                // The key may be a misspelt modifier; else list the actions, since one is missing.
                let help = match similar(&key.name, &[&all[..], MODIFIERS].concat()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => suggest(&key.name, &all),
                };
                self.complain(Code::Step, &key.at, format!("unknown action `{}`", key.name), help);
            }
        }
        if !unknown.is_empty() {
            return None;
        }
        match others.as_slice() {
            [one] => Some(one),
            [] => {
                let help = format!("add one of: {}", all.join(", "));
                let at = node.entries().first().map_or(&node.at, |(key, _)| &key.at);
                self.complain(Code::Step, at, "the step has no action", help);
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!("a step has one action, not `{}` and `{}`", first.name, second.name);
                let diagnostic = Diagnostic::error(Code::Step, &second.at, message)
                    .related(&first.at, "the first action")
                    .help("make it two steps");
                self.loader.diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// Decides a step's `when`, or defers it to the run; returns whether the step may run.
    fn decide(&mut self, node: &Node, place: &mut Place<'_, '_>) -> bool {
        let Some(when) = node.get("when") else {
            return true;
        };
        let Some(piece) = when::render(when, &mut self.reader(place.scope)) else {
            return true;
        };
        match piece.raw {
            None => template::is_true(&piece.value),
            Some(raw) => {
                self.seen.templates(when);
                let template = raw.as_str().unwrap_or_default().to_owned();
                place.when.push(When { template, locals: place.locals.clone() });
                true
            }
        }
    }

    /// Reads an ordinary step.
    pub(super) fn step(&mut self, written: Written<'_>, place: Place<'_, '_>) -> Option<CaseStep> {
        let Written { node, key, .. } = written;
        let parsed = self.parsed(node, key, place.scope)?;
        self.seen.step(&parsed.step, node, parsed.deferred);
        self.names.extend(parsed.step.name.clone());
        self.check_modifiers(node, &parsed.step);
        if !self.loader.hold(parsed.weight, &key.at) {
            return None;
        }
        let origins = Arc::clone(place.scope.origins());
        let pending = Pending { key: key.at.clone(), parsed: Arc::clone(&parsed), origins, runs: place.runs };
        self.pending.push(pending);
        let Place { via, when, groups, locals, .. } = place;
        Some(CaseStep { at: key.at.clone(), via, when, groups, locals, parsed })
    }

    /// Renders and parses a step: once for all cells in which its templates have the same values.
    fn parsed(&mut self, node: &Node, key: &Key, scope: &Scope<'_>) -> Option<Arc<Parsed>> {
        let part = self.loader.shared.key(node, &["when"], scope);
        if let Some(known) = self.loader.shared.get(part.as_ref()) {
            return Some(known);
        }
        let whole = node.without(&["when"]);
        let mut reader = Reader { scope, diagnostics: &mut self.loader.diagnostics };
        let mut piece = reader.render(&whole)?;
        paths::locate(paths::OF_STEP, &mut piece, &whole, &mut reader);
        let parsed = Arc::new(Parsed {
            step: reader.fit(&piece.value, &key.at, &whole)?,
            deferred: piece.raw.is_some(),
            weight: typed::weight(&piece.value),
            raw: piece.raw.unwrap_or(piece.value),
            source: node.clone(),
        });
        self.loader.shared.put(part, &parsed);
        Some(parsed)
    }

    fn check_modifiers(&mut self, node: &Node, step: &Step) {
        let diagnostics = &mut self.loader.diagnostics;
        let known = |key: &str| node.get(key).filter(|node| !is_deferred(node));
        if let (Some(node), Some(name)) = (known("capture"), &step.capture) {
            names::CAPTURE.check_text(name, &node.at, diagnostics);
        }
        if let (Some(node), Some(expression)) = (known("expect_error"), &step.expect_error) {
            diagnostics.extend(bad_regex(&node.at, expression));
        }
    }

    /// Checks every action; the VMs and the background processes of the case must be known.
    pub(super) fn check(&mut self, case: &Case) {
        let copied = self.root.section("vms").iter().filter(|(_, vm)| vm.get("copies").is_some());
        let copied: Vec<&str> = copied.map(|(key, _)| key.name.as_str()).collect();
        let of_cell = Started::by(
            self.pending.iter().filter(|pending| pending.runs).map(|pending| &pending.parsed.step),
        );
        let of_all = Started::by(self.pending.iter().map(|pending| &pending.parsed.step));
        for pending in &self.pending {
            let started = if pending.runs { &of_cell } else { &of_all };
            let mut complaints = Complaints::default();
            pending.parsed.step.check(&started.scene(case), &mut complaints);
            let counted = complaints.0.into_iter().filter(|wrong| counts(wrong, pending, &copied));
            self.loader.diagnostics.extend(counted.filter_map(|wrong| at_its_place(wrong, pending)));
        }
    }
}

/// Whether a complaint is valid for all cells. If this cell omits the step, complaints about properties of its VMs are not;
/// nor are those about a name from a template or of a VM's copy, which may differ in another cell.
fn counts(complaint: &Complaint, pending: &Pending, copied: &[&str]) -> bool {
    if pending.runs || matches!(complaint.about, About::Keys | About::Form | About::Regex) {
        return true;
    }
    let (_, node) = typed::place(&pending.key, pending.parsed.value(), &complaint.path);
    let of_copies = |text: &str| {
        let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
        copied.contains(&stem)
    };
    let depends =
        |node: &Node| node.text().is_some_and(|text| template::is_template(text) || of_copies(text));
    complaint.about == About::Name && !depends(node) && !node.items().iter().any(depends)
}

/// A complaint as a diagnostic; `None` if it is about a value that is only known when the step runs.
fn at_its_place(complaint: Complaint, pending: &Pending) -> Option<Diagnostic> {
    let (at, node) = typed::place(&pending.key, pending.parsed.value(), &complaint.path);
    let is_named =
        |node: &&Node| node.text().is_some_and(|text| complaint.message.contains(&format!("`{text}`")));
    let named = node.items().iter().find(is_named);
    let at = named.map_or(at, |item| item.at.clone());
    let at = typed::named_key(pending.parsed.value(), &complaint.path, &complaint.message).unwrap_or(at);
    if complaint.about != About::Keys && (is_deferred(node) || named.is_some_and(is_deferred)) {
        return None;
    }
    let code = if complaint.about == About::Regex { Code::Regex } else { Code::Action };
    let wrong = Diagnostic::error(code, &at, &complaint.message).help(complaint.help.unwrap_or_default());
    Some(at_origin(wrong, node, &pending.origins))
}

fn is_deferred(node: &Node) -> bool {
    node.text().is_some_and(template::is_deferred)
}

/// The error of an invalid regular expression.
pub(super) fn bad_regex(at: &Location, expression: &str) -> Option<Diagnostic> {
    Some(Diagnostic::error(Code::Regex, at, invalid_regex(expression)?))
}
