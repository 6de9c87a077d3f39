//! Places in a step.

use crate::diagnostic::Location;
use crate::scenario::model::CaseStep;
use crate::scenario::typed;
use crate::yaml::Node;

/// The part of the file that an action came from.
pub(super) fn action(step: &CaseStep) -> &Node {
    step.source.get(step.step.action.key()).unwrap_or(&step.source)
}

/// The place of a value inside an action; in a list, of the item with this text.
pub(super) fn of(step: &CaseStep, path: &[&str], text: Option<&str>) -> Location {
    let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
    inside(&step.at, action(step), &path, text)
}

/// The same inside any part of a file.
pub(super) fn inside(key: &Location, node: &Node, path: &[String], text: Option<&str>) -> Location {
    let (at, value) = typed::place(key, node, path);
    let item = value.items().iter().find(|item| text.is_some() && item.text() == text);
    item.map_or(at, |item| item.at.clone())
}

/// The place of a key inside a part of a file, or the nearest one that exists.
pub(super) fn of_key(key: &Location, node: &Node, path: &[String]) -> Location {
    typed::key_place(node, path).unwrap_or_else(|| typed::place(key, node, path).0)
}
