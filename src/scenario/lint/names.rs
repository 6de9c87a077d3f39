//! The names that a step refers to.

use serde_json::Value;

use crate::template;
use crate::yaml::{Kind, Node};

/// The paths under `run` that a template uses, without `run` itself.
pub(super) fn run_names(text: &str) -> Vec<Vec<String>> {
    let mut names = template::run_names(text);
    names.iter_mut().for_each(|path| {
        path.remove(0);
    });
    names
}

/// The templates in a part of a file that use `run`.
pub(super) fn run_texts<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &node.kind {
        Kind::Scalar(Value::String(text)) if template::is_template(text) && text.contains("run") => {
            found.push(node);
        }
        Kind::Scalar(_) => {}
        Kind::Seq(items) => items.iter().for_each(|item| run_texts(item, found)),
        Kind::Map(entries) => entries.iter().for_each(|(_, value)| run_texts(value, found)),
    }
}
