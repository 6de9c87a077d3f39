//! The cases of a file, and its VMs and steps.

use lsp_types::{CodeLens, Command, DocumentSymbol, Position, Range, SymbolKind};

use super::place::range_of;
use super::view::View;
use crate::diagnostic::Location;
use crate::step::{ACTIONS, FLOW};
use crate::yaml::{self, Node};

/// The maximum number of cases to list.
const LISTED: usize = 1000;

/// The number of cases, above the first line.
pub(super) fn lenses(view: &View<'_>) -> Vec<CodeLens> {
    let Some(checked) = view.checked else {
        return Vec::new();
    };
    let title = match (checked.loaded.cases.len(), checked.loaded.templates.first()) {
        (_, Some(template)) if template.missing.is_empty() => "template".to_owned(),
        (_, Some(template)) => format!("template; it needs {}", template.missing.join(", ")),
        (0, None) => return Vec::new(),
        (1, None) => "1 case".to_owned(),
        (count, None) => format!("{count} cases"),
    };
    let command = Command { title, command: String::new(), arguments: None };
    vec![CodeLens { range: Range::default(), command: Some(command), data: None }]
}

/// The cases, the VMs and the steps.
pub(super) fn symbols(view: &View<'_>) -> Vec<DocumentSymbol> {
    let mut symbols: Vec<DocumentSymbol> = cases(view).into_iter().collect();
    let own = yaml::from_bytes(view.path, view.text.as_bytes().to_vec()).ok();
    for (key, section) in own.as_ref().map(Node::entries).unwrap_or_default() {
        let inner = match key.name.as_str() {
            "vms" => {
                section.entries().iter().map(|(vm, _)| symbol(&vm.name, SymbolKind::OBJECT, &vm.at)).collect()
            }
            "steps" | "finally" => section.items().iter().filter_map(step).collect(),
            "hooks" => {
                let hook = |(key, list): &(yaml::Key, Node)| {
                    let steps = list.items().iter().filter_map(step).collect();
                    with(symbol(&key.name, SymbolKind::FUNCTION, &key.at), steps)
                };
                section.entries().iter().map(hook).collect()
            }
            _ => continue,
        };
        symbols.push(with(symbol(&key.name, SymbolKind::NAMESPACE, &key.at), inner));
    }
    symbols
}

/// The cases, each with its name.
fn cases(view: &View<'_>) -> Option<DocumentSymbol> {
    let cases = &view.checked?.loaded.cases;
    let first = cases.first()?;
    let own = |at: &Location| if at.path() == view.path { range_of(at) } else { Range::default() };
    let of_case = |name: &str, at: &Location| {
        let range = own(at);
        DocumentSymbol { range, selection_range: range, ..symbol(name, SymbolKind::CLASS, at) }
    };
    let mut listed: Vec<_> = cases.iter().take(LISTED).map(|case| of_case(&case.name, &case.at)).collect();
    if cases.len() > LISTED {
        listed.push(of_case(&format!("and {} others", cases.len() - LISTED), &first.at));
    }
    let name = if cases.len() == 1 { "1 case".to_owned() } else { format!("{} cases", cases.len()) };
    let all = of_case(&name, &first.at);
    Some(with(DocumentSymbol { kind: SymbolKind::NAMESPACE, ..all }, listed))
}

/// A step, with its action and its name.
fn step(node: &Node) -> Option<DocumentSymbol> {
    let is_action = |name: &str| ACTIONS.contains(&name) || FLOW.contains(&name);
    let (key, value) = node.entries().iter().find(|(key, _)| is_action(&key.name))?;
    let name = match node.get("name").and_then(Node::text).or(value.text()) {
        Some(text) => format!("{}: {text}", key.name),
        None => key.name.clone(),
    };
    let steps = value.get("steps").unwrap_or(value);
    let inner = steps.items().iter().filter_map(step).collect();
    Some(with(symbol(&name, SymbolKind::EVENT, &key.at), inner))
}

fn with(symbol: DocumentSymbol, children: Vec<DocumentSymbol>) -> DocumentSymbol {
    // A symbol's range includes those of its parts.
    let end = children.iter().map(|child| child.range.end).fold(symbol.range.end, Position::max);
    let range = Range::new(symbol.range.start, end);
    DocumentSymbol { range, children: (!children.is_empty()).then_some(children), ..symbol }
}

fn symbol(name: &str, kind: SymbolKind, at: &Location) -> DocumentSymbol {
    let range = range_of(at);
    #[allow(deprecated, reason = "the type has a field that the protocol has given up")]
    DocumentSymbol {
        name: name.to_owned(),
        detail: None,
        kind,
        tags: None,
        deprecated: None,
        range,
        selection_range: range,
        children: None,
    }
}
